"""A seventh stage, in a package of one's own: trained, loaded, generated and evaluated with."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.tiny_cascade import save_tiny_cascade
from lightning_mav import stage_table
from lightning_mav.cli import main
from lightning_mav.stage_table import StageSpec

STAGE = '''
from lightning_mav.models import SRH
from lightning_mav.stage_table import StageSpec, register_stage
from lightning_mav.stages import SRHStage


class SRXStage(SRHStage):
    """The same network once more, at twice the size."""


register_stage(
    StageSpec(
        "sr_x",
        "lightning_mav.models.SRH",
        ("image",),
        makes_video=True,
        inputs=("video",),
        frame_by_frame=True,
    )
)
'''
LAYER = """
trainer: {max_steps: 2, val_check_interval: 2, accelerator: cpu, enable_progress_bar: false}
weights_dtype: fp32
model:
  class_path: own_stage.SRXStage
  init_args:
    unet:
      class_path: lightning_mav.nn.Pseudo3DUNet
      init_args:
        {cond_channels: 3, channels: 8, channel_mults: [1], num_blocks: 1, attention_levels: [],
         norm_groups: 4, noise_level_condition: true, residual: true, temporal: false, film: false}
    diffusion: {class_path: lightning_mav.diffusion.GaussianDiffusion, init_args: {prediction: x_0}}
    sampler: {class_path: lightning_mav.diffusion.Sampler, init_args: {num_steps: 1}}
    scale: 2
    num_samples: 1
data:
  class_path: lightning_mav.datamodules.MicroImages
  init_args:
    {root: ROOT, num_images: 24, num_val_images: 8, source_size: 48, image_size: 48, crop_size: 16,
     with_text: false, batch_size: 2, num_val_batches: 1}
"""


DRIVER = """
import json, sys
from lightning_mav.cli import main
for command in json.loads(sys.argv[1]):
    try:
        main(command)
    except SystemExit as end:
        print("exit status", end.code)
"""


@pytest.fixture(scope="module")
def mav(tmp_path_factory, micro_world):
    """Runs the program where the package is, and the weights of six stages."""
    place = tmp_path_factory.mktemp("own")
    (place / "own_stage.py").write_text(STAGE)
    (place / "mine").mkdir()
    (place / "mine/sr_x.yaml").write_text(LAYER.replace("ROOT", str(micro_world)))
    save_tiny_cascade(place / "outputs/mine/weights")
    (place / "prompts.txt").write_text("a red ball\n")

    def run(*commands):
        """Runs commands in one process, to start Python and torch once; returns what they print."""
        command = [sys.executable, "-c", DRIVER, json.dumps(commands)]
        environment = os.environ | {"PYTHONPATH": str(place)}
        done = subprocess.run(
            command, cwd=place, env=environment, capture_output=True, text=True, timeout=120, check=True
        )
        return done.stdout + done.stderr

    run.place = place
    return run


@pytest.mark.slow
def test_stage_of_ones_own_does_all_that_the_others_do(mav):
    own = ("--import", "own_stage")
    train = ("train", "sr_x", "--scale", "./mine")
    evaluate = ("evaluate", "prompts", "--prompts", "prompts.txt", "--weights", "outputs/mine/weights")
    few = ("--clip", "micro/clip", "--num-samples", "1", "--steps", "1", "--accelerator", "cpu")
    refused = mav(train, (*evaluate, *few, "--set", "until=sr_x", "--out", "other"))
    assert "stages are clip, prior, decoder, interpolation, sr_lt, sr_h, or all" in refused
    assert "until must be one of decoder, interpolation, sr_lt, sr_h, got 'sr_x'" in refused
    assert refused.count("exit status 2") == 2
    trained = mav((*train, *own), (*train, *own))
    assert trained.count("wrote outputs/mine/weights/sr_x.safetensors") == 1
    assert "sr_x is finished at step 2" in trained
    assert "exit status" not in trained
    generate = ("generate", "a red ball", "--weights", "outputs/mine/weights", "--out", "out", "--steps", "1")
    assert "exit status" not in mav((*generate, *own, "--until", "sr_x"))
    (settings,) = (json.loads(path.read_text()) for path in Path(mav.place, "out").glob("*.json"))
    assert settings["stages"]["sr_x"]["shape"] == [3, 76, 96, 96]
    assert settings["weights"]["sr_x"]["file"].endswith("sr_x.safetensors")
    judge = (*evaluate, *few, *own, "--set", "until=sr_x", "--set", "num_resamples=20", "--out", "report")
    assert "exit status" not in mav(judge)
    report = json.loads(Path(mav.place, "report/report.json").read_text())
    assert "sr_x" in report["weights"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"phases": ()}, "phases is a tuple of image, video"),
        ({"phases": "image"}, "phases is a tuple of image, video"),
        ({"phases": ("audio",)}, "phases is a tuple of image, video"),
        ({"inputs": ("vidio",)}, "inputs is a tuple of image_embed, video, fps, frame_skip"),
        ({"inputs": ()}, "inputs is a tuple of"),
    ],
)
def test_an_entry_that_cannot_work_is_refused(change, message):
    entry = {"phases": ("image",), "inputs": ("video",), "makes_video": True}
    with pytest.raises(ValueError, match=message):
        StageSpec("sr_x", "own_stage.SRX", **(entry | change))


@pytest.mark.parametrize("model", ["lightning_mav.models.SRHH", "nowhere.SRX", "SRX"])
def test_a_class_that_is_not_there_is_named_before_training(model, monkeypatch, capsys):
    monkeypatch.setitem(stage_table._STAGES, "sr_h", StageSpec("sr_h", model, ("image",)))
    with pytest.raises(SystemExit) as end:
        main(["train", "sr_h", "--scale", "nano"])
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"stage 'sr_h': there is no class {model}" in line
