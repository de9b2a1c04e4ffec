"""Training that is preempted at any moment saves its step, leaves with 143, and ends as if undisturbed."""

import json
import subprocess
import sys

import pytest

from helpers import preempted
from helpers.runs import arguments, assert_equal
from lightning_mav.training.checkpoints import read_newest

PARTS = (
    "state_dict",
    "current_model_state",
    "optimizer_states",
    "lr_schedulers",
    "MicroImages",
    "global_step",
)


def preempt(num_ranks, num_signals, seed, steps, world, place, *more):
    """Returns what happened at each start."""
    own = ("--trainer.max_steps", "--trainer.val_check_interval")
    command = [sys.executable, preempted.__file__, *map(str, (num_ranks, num_signals, seed, steps)), "sr_h"]
    command += [option for option in arguments("sr_h", 0, world) if not option.startswith(own)]
    command += ["--trainer.val_check_interval=5", "--checkpoint.every_n_train_steps=2"]
    command += ["--trainer.logger=false", *more]
    out = subprocess.run(command, cwd=place, stdout=subprocess.PIPE, text=True, check=True).stdout
    return [json.loads(line) for line in out.splitlines()]


def newest(folder):
    return read_newest(folder / "outputs/micro/sr_h/checkpoints")[1]


def check(starts, steps, place):
    """Checks statuses and files of each start, and that all runs have ended alike."""
    whole, *others = starts
    assert set(whole["statuses"]) == {0}
    for found in others:
        statuses, last = set(found["statuses"]), f"step={steps:07}.ckpt" in found["checkpoints"]
        assert statuses == {143 if found["sent"] else 0} or (last and statuses <= {0, 143}), found
        assert found["weights"] == (found["statuses"][0] == 0), found
        assert len(found["checkpoints"]) <= 2, found
    for folder in {found["folder"] for found in others}:
        for part in PARTS:
            assert_equal(newest(place / folder)[part], newest(place / "whole")[part], f"{folder}: {part}")


@pytest.mark.slow
@pytest.mark.timeout(900)  # for when other programs have the processors
def test_two_processes_that_are_preempted_end_as_undisturbed_ones(tmp_path, micro_world):
    starts = preempt(2, 2, 20, 6, micro_world, tmp_path)  # this seed: SIGUSR1 to the second in a step,
    sent = [found for found in starts if found["sent"]]  # SIGTERM to both in a save; srun, then torchrun
    assert {(found["signal"], found["to"]) for found in sent} == {("SIGUSR1", 1), ("SIGTERM", "all")}
    check(starts, 6, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("num_ranks", [1, 2])
def test_thirty_signals_at_random_moments_change_nothing(num_ranks, tmp_path, micro_world):
    starts = preempt(num_ranks, 30, num_ranks, 12, micro_world, tmp_path)
    assert sum(found["sent"] for found in starts) == 30
    check(starts, 12, tmp_path)
    assert len({(found.get("signal"), found.get("within")) for found in starts if found["sent"]}) == 4
