"""The Frechet distance of FID and FVD against the usual one, by the square root of a matrix."""

import argparse
import statistics
from collections.abc import Callable

import numpy as np
import scipy.linalg
import torch
from torch import Tensor

from lightning_mav.evaluation.metrics import frechet_distance, frechet_distance_of

from .report import Section, Table
from .timing import ratios, take_turns, with_spread

PACKAGES = ("scipy",)
TURNS = 3
# Name, dimensions and samples on either side: the project's own features, I3D's, Inception's.
SETS = (("micro_video", 64, 2048), ("i3d", 400, 2048), ("inception", 2048, 10000), ("inception", 2048, 256))
DECADES = 4  # over which the standard deviations of the features fall
TOLERANCE = 1e-6  # of the usual distance, that ours may differ by


def run(args: argparse.Namespace) -> Section:
    """Times both on the same random features."""
    header = ["features", "dimensions", "samples", "ours, ms", "scipy, ms", "times as fast", "difference"]
    table = Table(header, [])
    for name, dim, num in SETS:
        calls = pair(features(num, dim, 0), features(num, dim, 1))
        values = {kind: call() for kind, call in calls.items()}  # warms up, too
        difference = abs(values["ours"] / values["scipy"] - 1)
        if difference > TOLERANCE:
            raise AssertionError(f"{name}, {num} samples: ours differs by {difference:.1e}")
        times = take_turns(calls, args.turns, warmups=0, title=f"frechet: {dim} dimensions, {num} samples")
        faster = with_spread(ratios(times["scipy"], times["ours"]), 1)
        shown = [f"{1e3 * statistics.median(times[kind]):.1f}" for kind in ("ours", "scipy")]
        table.rows.append([name, str(dim), str(num), *shown, faster, f"{difference:.0e}"])
    return Section(
        "frechet",
        "Frechet distance",
        [
            "The time from means and covariances to the distance, in double precision. With fewer samples "
            "than dimensions ours starts from the features, and its time includes that. The usual way "
            "takes `scipy.linalg.sqrtm` of the product of the covariances. Random correlated features, with "
            f"standard deviations that fall over {DECADES} decades; {args.turns} turns, "
            f"{torch.get_num_threads()} thread(s). The difference is relative.",
        ],
        [table],
    )


def pair(real: Tensor, generated: Tensor) -> dict[str, Callable[[], float]]:
    """Returns both distances of the same two sets."""
    few = min(len(real), len(generated)) <= real.shape[1]
    moments = [(x.mean(dim=0), x.T.cov()) for x in (real, generated)]
    (mean_a, cov_a), (mean_b, cov_b) = ([x.numpy() for x in both] for both in moments)

    def ours() -> float:
        return frechet_distance_of(real, generated) if few else frechet_distance(*moments[0], *moments[1])

    def usual() -> float:
        root = scipy.linalg.sqrtm(cov_a @ cov_b)
        return float(np.square(mean_a - mean_b).sum() + np.trace(cov_a + cov_b - 2 * root.real))

    return {"ours": ours, "scipy": usual}


def features(num: int, dim: int, seed: int) -> Tensor:
    """Draws ``(num, dim)`` features; those of seeds 0 and 1 differ a little in distribution."""
    mixing = (
        torch.randn(dim, dim, generator=torch.Generator().manual_seed(dim), dtype=torch.double) / dim**0.5
    )
    x = torch.randn(num, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.double) @ mixing
    return x * torch.logspace(0, -DECADES, dim, dtype=torch.double) * (1 + seed / 10) + seed / 100
