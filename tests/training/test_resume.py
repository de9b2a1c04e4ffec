"""A run that is interrupted again and again ends as one that never was, bit by bit."""

import itertools
import os
import subprocess
import sys

import pytest

from helpers.runs import RUN, arguments, assert_equal
from lightning_mav.training.callbacks import StepSeed
from lightning_mav.training.checkpoints import read_newest
from lightning_mav.training.train import train

STEPS = 4
KILLS = (1, 2, 3)  # steps at whose start a run dies
RUN_SCRIPT = """
import os, signal
from lightning_mav.cli import main
from lightning_mav.training.callbacks import StepSeed

step, rank = os.environ["KILL_STEP"], os.environ["KILL_RANK"]  # ranks are started with the same arguments
start = StepSeed.on_train_batch_start

def die(self, trainer, *args):
    if [str(trainer.global_step), str(trainer.global_rank)] == [step, rank]:
        os.killpg(0, signal.SIGKILL)
    start(self, trainer, *args)

StepSeed.on_train_batch_start = die
main()
"""


def overrides(world, workers, accumulate):
    more = [f"--data.{part}.num_workers={workers}" for part in ("video", "image")]
    more += ["--data.video.cache=false", "--data.image.cache=true", "--checkpoint.every_n_train_steps=1"]
    more += ["--trainer.val_check_interval=100", "--model.num_samples=0"]
    more += [f"--trainer.accumulate_grad_batches={accumulate}", "--trainer.log_every_n_steps=1"]
    model = ["--model.init_from=null", "--model.clip=micro/clip", "--model.unet.image_embed_dim=64"]
    return [*arguments("decoder", STEPS, world), *model, *more]


def assert_same_end(folder, other):
    ends = [read_newest(place / "outputs/micro/decoder/checkpoints")[1] for place in (folder, other)]
    data = "MixedShards"
    for part in ("state_dict", "current_model_state", "optimizer_states", "lr_schedulers", data):
        assert_equal(ends[0][part], ends[1][part], part)
    assert ends[0]["global_step"] == STEPS


class Killed(BaseException):
    """Ends training as abruptly as this process survives."""


@pytest.mark.parametrize(("workers", "accumulate"), [pytest.param(0, 2, marks=pytest.mark.slow), (2, 1)])
def test_interrupted_run_ends_as_one_that_is_not(workers, accumulate, tmp_path, micro_world, monkeypatch):
    start = StepSeed.on_train_batch_start
    for name, kills in (("whole", ()), ("killed", KILLS)):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        for kill in (*kills, None):

            def die(self, trainer, *args, kill=kill):
                if trainer.global_step == kill:
                    raise Killed
                start(self, trainer, *args)

            monkeypatch.setattr(StepSeed, "on_train_batch_start", die)
            try:
                train(RUN["decoder"], "micro", overrides=overrides(micro_world, workers, accumulate))
            except Killed:
                assert kill is not None
            if kill == KILLS[-1]:  # as if it had died while it wrote
                newest, _ = read_newest(tmp_path / name / "outputs/micro/decoder/checkpoints")
                newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    assert_same_end(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize(("workers", "accumulate"), list(itertools.product([0, 2], [1, 2])))
def test_killed_processes_end_as_undisturbed_ones(devices, workers, accumulate, tmp_path, micro_world):
    script = tmp_path / "run.py"
    script.write_text(RUN_SCRIPT)
    more = ["--trainer.strategy=ddp", "--trainer.devices=2"] if devices == 2 else []
    for name, kills in (("whole", ()), ("killed", KILLS)):
        (tmp_path / name).mkdir()
        for i, kill in enumerate((*kills, -1)):
            command = [sys.executable, str(script), "train", "decoder"]
            command += ["--phase", "video", *overrides(micro_world, workers, accumulate), *more]
            env = {**os.environ, "KILL_STEP": str(kill), "KILL_RANK": str(i % devices)}
            kwargs = {"cwd": tmp_path / name, "env": env, "start_new_session": True, "timeout": 300}
            status = subprocess.run(command, check=False, **kwargs).returncode
            assert (status == 0) == (kill == -1)
            if kill == KILLS[-1]:
                newest, _ = read_newest(tmp_path / name / "outputs/micro/decoder/checkpoints")
                newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    assert_same_end(tmp_path / "whole", tmp_path / "killed")
