"""Starts ``sharded.py`` and reads what its runs have left."""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

from helpers import preempted
from helpers.runs import RUN, arguments
from lightning_mav.training.sharding.files import read_whole

FSDP = "--trainer.strategy=fsdp"
TENSORS = ("state_dict", "current_model_state", "optimizer_states", "averaging_state")


def command(name, steps, world, *more):
    """Arguments of ``mav train`` for a tiny run that saves and validates after each other step."""
    own = ("--trainer.val_check_interval", "--trainer.accelerator")
    tiny = [option for option in arguments(name, steps, world) if not option.startswith(own)]
    every = [
        "--trainer.val_check_interval=2",
        "--checkpoint.every_n_train_steps=2",
        "--checkpoint.save_top_k=-1",
    ]
    return [RUN[name].stage, "--phase", RUN[name].phase, *tiny, *every, *more]


def train(place, *runs, double=True, status=0):
    """Does runs ``(folder, processes, arguments[, start])`` one after another; see ``sharded.py``."""
    runs = [[*run, *[None] * (4 - len(run))] for run in runs]
    script = Path(preempted.__file__).with_name("sharded.py")
    done = subprocess.run(
        [sys.executable, str(script), json.dumps(runs), *["double"] * double],
        cwd=place,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    for line in done.stdout.splitlines():
        found = json.loads(line)
        log = (place / found["folder"] / "log0").read_text()[-2000:]
        assert set(found["statuses"]) == {status}, f"{found}\n{log}"


def saved(place, step):
    """Reads the checkpoint of a run as that of a run without sharding."""
    (path,) = place.rglob(f"step={step:07}.ckpt")
    return read_whole(path) if path.is_dir() else torch.load(path, weights_only=True)


def lines(place):
    """Returns loss and bytes of each step: the mean of all processes' losses, the bytes of each process."""
    files = sorted(place.glob("[0-9]*.txt"))
    rows = [[line.split() for line in file.read_text().splitlines()] for file in files]
    losses = {}
    for step, loss, _ in (row for of_rank in rows for row in of_rank):
        losses.setdefault(int(step), []).append(float(loss))
    return [sum(own) / len(own) for own in losses.values()], [int(of_rank[-1][2]) for of_rank in rows]


def difference(a, b, path="", floor=1e-30):
    """Returns the largest difference of tensors in two trees, relative to their norm, and where it is."""
    if isinstance(a, torch.Tensor):
        assert a.shape == b.shape, path
        a, b = a.double(), b.double()
        return ((a - b).norm() / a.norm().clamp(min=floor)).item() if a.numel() else 0.0, path
    if isinstance(a, dict):
        assert a.keys() == b.keys(), path
        return max((difference(a[key], b[key], f"{path}.{key}", floor) for key in a), default=(0.0, path))
    if isinstance(a, list | tuple):
        assert len(a) == len(b), path
        return max(
            (difference(*pair, f"{path}[{i}]", floor) for i, pair in enumerate(zip(a, b, strict=True))),
            default=(0.0, path),
        )
    return 0.0, path
