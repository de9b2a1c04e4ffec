"""Every module of the tree can be imported: no name that it takes from another one is missing there."""

import importlib

import pytest

from helpers.places import ROOT


def modules():
    """Names by which the modules are imported; stages/ and datamodules/ are installed in the package."""
    for folder, package in (
        ("lightning_mav", ""),
        ("stages", "lightning_mav."),
        ("datamodules", "lightning_mav."),
    ):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path.stem != "__main__":
                parts = path.relative_to(ROOT).with_suffix("").parts
                yield package + ".".join(parts).removesuffix(".__init__")


@pytest.mark.parametrize("name", modules())
def test_module_is_imported(name):
    assert importlib.import_module(name).__name__ == name


def test_benches_are_imported():
    for package in ("matplotlib", "scipy"):
        pytest.importorskip(package)
    for path in sorted((ROOT / "benchmarks").glob("[a-z]*.py")):
        importlib.import_module(f"benchmarks.{path.stem}")
