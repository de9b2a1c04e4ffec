"""How sure one can be of a share, and of what is computed from a sample."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

Z_95 = 1.959963984540054  # standard normal deviate that 95% lie within


def wilson(right: Tensor) -> dict[str, float]:
    """Returns the share of True in ``(N,)`` with Wilson's 95% interval: ``value, low, high, n``."""
    n, count = right.numel(), int(right.sum())
    p, z = count / n, Z_95
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # At 0 and at 1 the interval ends there, but for rounding.
    low = 0.0 if count == 0 else centre - half
    high = 1.0 if count == n else centre + half
    return {"value": p, "low": low, "high": high, "n": n}


def bootstrap(
    statistic: Callable[[Tensor], Tensor], sample: Tensor, generator: torch.Generator, num: int = 1000
) -> tuple[float, float]:
    """Returns the 95% percentile interval of a statistic of ``(N, ...)``, from ``num`` samples drawn of it.

    Args:
        statistic: Maps samples ``(num, N, ...)`` to ``(num,)``.
        sample: What was measured, ``(N, ...)``.
        generator: Source of randomness.
        num: Samples drawn, with replacement.
    """
    rows = torch.randint(len(sample), (num, len(sample)), generator=generator)
    low, high = statistic(sample[rows]).quantile(torch.tensor([0.025, 0.975], dtype=sample.dtype)).tolist()
    return low, high
