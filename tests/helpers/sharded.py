"""Trains with several processes, one run after another, each in a folder of its own.

Run as a script in an empty folder: ``python sharded.py RUNS [double]``; RUNS is a JSON list of ``[folder,
processes, arguments]``. It prints a line of JSON for each. Part k of a step's batches draws what process k would draw, so that one
process with ``accumulate_grad_batches=N`` sees the same as N processes. Each writes the losses of its steps to
``losses.RANK.txt``. After ``double`` all weights and all that is computed is in double precision.
"""

import importlib
import json
import os
import sys
from pathlib import Path

import numpy as np
import preempted
import torch
from torch.utils._pytree import tree_map

BASE = ["--trainer.accelerator=cpu", "--trainer.logger=false", "--trainer.enable_progress_bar=false"]
BASE += ["--trainer.precision=32-true"]


def in_double(value):
    return value.double() if torch.is_tensor(value) and value.is_floating_point() else value


def prepare(double):
    """Makes runs comparable, before any process is forked from this one."""
    for name in preempted.PRELOADED:
        importlib.import_module(name)
    from lightning_mav.training import fit
    from lightning_mav.training.callbacks import StepSeed
    if double:
        torch.Tensor.float = torch.Tensor.double
    build = fit.MavCLI.instantiate_classes

    def instantiate_classes(self):
        build(self)
        if double:
            self.model.double()
            self.model.on_after_batch_transfer = lambda batch, _: tree_map(in_double, batch)
        step, rank = self.model.training_step, self.trainer.global_rank

        def training_step(batch, batch_idx):
            loss = step(batch, batch_idx)
            with open(f"losses.{rank}.txt", "a") as file:
                file.write(f"{self.trainer.global_step} {loss.item():.17g}\n")
            return loss

        self.model.training_step = training_step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        part = batch_idx % trainer.accumulate_grad_batches + trainer.global_rank
        words = np.random.SeedSequence([self.seed, trainer.global_step, part])
        torch.manual_seed(int(words.generate_state(1, np.uint64)[0]))

    fit.MavCLI.instantiate_classes = instantiate_classes
    StepSeed.on_train_batch_start = on_train_batch_start


def main(runs, precision=""):
    """Trains all of them."""
    prepare(precision == "double")
    place = Path.cwd()
    for folder, num_ranks, arguments in json.loads(runs):
        (place / folder).mkdir(exist_ok=True)
        os.chdir(place / folder)
        more = [f"--trainer.devices={num_ranks}"] if num_ranks > 1 else []
        found = preempted.train([*arguments[:1], *BASE, *arguments[1:], *more], num_ranks)
        print(json.dumps({"folder": folder, **found}), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
