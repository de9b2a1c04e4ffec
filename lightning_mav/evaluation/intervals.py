"""Confidence intervals of shares, means, differences and other statistics."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Z_95 = 1.959963984540054  # 95% of a standard normal distribution lies within +-Z_95


def wilson(right: Tensor) -> dict[str, float]:
    """Returns the share of True in ``(N,)`` with Wilson's 95% interval: ``value, low, high, n``."""
    n, count = right.numel(), int(right.sum())
    p, z = count / n, Z_95
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # A share of 0 or 1 is itself an end of its interval, which rounding would miss.
    low = 0.0 if count == 0 else centre - half
    high = 1.0 if count == n else centre + half
    return {"value": p, "low": low, "high": high, "n": n}


def bootstrap(
    statistic: Callable[[Tensor], Tensor], sample: Tensor, generator: torch.Generator, num: int = 1000
) -> tuple[float, float]:
    """Returns the 95% percentile interval of a statistic of ``(N, ...)``, by the bootstrap.

    Args:
        statistic: Maps resamples ``(num, N, ...)`` to ``(num,)``.
        sample: What was measured, ``(N, ...)``.
        generator: Source of randomness.
        num: Number of resamples, drawn with replacement.
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
    """Returns a 95% bootstrap interval: every group is resampled with replacement.

    Resamples repeat videos, which by itself raises a Frechet distance, so their percentiles would often lie
    above the value. Hence the resampled statistics are shifted so that their mean is the value.

    Args:
        statistic: Maps the groups to a number.
        groups: Tensors ``(N, ...)``; ``N`` may differ between groups.
        num: Number of resamples.
        seed: Seed of the resampling.
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
        ValueError: If there are fewer than two values, whose spread is unknown.
    """
    n = len(values)
    if n < 2:
        raise ValueError(f"an interval needs two values, got {n}")
    x = torch.tensor(values, dtype=torch.double)
    mean, half = x.mean().item(), student_95(n - 1) * x.std().item() / math.sqrt(n)
    return {"value": mean, "low": mean - half, "high": mean + half, "n": n}


def difference_interval(a: dict[str, float], b: dict[str, float], phi: float = 0.0) -> dict[str, float]:
    """Returns ``a - b`` with its 95% interval, from the intervals of both (Newcombe, 1998, methods 10, 11).

    The distances from the values to the ends of their intervals add up as standard deviations do. For shares
    with Wilson's intervals this is also valid near 0 and 1.

    Args:
        a: ``value, low, high`` of one.
        b: Those of the other.
        phi: Correlation of the two, from -1 to 1; 0 if they were measured on different items.
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
    """Returns the correlation of answers to the same questions, from -1 to 1 (Newcombe, 1998, method 10).

    A positive correlation is moved towards 0 by half an item (continuity correction). The correlation is 0
    if all of ``a``, or all of ``b``, are the same.
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
    """Returns the ``t`` for which 95% of Student's t distribution lies in [-t, t].

    For 1 and 2 degrees of freedom it uses the closed form; for more, an expansion in the normal deviate
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
