"""Programs that name modules and classes as version 0.1.0 did still find them."""

import importlib
import subprocess
import sys

import pytest

from lightning_mav import old_modules


@pytest.mark.parametrize("old", old_modules.MODULES)
def test_old_module_holds_what_the_new_one_does(old):
    sys.modules.pop(f"lightning_mav.{old}", None)
    with pytest.warns(DeprecationWarning, match=rf"lightning_mav\.{old} is lightning_mav\."):
        module = importlib.import_module(f"lightning_mav.{old}")
    new = importlib.import_module(f"lightning_mav.{old_modules.new_name(old)}")
    for name in (name for name in vars(new) if not name.startswith("__")):
        assert getattr(module, name) is getattr(new, name)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_classes_are_found_by_their_old_names():
    for home, names in old_modules.CLASSES.items():
        for new in names.values():
            assert hasattr(importlib.import_module(f"lightning_mav.{home}"), new), (home, new)
    from lightning_mav.data.codecs.decode import decode_video as now
    from lightning_mav.evaluation.protocols.settings import ProtocolSettings

    before = importlib.import_module("lightning_mav.codecs.decode")
    assert before.decode_video is now
    assert importlib.import_module("lightning_mav.protocols.settings").Settings is ProtocolSettings


def test_what_never_was_is_not_found():
    for name in ("lightning_mav.nothing", "lightning_mav.codecs.nothing"):
        with pytest.raises(ModuleNotFoundError, match=name.replace(".", r"\.")):
            importlib.import_module(name)


def test_nobody_pays_for_them():
    code = "import sys, lightning_mav; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_stars_and_dir_see_the_names_of_an_old_module():
    space = {}
    exec("from lightning_mav.metrics import *", space)
    assert "frechet_distance" in space
    assert "write_mp4" in dir(importlib.import_module("lightning_mav.video"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_name_that_an_old_module_lacks_is_said_so():
    sys.modules.pop("lightning_mav.video", None)
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        exec("from lightning_mav.video import nothing", {})
