"""What is installed: every package, every configuration layer, under the single name lightning_mav."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from helpers.places import ROOT

SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
FOLDERS = ("lightning_mav", "stages", "datamodules", "configs")


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


@pytest.mark.skipif(
    int(metadata.version("setuptools").split(".")[0]) < 77,
    reason="setuptools is too old for this pyproject.toml",
)
def test_wheel_holds_one_top_level_name_and_all_layers(tmp_path):
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns("__pycache__")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shipped = source / "lightning_mav/weights"
    (shipped / "micro" / "prompts.json").write_text("{}")  # which weights may have beside them
    code = f"from setuptools import build_meta; build_meta.build_wheel({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=source, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {Path(name) for name in archive.namelist()}
    assert {name.parts[0] for name in names if not name.parts[0].endswith(".dist-info")} == {"lightning_mav"}
    expected = {Path("lightning_mav", path.relative_to(ROOT)) for path in (ROOT / "configs").rglob("*.yaml")}
    expected |= {path.relative_to(ROOT) for path in (ROOT / "lightning_mav").rglob("*.py")}
    expected |= {path.relative_to(source) for path in shipped.glob("*/*") if path.suffix != ".py"}
    expected |= {path.relative_to(ROOT) for path in (ROOT / "lightning_mav").rglob("*.gz")}
    expected |= {path.relative_to(ROOT) for path in (ROOT / "lightning_mav").rglob("*.yaml")}
    expected |= {
        path.relative_to(ROOT) for path in (ROOT / "lightning_mav/evaluation/report/pages").iterdir()
    }
    expected |= {Path("lightning_mav", path.relative_to(ROOT)) for path in (ROOT / "configs").rglob("*.txt")}
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
        "",
    }
