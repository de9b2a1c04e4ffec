"""What is set for several devices: the strategy, copies of the network, and the samples in a step."""

from typing import Any

from jsonargparse.typing import PositiveInt
from lightning import Trainer

from ...utils.errors import UsageError
from . import is_sharding


def add_sharing(parser: Any) -> None:
    """Adds the options to a parser."""
    parser.add_argument(
        "--global_batch",
        type=PositiveInt | None,
        default=None,
        help="Samples in a step, of all devices; trainer.accumulate_grad_batches follows from it.",
    )
    parser.add_argument(
        "--num_replicas",
        type=PositiveInt,
        default=1,
        help="Copies of the network with --trainer.strategy=fsdp; each is divided among as many devices.",
    )


def check_strategy(config: Any) -> None:
    """Refuses a strategy that keeps the weights to itself, and settings that do not go with sharding.

    Args:
        config: Settings of the run.

    Raises:
        UsageError: If something does not fit.
    """
    strategy = str(config.trainer.strategy)
    if strategy.endswith(("_spawn", "_fork", "_notebook")):
        raise UsageError(f"--trainer.strategy={strategy} keeps the weights to its processes: use ddp")
    others = ("fsdp", "deepspeed", "modelparallel", "model_parallel")
    if strategy != "fsdp" and any(name in strategy.lower() for name in others):
        raise UsageError(
            f"--trainer.strategy={strategy} shards the network in another way than its average (--ema) and "
            "Muon are made for: use fsdp, or ddp"
        )
    if strategy != "fsdp":
        check_replicas(strategy, 1, config.num_replicas)
        return
    if str(config.trainer.precision) in ("16", "16-mixed"):
        raise UsageError(
            f"--trainer.precision={config.trainer.precision}: fsdp takes 32-true and bf16-mixed; use one of "
            "them, or --trainer.strategy=ddp"
        )
    if config.ema.device is not None:
        raise UsageError(
            f"--ema.device={config.ema.device}: with fsdp each device averages its own part; leave it out"
        )
    if "://" in str(config.checkpoint.dirpath):
        raise UsageError(
            f"--checkpoint.dirpath={config.checkpoint.dirpath}: with fsdp checkpoints are folders, which are "
            "written to disks only; name a folder that all machines see"
        )


def share_among_devices(trainer: Trainer, datamodule: Any, config: Any) -> None:
    """Checks and settles what depends on the number of devices; arguments as for ``set_global_batch``.

    Raises:
        UsageError: If the devices do not fit.
    """
    check_sharing(trainer, config.num_replicas)
    set_global_batch(trainer, datamodule, config)


def check_sharing(trainer: Trainer, num_replicas: int) -> None:
    """Refuses to shard a network on one device, or in groups of unequal size.

    Raises:
        UsageError: If the devices do not fit.
    """
    if not is_sharding(trainer):
        return
    devices = trainer.num_devices * trainer.num_nodes
    if devices == 1:
        raise UsageError(
            "--trainer.strategy=fsdp divides the network among devices, and this is one: give "
            "--trainer.devices=2 or more, or leave the strategy out"
        )
    check_replicas("fsdp", devices, num_replicas)


def check_replicas(strategy: str, devices: int, num_replicas: int) -> None:
    """Refuses copies of a network that is not divided, or that the devices cannot hold.

    Raises:
        UsageError: If they do not fit.
    """
    if strategy != "fsdp" and num_replicas > 1:
        raise UsageError(f"--num_replicas={num_replicas}: is for --trainer.strategy=fsdp alone")
    if strategy == "fsdp" and (devices % num_replicas or devices == num_replicas):
        raise UsageError(
            f"--num_replicas={num_replicas}: {devices} devices cannot be divided into as many groups of two "
            "or more; use ddp if each device can hold the network"
        )


def set_global_batch(trainer: Trainer, datamodule: Any, config: Any) -> None:
    """Lets a step have as many batches as the global batch takes on these devices.

    Args:
        trainer: Trainer, whose ``accumulate_grad_batches`` is set.
        datamodule: Datamodule; of a mixed one, the videos are counted.
        config: Settings of the run.

    Raises:
        UsageError: If the devices cannot share the global batch evenly.
    """
    total = config.global_batch
    if total is None:
        return
    batch = getattr(getattr(datamodule, "video", datamodule), "batch_size", None)
    if batch is None:
        raise UsageError(
            f"--global_batch={total}: this datamodule has no batch_size; leave it out, and give "
            "--trainer.accumulate_grad_batches"
        )
    devices = trainer.num_devices * trainer.num_nodes
    at_once = batch * devices
    if total % at_once:
        raise UsageError(
            f"--global_batch={total}: {devices} devices with batches of {batch} take {at_once} samples at a "
            "time, which does not divide it: choose another batch_size or number of devices"
        )
    given = config.trainer.accumulate_grad_batches
    if given not in (None, 1, total // at_once):
        raise UsageError(
            f"--global_batch={total}: takes {total // at_once} batches of each of {devices} devices, not "
            f"--trainer.accumulate_grad_batches={given}: leave that out"
        )
    trainer.accumulate_grad_batches = total // at_once
