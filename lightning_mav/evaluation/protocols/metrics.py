"""The one table of metrics."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from ..metrics import frechet_distance_of, inception_score, kernel_distance


@dataclass(frozen=True)
class Metric:
    """How features become a figure.

    Args:
        name: Its name in publications.
        better: ``lower`` or ``higher``.
        network: Network behind the published numbers; figures by another cannot be compared.
        statistic: Maps features ``(N, K, D)``, real ones first where they are needed, to the number.
        sees: What the network sees: whole videos, a few frames of each, or each video with its prompt.
        needs_real: Whether samples are compared with real videos.
        sha256: Checksum of that network's weights, if its name alone does not determine them.
        num_splits: Number of splits of the samples that published numbers are averaged over, if any.
    """

    name: str
    better: str
    network: str
    statistic: Callable[..., float]
    sees: Literal["video", "frames", "prompt"] = "video"
    needs_real: bool = False
    sha256: str | None = None
    num_splits: int | None = None


# OpenAI's ViT-B-32.pt; others have published weights of the same network.
OPENAI_CLIP = "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"


def _of_all(statistic: Callable[..., float]) -> Callable[..., float]:
    """Flattens features ``(N, K, D)`` to ``(N * K, D)`` before it applies the statistic."""
    return lambda *groups, **kwargs: statistic(*(group.flatten(0, 1) for group in groups), **kwargs)


METRICS = {
    "fvd": Metric("FVD", "lower", "i3d", _of_all(frechet_distance_of), needs_real=True),
    "kvd": Metric("KVD", "lower", "i3d", _of_all(kernel_distance), needs_real=True),
    "is": Metric("IS", "higher", "c3d", _of_all(inception_score), num_splits=10),
    "fid": Metric("FID", "lower", "inception", _of_all(frechet_distance_of), sees="frames", needs_real=True),
    "clipsim": Metric(
        "CLIPSIM",
        "higher",
        "ViT-B-32-quickgelu",
        lambda similarity: float(similarity.double().mean()),
        sees="prompt",
        sha256=OPENAI_CLIP,
    ),
}


MetricVariant = tuple[str, Callable[..., float], dict[str, Any]]


def variants(metric: Metric, num_splits: int) -> list[MetricVariant]:
    """Returns the figures of a metric: name, statistic, and the settings that only this figure has.

    Args:
        metric: The metric.
        num_splits: Splits of the samples, for a metric that has them; beside it stands the one in one split.
    """
    if metric.num_splits is None:
        return [(metric.name, metric.statistic, {})]
    found: list[MetricVariant] = []
    for num in dict.fromkeys((num_splits, 1)):
        name = metric.name if num == num_splits else f"{metric.name} in one split"
        found.append((name, partial(metric.statistic, num_splits=num), {"num_splits": num}))
    return found
