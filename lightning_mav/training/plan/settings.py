"""How many devices a run is planned for, and in how many batches of theirs a step is done."""

from typing import Any

from ...utils.errors import UsageError
from .sharing import Sharing


def find_sharing(trainer: Any, devices: int | None, strategy: str | None) -> Sharing:
    """Returns how a step is shared.

    Raises:
        UsageError: If the strategy is none that is planned for, or needs more devices.
    """
    if devices is None:
        given = trainer.devices
        devices = len(given) if isinstance(given, list) else int(given) if str(given).isdecimal() else 1
        devices *= trainer.num_nodes
    if devices < 1:
        raise UsageError(f"--trainer.devices={trainer.devices}: give 1 or more, or --devices")
    if strategy is None:
        name = str(trainer.strategy).lower()
        strategy = "fsdp" if "fsdp" in name or "modelparallel" in name else "ddp"
        if strategy == "ddp" and name != "auto" and "ddp" not in name:
            raise UsageError(f"--trainer.strategy={trainer.strategy}: is not planned for; choose ddp or fsdp")
    if strategy == "fsdp" and devices == 1:
        raise UsageError("--strategy fsdp divides the weights among devices: give --devices 2 or more")
    return Sharing(devices, strategy)


def find_accumulation(config: Any, batch: int, devices: int, global_batch: int | None) -> int:
    """Returns the batches of a device in a step.

    Raises:
        UsageError: If the devices cannot share the global batch evenly.
    """
    global_batch = global_batch or config.get("global_batch")
    if global_batch is None:
        return config.trainer.accumulate_grad_batches
    if global_batch % (batch * devices):
        raise UsageError(
            f"a global batch of {global_batch} cannot be shared: {devices} devices with batches of {batch} "
            f"take {batch * devices} at a time; choose --devices or batch_size so that this divides it"
        )
    return global_batch // (batch * devices)
