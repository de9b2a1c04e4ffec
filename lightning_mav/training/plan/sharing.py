"""What each of N devices holds and sends when they share a step: formulas, no measurement."""

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
        num_replicas: Groups of devices that each hold all parts, with ``fsdp``.
    """

    devices: int = 1
    strategy: str = "ddp"
    num_replicas: int = 1

    @property
    def is_sharded(self) -> bool:
        """Whether the weights and the optimizer states are divided."""
        return self.strategy == "fsdp"

    @property
    def parts(self) -> int:
        """Number of parts into which the weights and the optimizer states are divided."""
        return self.devices // self.num_replicas if self.is_sharded else 1

    @property
    def share(self) -> float:
        """Share of the weights and the optimizer states that a device holds, apart from rounding up."""
        return 1 / self.parts

    def held(self, tensors: Iterable[Tensor]) -> int:
        """Returns how many bytes of these tensors the first device holds, which holds the most.

        FSDP2 divides a tensor by its first dimension, rounded up.
        """
        return sum(
            self.rows(tensor) * math.prod(tensor.shape[1:]) * tensor.element_size()
            if tensor.ndim
            else tensor.element_size()
            for tensor in tensors
        )

    def rows(self, tensor: Tensor) -> int:
        """Returns the rows of a tensor that the first device holds."""
        return math.ceil(len(tensor) / self.parts)


def ring(num: int, size: int) -> int:
    """Returns the bytes that each of ``num`` devices sends in a ring, to gather or to scatter ``size``.

    These are (N - 1) / N of it; an all-reduce does both.
    """
    return size * (num - 1) // num


def unit_sizes(module: nn.Module) -> tuple[int, list[int]]:
    """Counts parameters: those outside all units, and those of each unit, in order."""
    sizes = [sum(p.numel() for p in unit.parameters()) for unit in find_units(module)]
    return sum(p.numel() for p in module.parameters()) - sum(sizes), sizes


def gathered(root: int, units: list[int], num_bytes: int) -> int:
    """Returns the most bytes that FSDP gathers at one time.

    In fp32 these are the parameters outside all units, and the gradient of one unit before it is summed. In
    the precision of the computation they are one unit, the next unit, which is fetched meanwhile, the buffer
    that receives it, and the gradient of one unit.

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

    With ``fsdp`` a unit is gathered twice: for the forward pass and again for the backward pass. The last
    unit is gathered once, because its backward pass follows at once. Parameters outside all units are
    gathered once, too. With several groups, each device then adds up its part of the gradients with those of
    the other groups. Muon needs whole matrices: each is sent to the device that owns it, which sends the
    update back to all devices that hold a part.

    Args:
        sharing: How the devices share a step.
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
        return {"all_reduce": 2 * ring(sharing.devices, gradients)}
    batches, again = step["accumulate"], 2 * sum(units) - sum(units[-1:])
    sent = {
        "all_gather": batches * ring(sharing.parts, 4 * root + step["num_bytes"] * again),
        "reduce_scatter": batches * ring(sharing.parts, gradients),
    }
    if sharing.num_replicas > 1:
        sent["all_reduce"] = batches * 2 * ring(sharing.num_replicas, gradients // sharing.parts)
    if step["muon"]:
        matrices = 4 * sum(p.numel() for p in trained if p.ndim > 1)
        sent["whole_matrices"] = 2 * ring(sharing.parts, matrices) // sharing.parts
    return sent
