"""What is installed: every package, every configuration layer, under the single name lightning_mav."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest

from helpers.places import ROOT

SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
FOLDERS = ("lightning_mav", "stages", "datamodules", "configs")
SHIPPED = "lightning_mav/weights"


def test_every_package_of_the_tree_is_listed():
    folders = {
        path.parent.relative_to(ROOT) for name in FOLDERS for path in (ROOT / name).rglob("__init__.py")
    }
    names = {".".join(folder.parts) for folder in folders}
    tree = {name if name.startswith("lightning_mav") else f"lightning_mav.{name}" for name in names}
    assert set(SETUPTOOLS["packages"]) == tree
    assert SETUPTOOLS["packages"] == sorted(SETUPTOOLS["packages"])


@pytest.mark.parametrize("name", ["stages", "datamodules"])
def test_folders_refuse_to_be_imported_under_a_second_name(name):
    result = subprocess.run(
        [sys.executable, "-c", f"import {name}"], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode
    assert f"import lightning_mav.{name}" in result.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    if int(metadata.version("setuptools").split(".")[0]) < 77:
        pytest.skip("setuptools is too old for this pyproject.toml")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    ignored = shutil.ignore_patterns("__pycache__")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    (source / SHIPPED / "micro" / "prompts.json").write_text("{}")  # which weights may have beside them
    code = f"from setuptools import build_meta; build_meta.build_wheel({str(folder)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=source, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


def test_wheel_holds_one_top_level_name_and_all_layers(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {Path(name) for name in archive.namelist()}
    source = wheel.parent / "source"
    assert {name.parts[0] for name in names if not name.parts[0].endswith(".dist-info")} == {"lightning_mav"}
    expected = {Path("lightning_mav", path.relative_to(ROOT)) for path in (ROOT / "configs").rglob("*.yaml")}
    expected |= {path.relative_to(ROOT) for path in (ROOT / "lightning_mav").rglob("*.py")}
    expected |= {path.relative_to(source) for path in (source / SHIPPED).glob("*/*") if path.suffix != ".py"}
    expected |= {path.relative_to(ROOT) for path in (ROOT / "lightning_mav").rglob("*.gz")}
    expected |= {path.relative_to(ROOT) for path in (ROOT / "lightning_mav").rglob("*.yaml")}
    expected |= {
        path.relative_to(ROOT) for path in (ROOT / "lightning_mav/evaluation/report/pages").iterdir()
    }
    expected |= {Path("lightning_mav", path.relative_to(ROOT)) for path in (ROOT / "configs").rglob("*.txt")}
    expected |= {path.relative_to(ROOT) for path in (ROOT / "lightning_mav/evaluation/study/page").iterdir()}
    expected.add(Path("lightning_mav/py.typed"))
    assert expected <= names, sorted(expected - names)
    assert {name.suffix for name in names if name.parts[0] == "lightning_mav"} <= {
        ".py",
        ".yaml",
        ".safetensors",
        ".md",
        ".gz",
        ".txt",
        ".html",
        ".css",
        ".js",
        ".json",
        ".typed",
        "",
    }


@pytest.mark.slow  # mypy reads torch's annotations, too
def test_type_checkers_of_users_find_the_types(wheel, tmp_path):
    venv = tmp_path / "venv"
    # Not editable: type checkers do not follow the import hooks of such installations.
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    (site,) = venv.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (site / "torch").symlink_to(Path(find_spec("torch").origin).parent)
    (tmp_path / "user.py").write_text(
        "from lightning_mav import Cascade\n\n"
        "cascade = Cascade.from_pretrained('micro')\n"
        "output = cascade('a large red ball', seed=1)\n"
        "reveal_type(cascade)\nreveal_type(output)\nreveal_type(output.fps)\n"
        "cascade('a ball', seed='one')\n"
    )
    options = ["--python-executable", venv / "bin" / "python", "--no-incremental"]
    shown = subprocess.run(
        [sys.executable, "-m", "mypy", *options, "user.py"], cwd=tmp_path, capture_output=True, text=True
    )
    revealed = re.findall(r'Revealed type is "(\S+)"', shown.stdout)
    assert revealed == [
        "lightning_mav.cascade.Cascade",
        "lightning_mav.cascade_output.CascadeOutput",
        "float",
    ]
    assert 'Argument "seed" to "__call__" of "Cascade" has incompatible type "str"' in shown.stdout
    assert "Found 1 error in 1 file" in shown.stdout, shown.stdout
