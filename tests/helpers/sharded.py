"""Trains with several processes, one run after another, each in a folder of its own.

Run as a script in an empty folder: ``python sharded.py RUNS [double]``; RUNS is a JSON list of ``[folder,
processes, arguments, start]``. It prints a line of JSON for each. A run with a start, ``[folder, step]``,
goes on from this checkpoint of an earlier one. The argument ``compiled`` compiles the blocks, with a backend
that needs no C++ compiler. With ``double`` all is computed in double precision.

The parts of a step draw what other processes would draw, so that one process with N batches in a step sees
the same as N processes. Each writes the losses of its steps, and the bytes that it holds, to ``RANK.txt``.
"""

import importlib
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import preempted
import torch
from torch.utils._pytree import tree_map

COMPILED = "compiled"
BASE = ["--trainer.accelerator=cpu", "--trainer.logger=false", "--trainer.enable_progress_bar=false"]
BASE += ["--trainer.precision=32-true"]


def in_double(value):
    return value.double() if torch.is_tensor(value) and value.is_floating_point() else value


def held(trainer, module, average):
    """Returns the bytes of what this process holds: weights, gradients, averages, states of the optimizer."""
    from lightning_mav.utils.shards import local

    tensors = [*module.parameters(), *average._average_model.module.parameters()]
    tensors += [p.grad for p in module.parameters() if p.grad is not None]
    tensors += [
        value
        for optimizer in trainer.optimizers
        for state in optimizer.state.values()
        for value in state.values()
        if torch.is_tensor(value)
    ]
    return sum(local(tensor.detach()).nbytes for tensor in tensors)


def prepare(double):
    """Makes runs comparable, before any process is forked from this one."""
    for name in preempted.PRELOADED:
        importlib.import_module(name)
    from lightning_mav.training import fit
    from lightning_mav.training.average import EMA
    from lightning_mav.training.callbacks import StepSeed

    if double:
        torch.set_default_dtype(torch.float64)
        torch.Tensor.float = torch.Tensor.double
    from lightning_mav.training.compiling import compile_blocks

    build = fit.MavCLI.instantiate_classes

    def instantiate_classes(self):
        build(self)
        for parameter in self.model.parameters() if self.trainer.global_rank else ():
            parameter.data += 1  # only the first process's weights count
        if COMPILED in os.environ:  # before it is sharded, as --compile does
            compile_blocks(self.model.model, backend="aot_eager")
        if double:
            self.model.double()
            self.model.on_after_batch_transfer = lambda batch, _: tree_map(in_double, batch)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        part = batch_idx % trainer.accumulate_grad_batches * trainer.world_size + trainer.global_rank
        words = np.random.SeedSequence([self.seed, trainer.global_step, part])
        torch.manual_seed(int(words.generate_state(1, np.uint64)[0]))

    update = EMA.on_train_batch_end

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        update(self, trainer, pl_module, outputs, batch, batch_idx)
        step = batch_idx // trainer.accumulate_grad_batches
        with open(f"{trainer.global_rank}.txt", "a") as file:
            file.write(f"{step} {outputs['loss'].item() * trainer.accumulate_grad_batches:.17g}")
            file.write(f" {held(trainer, pl_module, self)}\n")

    EMA.on_train_batch_end = on_train_batch_end
    fit.MavCLI.instantiate_classes = instantiate_classes
    StepSeed.on_train_batch_start = on_train_batch_start


def main(runs, precision=""):
    """Trains all of them."""
    prepare(precision == "double")
    place = Path.cwd()
    for folder, num_ranks, arguments, start in json.loads(runs):
        (place / folder).mkdir(exist_ok=True)
        if start:
            (found,) = (place / start[0]).rglob(f"step={start[1]:07}.ckpt")
            target = place / folder / found.relative_to(place / start[0])
            target.parent.mkdir(parents=True)
            (shutil.copytree if found.is_dir() else shutil.copy)(found, target)
        os.chdir(place / folder)
        os.environ.pop(COMPILED, None)
        if COMPILED in arguments:
            arguments.remove(COMPILED)
            os.environ[COMPILED] = "1"
        more = [f"--trainer.devices={num_ranks}"] if num_ranks > 1 else []
        found = preempted.train([*arguments[:1], *BASE, *arguments[1:], *more], num_ranks)
        print(json.dumps({"folder": folder, **found}), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
