"""Computes figures and their intervals from features."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...data.shards.writer import digest_of
from ...utils.errors import UsageError
from ...utils.numbers import seed_from
from ..intervals import bootstrap_interval
from ..report import Figure
from .cache import FeatureCache, Features
from .items import Protocol
from .measures import Measure
from .metrics import METRICS, Metric, variants
from .real import read_window
from .settings import ProtocolSettings
from .store import SampleStore

MAX_LEFT_OUT = 0.01  # largest share of the real videos that may be unusable
Progress = Callable[[str, int, int], None]


@dataclass
class Scores:
    """Results of a protocol.

    Args:
        figures: The figures with their intervals.
        by_sample: Scores of single samples by number, then by name.
        left_out: Why real videos were unusable, by path.
        incomparable: Why published numbers cannot be compared with a figure, by the figure's name.
        seconds: Time of each part.
    """

    figures: list[Figure] = field(default_factory=list)
    by_sample: dict[int, dict[str, float]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    incomparable: dict[str, list[str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def score(
    protocol: Protocol,
    measures: dict[str, Measure],
    store: SampleStore,
    real_files: Sequence[Path],
    *,
    folder: Path,
    real_root: Path,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> Scores:
    """Measures generated samples.

    Args:
        protocol: Protocol that they were generated for.
        measures: The measure of each metric.
        store: The samples.
        real_files: Real videos to compare them with, if any.
        folder: Receives the features of samples.
        real_root: Receives the features of real videos, for other runs as well.
        device: Where to compute.
        progress: Called as ``progress(part, done, total)``.
    """
    scores, settings = Scores(), protocol.settings
    height, width = store.read(store.numbers()[0]).shape[-2:]
    resolution = f"{width}x{height}"
    for key, measure in measures.items():
        metric, start = METRICS[key], time.perf_counter()
        measure.to(device)
        generated = _generated(key, measure, store, settings, folder, progress)
        num = len(generated.numbers)
        groups, facts = [generated.values.to(device)], measure.settings()
        facts |= {"resolution": resolution, "num_frames": settings.num_frames, "fps": settings.video_fps}
        if metric.sees != "prompt":  # it biases most of the others
            facts["num_samples"] = num
        if metric.needs_real:
            real = _real(key, protocol, measure, real_files, real_root, progress)
            scores.left_out |= {str(real_files[number]): why for number, why in real.left_out.items()}
            groups.insert(0, real.values.to(device))
            facts["real"] = _describe_real(real, real_files, settings.num_real)
        measure.cpu()
        scores.seconds[f"{metric.name} features"] = round(time.perf_counter() - start, 2)
        facts["num_resamples"] = settings.num_resamples
        for name, statistic, more in variants(metric, settings.num_splits):
            start, own = time.perf_counter(), facts | more
            value = statistic(*groups)
            low, high = bootstrap_interval(
                statistic, groups, settings.num_resamples, settings.seed, _part(progress, name)
            )
            scores.seconds[f"{name} interval"] = round(time.perf_counter() - start, 2)
            published = dict(protocol.published.get(name, {}))
            if published and (reasons := why_incomparable(metric, own, num, protocol)):
                scores.incomparable[name], published = reasons, {}
            scores.figures.append(Figure(name, value, low, high, num, metric.better, own, published))
        if metric.sees == "prompt":
            values = generated.values.flatten().tolist()
            for number, similarity in zip(generated.numbers, values, strict=True):
                scores.by_sample.setdefault(number, {})[metric.name] = similarity
    return scores


def _describe_real(real: Features, files: Sequence[Path], num_real: int | None) -> dict[str, Any]:
    """Describes the real videos: everything that figures depend on."""
    return {
        "num_videos": len(real.numbers),
        "left_out": len(real.left_out),
        "frames": "the middle square of each, in one window placed at random",
        "thinned": num_real is not None and len(files) >= num_real,
    }


def _generated(
    key: str,
    measure: Measure,
    store: SampleStore,
    settings: ProtocolSettings,
    folder: Path,
    progress: Progress | None,
) -> Features:
    cache = FeatureCache(folder, measure.name, {"samples": store.digest, **measure.settings()})
    how = {"batch_size": settings.batch_size, "num_workers": settings.num_workers}
    part = _part(progress, f"{METRICS[key].name}, samples")
    return cache.fill(store.numbers(), store.read, measure, **how, progress=part)


def _real(
    key: str,
    protocol: Protocol,
    measure: Measure,
    files: Sequence[Path],
    root: Path,
    progress: Progress | None,
) -> Features:
    settings = protocol.settings
    stats = [path.stat() for path in files]
    facts = [[path.name, stat.st_size, stat.st_mtime_ns] for path, stat in zip(files, stats, strict=True)]
    spec: dict[str, Any] = {"files": digest_of(facts), "num_files": len(files)}
    spec |= {"num_frames": settings.num_frames, "fps": settings.video_fps, **measure.settings()}

    def load(number: int) -> Tensor:
        # Not the seed of the run: with each new seed, all real videos would be decoded again.
        return read_window(files[number], settings.num_frames, settings.video_fps, seed_from(0, number))

    cache = FeatureCache(root, f"{protocol.name}-{measure.name}", spec)
    how = {"batch_size": settings.batch_size, "num_workers": settings.num_workers}
    part = _part(progress, f"{METRICS[key].name}, real videos")
    found = cache.fill(range(len(files)), load, measure, **how, progress=part)
    if len(found.left_out) > MAX_LEFT_OUT * len(files):
        number, reason = next(iter(found.left_out.items()))
        raise UsageError(
            f"{len(found.left_out)} of {len(files)} real videos cannot be used, such as {files[number]}"
            f" ({reason}); fetch them again, or choose others"
        )
    return found


def _part(progress: Progress | None, name: str) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    return lambda done, total: progress(name, done, total)


def why_incomparable(metric: Metric, facts: dict[str, Any], num: int, protocol: Protocol) -> list[str]:
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
