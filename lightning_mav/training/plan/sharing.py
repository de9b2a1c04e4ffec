"""What each of N devices holds and sends when a step is shared: formulas, no measurement."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..units import find_units

STRATEGIES = ("ddp", "fsdp")


@dataclass(frozen=True)
class Sharing:
    """How many devices share a step, and how.

    Args:
        devices: Number of devices.
        strategy: ``ddp``, where each device holds everything, or ``fsdp``, where each holds a part.
    """

    devices: int = 1
    strategy: str = "ddp"

    @property
    def is_sharded(self) -> bool:
        """Whether weights and their states are divided."""
        return self.strategy == "fsdp"

    @property
    def share(self) -> float:
        """Share of weights and their states that a device holds, apart from rounding up."""
        return 1 / self.devices if self.is_sharded else 1.0

    def held(self, tensors: Iterable[Tensor]) -> int:
        """Returns the bytes of some tensors that a device holds; the first, which holds the most.

        FSDP2 divides a tensor by its first dimension, rounded up.
        """
        return sum(
            self.rows(tensor) * tensor[:1].numel() * tensor.element_size()
            if tensor.ndim
            else tensor.element_size()
            for tensor in tensors
        )

    def rows(self, tensor: Tensor) -> int:
        """Returns the rows of a tensor that the first device holds."""
        return math.ceil(len(tensor) / self.devices) if self.is_sharded else len(tensor)

    def all_reduce(self, size: int) -> int:
        """Returns the bytes that a device sends in a ring all-reduce: 2 (N - 1) / N of ``size``."""
        return 2 * self.reduce_scatter(size)

    def all_gather(self, size: int) -> int:
        """Returns the bytes that a device sends in an all-gather: (N - 1) / N of ``size``."""
        return size * (self.devices - 1) // self.devices

    def reduce_scatter(self, size: int) -> int:
        """Returns the bytes that a device sends in a reduce-scatter: (N - 1) / N of ``size``."""
        return size * (self.devices - 1) // self.devices


def unit_sizes(module: nn.Module) -> tuple[int, list[int]]:
    """Counts parameters: those outside all units, and those of each unit, in order."""
    sizes = [sum(p.numel() for p in unit.parameters()) for unit in find_units(module)]
    return sum(p.numel() for p in module.parameters()) - sum(sizes), sizes


def gathered(root: int, units: list[int], num_bytes: int) -> int:
    """Returns the most bytes of what FSDP puts together for a moment.

    Those are what lies outside all units, in fp32; in the precision of the computation a unit with the one
    that is fetched meanwhile, the buffer that it arrives in, and the gradient of a unit; and that gradient in
    fp32, before it is summed.

    Args:
        root: Parameters outside all units.
        units: Parameters of each unit.
        num_bytes: Bytes of a number in the precision of the computation.
    """
    pair = max((a + b for a, b in zip(units, units[1:] or [0], strict=False)), default=0)
    largest = max(units, default=0)
    return 4 * root + num_bytes * (pair + 2 * largest) + 4 * largest


def wire(
    sharing: Sharing, root: int, units: list[int], trained: Iterable[Any], **step: Any
) -> dict[str, int]:
    """Returns the bytes that a device sends in a step, by operation; gradients are summed in fp32.

    With ``fsdp`` a unit is gathered twice, for the forward pass and again for the backward pass. The last
    one, whose backward pass comes at once, and what lies outside all units are gathered once. Muon needs
    whole matrices: each goes to the device that owns it, and its update back to all that hold a part.

    Args:
        sharing: How the step is shared.
        root: Parameters outside all units.
        units: Parameters of each unit.
        trained: Parameters that are trained.
        step: ``accumulate``, the batches in a step; ``num_bytes``, bytes of a number in the precision of the
            computation; ``muon``, whether matrices are trained by Muon.
    """
    trained = list(trained)
    gradients = 4 * sum(p.numel() for p in trained)
    if sharing.devices == 1:
        return {}
    if not sharing.is_sharded:
        return {"all_reduce": sharing.all_reduce(gradients)}
    batches, again = step["accumulate"], 2 * sum(units) - sum(units[-1:])
    sent = {
        "all_gather": batches * sharing.all_gather(4 * root + step["num_bytes"] * again),
        "reduce_scatter": batches * sharing.reduce_scatter(gradients),
    }
    if step["muon"]:
        matrices = 4 * sum(p.numel() for p in trained if p.ndim > 1)
        sent["whole_matrices"] = 2 * sharing.all_gather(matrices) // sharing.devices
    return sent
