"""How sure one can be of a share, and of what is computed from a sample."""

import math
from collections.abc import Callable, Sequence

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


def bootstrap_interval(
    statistic: Callable[..., float],
    groups: Sequence[Tensor],
    num: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[float, float]:
    """Returns a 95% bootstrap interval: videos are drawn again, with replacement, from every group.

    Drawing again repeats videos, which by itself raises a Frechet distance: the percentiles are those of the
    draws less the mean of the draws, about the value. Without that the interval would often lie above it.

    Args:
        statistic: Maps the groups to a number.
        groups: Tensors ``(N, ...)``, each of a length of its own.
        num: Draws.
        seed: Seed of the draws.
        progress: Called as ``progress(done, num)``.
    """
    generator = torch.Generator().manual_seed(seed)
    draws = torch.empty(num, dtype=torch.double)
    for i in range(num):
        rows = [torch.randint(len(group), (len(group),), generator=generator) for group in groups]
        draws[i] = statistic(*(group[row.to(group.device)] for group, row in zip(groups, rows, strict=True)))
        if progress is not None:
            progress(i + 1, num)
    spread = draws - draws.mean()
    low, high = spread.quantile(torch.tensor([0.025, 0.975], dtype=torch.double)).tolist()
    value = statistic(*groups)
    return value + low, value + high


def mean_interval(values: list[float]) -> dict[str, float]:
    """Returns the mean of independent values with Student's 95% interval: ``value, low, high, n``.

    Raises:
        ValueError: If there are fewer than two values, which say nothing of how far values lie apart.
    """
    n = len(values)
    if n < 2:
        raise ValueError(f"an interval needs two values, got {n}")
    x = torch.tensor(values, dtype=torch.double)
    mean, half = x.mean().item(), student_95(n - 1) * x.std().item() / math.sqrt(n)
    return {"value": mean, "low": mean - half, "high": mean + half, "n": n}


def difference_interval(a: dict[str, float], b: dict[str, float], phi: float = 0.0) -> dict[str, float]:
    """Returns ``a - b`` with its 95% interval, from the intervals of both (Newcombe, 1998, methods 10, 11).

    The distances from value to ends are squared and added, as variances are. For shares with Wilson's
    intervals this holds near 0 and 1, too.

    Args:
        a: ``value, low, high`` of one.
        b: Those of the other.
        phi: How the two go together, from -1 to 1; 0 for different items.
    """
    below = {"a": a["value"] - a["low"], "b": b["high"] - b["value"]}
    above = {"a": a["high"] - a["value"], "b": b["value"] - b["low"]}
    down, up = (
        math.sqrt(max(0.0, side["a"] ** 2 - 2 * phi * side["a"] * side["b"] + side["b"] ** 2))
        for side in (below, above)
    )
    value = a["value"] - b["value"]
    return {"value": value, "low": value - down, "high": value + up}


def agreement(a: list[bool], b: list[bool]) -> float:
    """Returns how two answers to the same questions go together, from -1 to 1 (Newcombe, 1998, method 10).

    It is the correlation of the two, drawn towards 0 by half an item where it is positive; 0 where one of
    them is always the same.
    """
    n, both = len(a), sum(x and y for x, y in zip(a, b, strict=True))
    right_a, right_b = sum(a), sum(b)
    scale = right_a * (n - right_a) * right_b * (n - right_b)
    if not scale:
        return 0.0
    neither = n - right_a - right_b + both
    product = float(both * neither - (right_a - both) * (right_b - both))
    if product > 0:
        product = max(product - n / 2, 0.0)
    return product / math.sqrt(scale)


def student_95(degrees: int) -> float:
    """Returns what 95% of Student's t distribution lie within.

    For 1 and 2 degrees of freedom it is known in closed form; for more by the expansion in the normal deviate
    (Abramowitz and Stegun, 26.7.5), which is less than 1% too small.
    """
    if degrees == 1:
        return math.tan(0.95 * math.pi / 2)
    if degrees == 2:
        return 0.95 * math.sqrt(2 / (1 - 0.95**2))
    z = Z_95
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / degrees**power for power, term in enumerate(terms, start=1))
