"""Compiles a network block by block, or its norms alone, so that parts share code and the start is short."""

import importlib.util
import os
import shutil
import warnings
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import nn

from ..nn.norm import GroupNorm
from ..utils.errors import UsageError
from .units import find_units

VARIANTS = 8  # of a block: clips and images, with and without gradients, other lengths of texts
NORMS = "norms"  # value of --compile


def compile_network(network: nn.Module, parts: bool | str) -> None:
    """Compiles what ``--compile`` asks for: the blocks, the norms, or nothing."""
    if parts == NORMS:
        compile_norms(network)
    elif parts:
        compile_blocks(network)


def compile_blocks(network: nn.Module, **settings: Any) -> None:
    """Compiles each unit of a network in place, at its first call; the rest stays as it is.

    Names in checkpoints stay, and copies, such as the average, are not compiled. Compile after recomputing is
    chosen, which lies inside a unit, and before units are sharded, whose hooks lie outside.

    Args:
        network: Network, see ``find_units``.
        settings: Further arguments of ``torch.compile``, such as ``backend``.
    """
    units = find_units(network)
    _prepare(len(units))
    for unit in units:
        # Sizes are fixed in a U-Net. If they were not, torch would take those in which its blocks differ for
        # variable, and make slower code. Texts, in Transformers, differ in length from batch to batch.
        dynamic = False if type(unit).__name__ == "Block" else None
        unit.compile(fullgraph=True, dynamic=dynamic, **settings)


def compile_norms(network: nn.Module, **settings: Any) -> None:
    """Compiles each GroupNorm, with the condition and SiLU that follow it, for variable sizes.

    Between the convolutions of a U-Net they take most of the time that compiling can save. All share a
    handful of graphs, where blocks have one for each shape.

    Args:
        network: Network; names in its checkpoints stay.
        settings: Further arguments of ``torch.compile``, such as ``backend``.

    Raises:
        UsageError: If there is none.
    """
    norms = [module for module in network.modules() if isinstance(module, GroupNorm)]
    if not norms:
        raise UsageError(
            "--compile=norms: this network has no GroupNorm; choose --compile=true, or leave it out"
        )
    config = _prepare(len(norms))
    # Otherwise the weights of each width would make a graph of their own.
    config.force_parameter_static_shapes = False
    for norm in norms:
        norm.compile(fullgraph=True, dynamic=True, **settings)


def _prepare(num_parts: int) -> Any:
    """Sets torch's compiler up for a number of parts; returns its configuration."""
    from torch._dynamo import config  # takes seconds

    # All parts of a class share a list of compiled shapes, which torch limits to 8; a U-Net has 24 shapes.
    # What does not fit would run uncompiled, without a word; with `fullgraph` it is an error instead.
    for name in ("recompile_limit", "accumulated_recompile_limit"):
        setattr(config, name, max(getattr(config, name), VARIANTS * num_parts))
    # DDP would split graphs, to send gradients earlier. Parts are small enough.
    config.optimize_ddp = False
    # Said where nothing is to be compiled: in validation, and where operations are counted.
    warnings.filterwarnings("ignore", message=".*fullgraph=True found no compiled frames")
    return config


def check_compiler() -> None:
    """Refuses to compile on a GPU where the first step would fail.

    Raises:
        UsageError: If Triton, or the C compiler that it calls, is missing.
    """
    if not torch.cuda.is_available():
        return
    if importlib.util.find_spec("triton") is None:
        raise UsageError("--compile needs the package triton, which is not installed; leave it out")
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        raise UsageError(
            "--compile needs a C compiler, and there is neither gcc nor clang: install one, set CC to "
            "another, or leave it out"
        )


class PlainValidation(Callback):
    """Runs validation uncompiled.

    Losses without gradients and samples, of other batch sizes, would each compile all blocks once more, for
    little: they are a small part of a training.
    """

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Switches to uncompiled blocks."""
        torch.compiler.set_stance("force_eager")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Switches back."""
        torch.compiler.set_stance("default")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Switches back."""
        torch.compiler.set_stance("default")
