"""The one table of metrics, and when published numbers can be compared with them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from ..metrics import frechet_distance_of, inception_score, kernel_distance

if TYPE_CHECKING:
    from .items import Protocol


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


def why_incomparable(metric: Metric, facts: dict[str, Any], num: int, protocol: "Protocol") -> list[str]:
    """Returns why published numbers cannot be compared with a figure; empty if they can be.

    Args:
        metric: What was measured.
        facts: All that the figure depends on.
        num: Number of samples behind it.
        protocol: Protocol that it was measured for.
    """
    network, reasons = facts["network"], list[str]()
    if network["name"] != metric.network or metric.sha256 not in (None, network["sha256"]):
        reasons.append("with another network, or other weights, than published numbers")
    if facts["resolution"] != protocol.published_resolution:
        reasons.append(f"at {facts['resolution']} pixels, published ones at {protocol.published_resolution}")
    if protocol.published_num is not None and num < protocol.published_num:
        reasons.append(f"on {num:,} samples, published ones on {protocol.published_num:,}")
    if facts.get("num_splits") != metric.num_splits:
        reasons.append(f"in {facts['num_splits']} splits, published ones in {metric.num_splits}")
    if facts.get("real", {}).get("thinned"):
        reasons.append(f"against only {facts['real']['num_videos']:,} of the real videos")
    return reasons
