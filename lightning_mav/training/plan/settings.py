"""The number of devices that a run is planned for, and the number of batches in a step of each device."""

from typing import Any

from ...utils.errors import UsageError
from ..sharding.settings import check_replicas
from .sharing import Sharing


def find_sharing(trainer: Any, devices: int | None, strategy: str | None, num_replicas: int = 1) -> Sharing:
    """Returns how the devices share a step.

    Raises:
        UsageError: If the strategy cannot be planned, or needs more devices.
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
            raise UsageError(f"--trainer.strategy={trainer.strategy}: cannot be planned; choose ddp or fsdp")
    if strategy == "fsdp" and devices == 1:
        raise UsageError("--strategy fsdp divides the weights among devices: give --devices 2 or more")
    check_replicas(strategy, devices, num_replicas)
    return Sharing(devices, strategy, num_replicas)


def find_accumulation(config: Any, batch: int, devices: int, global_batch: int | None) -> int:
    """Returns how many batches a device computes in a step.

    Raises:
        UsageError: If the devices cannot share the global batch evenly.
    """
    global_batch = global_batch or config.get("global_batch")
    if global_batch is None:
        return config.trainer.accumulate_grad_batches
    if global_batch % (batch * devices):
        raise UsageError(
            f"a global batch of {global_batch} cannot be shared: {devices} devices with batches of {batch} "
            f"take {batch * devices} at a time, which does not divide it; change --devices or batch_size"
        )
    return global_batch // (batch * devices)
