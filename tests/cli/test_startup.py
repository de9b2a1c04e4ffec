"""Commands import what they use: seconds of every start depend on it."""

import json
import subprocess
import sys

import pytest
import torch

from helpers.tiny_cascade import save_tiny_cascade
from lightning_mav.cli.imports import absent

# Each costs a start 0.1 to 3 s, or is not for generation at all.
UNUSED = {
    "lightning",
    "torchmetrics",
    "webdataset",
    "tensorboard",
    "jsonargparse",
    "omegaconf",
    "open_clip",
    "torchvision",
    "timm",
    "transformers",
    "torch._dynamo",
    "torch._inductor",
    "sympy",
    "scipy",
    "matplotlib",
    "rich",
    "lightning_mav.stages",
    "lightning_mav.datamodules",
    "lightning_mav.evaluation.worlds",
}
PROGRAM = """
import json, sys
from lightning_mav.cli import main
main(sys.argv[1:])
print(json.dumps(sorted(sys.modules)))
"""


def modules_after(*arguments):
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], []])
def test_help_does_without_torch(arguments):
    assert not modules_after(*arguments) & (UNUSED | {"torch", "numpy", "diffusers", "av", "PIL"})


@pytest.mark.parametrize("command", ["generate", "world"])
def test_help_of_a_command_does_without_torch(command):
    program = PROGRAM.replace("main(sys.argv[1:])", "try: main(sys.argv[1:])\nexcept SystemExit: pass")
    done = subprocess.run([sys.executable, "-c", program, command, "--help"], capture_output=True, text=True)
    assert not set(json.loads(done.stdout.splitlines()[-1])) & (UNUSED | {"torch", "diffusers", "av"})


def test_shipped_weights_generate_without_what_they_do_not_use(tmp_path):
    modules = modules_after(
        "generate",
        "a red ball",
        "--out",
        str(tmp_path),
        "--steps",
        "1",
        "--device",
        "cpu",
        "--until",
        "decoder",
    )
    assert {"torch", "diffusers", "av"} <= modules
    assert not modules & UNUSED


def test_all_stages_generate_without_what_they_do_not_use(tmp_path):
    weights = save_tiny_cascade(tmp_path / "weights")
    modules = modules_after(
        "generate",
        "a red ball",
        "--out",
        str(tmp_path),
        "--steps",
        "1",
        "--device",
        "cpu",
        "--weights",
        str(weights),
    )
    assert not modules & UNUSED


def test_library_imports_neither_open_clip_nor_diffusers():
    program = "import lightning_mav.cascade, sys, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not set(json.loads(done.stdout)) & (UNUSED | {"diffusers", "av", "PIL"})


def test_absent_modules_cannot_be_imported_meanwhile():
    with absent("this"), pytest.raises(ModuleNotFoundError):
        import this  # noqa: F401
    assert "this" not in sys.modules


def test_modules_that_are_imported_stay():
    with absent("torch"):
        assert sys.modules["torch"] is torch
    assert sys.modules["torch"] is torch
