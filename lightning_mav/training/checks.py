"""Refuses settings of Lightning's Trainer that these networks or this machine do not support."""

import math
import os
from typing import Any

import torch
from lightning import Trainer
from lightning.fabric.plugins.environments import (
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_only

from ..utils.errors import UsageError
from ..utils.precision import PRECISIONS, usable_device
from .compiling import check_compiler

ALIASES = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}
SLURM_RANKS = ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID")


def is_on_processor(accelerator: Any) -> bool:
    """Whether a trainer with this ``accelerator`` computes on the processor."""
    other = torch.cuda.is_available() or torch.backends.mps.is_available()
    return accelerator == "cpu" or (accelerator == "auto" and not other)


def check_settings(trainer: Any, compile_network: bool | str) -> None:
    """Refuses settings that would fail later, at the first step or after minutes.

    Args:
        trainer: Arguments of Lightning's ``Trainer``.
        compile_network: Whether the network, or which part of it, is to be compiled.

    Raises:
        UsageError: If something does not fit.
    """
    on_processor = is_on_processor(trainer.accelerator)
    name = ALIASES.get(str(trainer.precision), str(trainer.precision))
    if name not in PRECISIONS:
        raise UsageError(
            f"--trainer.precision={trainer.precision}: weights stay in single precision, which their average "
            f"(--ema) needs; choose one of {', '.join(PRECISIONS)}"
        )
    if name == "16-mixed" and on_processor:
        raise UsageError("--trainer.precision=16-mixed needs a GPU: choose 32-true or bf16-mixed")
    if compile_network and on_processor:
        raise UsageError(
            "--compile needs a GPU: on a processor torch's compiler takes minutes and fails for some "
            "networks; leave it out"
        )
    if compile_network:
        check_compiler()
    if trainer.max_steps is not None and (trainer.max_steps == 0 or trainer.max_steps < -1):
        raise UsageError(
            f"--trainer.max_steps={trainer.max_steps}: give a number of steps, or -1 to train until stopped"
        )
    for name in ("accumulate_grad_batches", "num_nodes", "check_val_every_n_epoch"):
        if isinstance(value := trainer[name], int) and value < 1:
            raise UsageError(f"--trainer.{name}={value}: give a positive number")
    _check_batches(trainer)
    if trainer.val_check_interval == 0:
        raise UsageError(
            "--trainer.val_check_interval=0: give a number of steps; --trainer.limit_val_batches=0 turns "
            "validation off"
        )
    if trainer.gradient_clip_val is not None and not trainer.gradient_clip_val >= 0:
        raise UsageError(f"--trainer.gradient_clip_val={trainer.gradient_clip_val}: give 0 or more")
    _check_slurm_variables()


def _check_batches(trainer: Any) -> None:
    """Refuses a limit of batches that would end training before ``max_steps``."""
    name = "overfit_batches" if trainer.overfit_batches else "limit_train_batches"
    limit, epochs = trainer[name], trainer.max_epochs
    if trainer.fast_dev_run or not isinstance(limit, int) or limit < 1 or epochs is None or epochs < 1:
        return
    last = epochs * math.ceil(limit / trainer.accumulate_grad_batches)
    if last < trainer.max_steps:
        raise UsageError(
            f"--trainer.{name}={limit}: training would end at step {last} of --trainer.max_steps="
            f"{trainer.max_steps}: leave it out, or add --trainer.max_epochs=-1, which lets training go on"
        )


def check_average(ema: Any, max_steps: int) -> None:
    """Refuses an average that is never updated: it would be written instead of the trained weights.

    Args:
        ema: Arguments of ``EMA``.
        max_steps: Steps of the training, -1 for no limit.

    Raises:
        UsageError: If it is never updated, or its device is not there.
    """
    if ema.update_every_n_steps < 1:
        raise UsageError(f"--ema.update_every_n_steps={ema.update_every_n_steps}: give a positive number")
    if ema.update_starting_at_step is not None and 0 < max_steps <= ema.update_starting_at_step:
        raise UsageError(
            f"--ema.update_starting_at_step={ema.update_starting_at_step}: with --trainer.max_steps="
            f"{max_steps} nothing would be averaged, and untrained weights be written: give less"
        )
    if ema.device is not None:
        usable_device("--ema.device", ema.device)


def _check_slurm_variables() -> None:
    if not SLURMEnvironment.detect() or TorchElasticEnvironment.detect():  # srun may start torchrun
        return
    values = {name: os.environ.get(name) for name in ("SLURM_NTASKS", *SLURM_RANKS)}
    for name, value in values.items():
        if value is None:
            raise UsageError(
                f"SLURM_NTASKS is set and {name} is not: start this by srun, or unset SLURM_NTASKS to "
                "train in one process"
            )
        if not value.isdecimal():
            raise UsageError(f"{name}={value}: is no whole number; start this by srun, which sets it")
    if values["SLURM_NTASKS"] != "1" and "SLURM_NTASKS_PER_NODE" not in os.environ:
        raise UsageError(
            f"SLURM's --ntasks={values['SLURM_NTASKS']} does not say how many run on a node: give "
            "--ntasks-per-node, as many as --trainer.devices, or start one task"
        )


def check_processes(trainer: Trainer) -> None:
    """Refuses numbers of processes that do not fit what SLURM or torchrun has started.

    Raises:
        UsageError: If some would wait for others that never come, or train on their own in one folder.
    """
    environment = trainer._accelerator_connector.cluster_environment
    missing = [name for name in ("MASTER_ADDR", "NODE_RANK") if name not in os.environ]
    if trainer.num_nodes > 1 and missing and isinstance(environment, LightningEnvironment):
        raise UsageError(
            f"--trainer.num_nodes={trainer.num_nodes}: MASTER_ADDR and NODE_RANK say where the first node is "
            f"and which one this is; not set: {', '.join(missing)}; set them, or use torchrun or srun"
        )
    if not (SLURMEnvironment.detect() or TorchElasticEnvironment.detect()):
        return
    started, asked = environment.world_size(), trainer.num_devices * trainer.num_nodes
    per_node = os.environ.get("SLURM_NTASKS_PER_NODE") if isinstance(environment, SLURMEnvironment) else None
    if started != asked or (per_node and per_node != str(trainer.num_devices)):
        tasks = f"{started} processes were started" + (f", {per_node} a node" if per_node else "")
        raise UsageError(
            f"{tasks}, which does not fit --trainer.devices={trainer.num_devices} and --trainer.num_nodes="
            f"{trainer.num_nodes}: their product is the number of processes (srun --ntasks-per-node, "
            "torchrun --nproc-per-node), with --trainer.strategy=ddp if it is more than one"
        )


def check_filename(saver: Any) -> None:
    """Refuses a name of checkpoint files that is not a valid pattern.

    Raises:
        UsageError: If ``saver``, a trainer's checkpoint callback, has such a name.
    """
    if isinstance(saver, ModelCheckpoint) and saver.filename:
        try:
            saver.format_checkpoint_name({})
        except (ValueError, LookupError) as error:
            raise UsageError(f"--checkpoint.filename={saver.filename}: is no pattern ({error})") from error


def is_first_process() -> bool:
    """Whether this is the process that prints, of all that a strategy or a cluster may start."""
    rank = getattr(rank_zero_only, "rank", 0)  # Lightning reads it from any launcher's variables
    return rank == 0 and os.environ.get("NODE_RANK", "0") == "0"
