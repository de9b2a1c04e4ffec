"""Does the requested frame rate set how much changes from one frame to the next?

Motion takes the same time at any frame rate, so speed per frame is inversely proportional to the rate:
log(speed) against log(1 / fps) is a line of slope 1. A decoder that ignores the frame rate has a slope of 0.

The speed of a class is the mean over its clips of their mean step. On average it does not depend on how much
of a cycle of motion a clip shows, so short and long clips can be compared. At low rates some motion is lost,
because objects turn back between two frames: the share of a cycle between frames, a tenth for balls at 6 fps.
Hence the slope of true clips from 6 to 24 fps is .94 for balls, .96 for squares and crosses and within .02 of
1 for the rest. Lower rates lose more, and below 2.1 fps the tips of a fast star cannot be told apart.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...worlds.micro.detectors import is_clear, track_videos
from ...worlds.micro.motion import wrap
from ...worlds.micro.world import SHAPES, render_videos
from ..intervals import bootstrap
from .prompts import NUM_CLASSES, Prompts
from .sampling import CascadeSampler

SOURCES = ("truth", "decoder", "untrained")
AT_REST = 1e-3  # speed per frame, a hundredth of a pixel at 16 px; below it no slope is computed
MIN_CLIPS = 5  # with fewer, resamples are too much alike for an interval


def speeds(video: Tensor, shape: Tensor) -> Tensor:
    """Returns the mean step from frame to frame of ``(N, 3, F, S, S)``; NaN where no single object is clear.

    Args:
        video: In [-1, 1].
        shape: Index into ``SHAPES`` of the shape asked for, ``(N,)``. A step of a star is the angle it turns
            by in radians, that of a ring the change of the square root of its area, that of other shapes the
            distance their centroid moves; the frame is 2 wide.
    """
    frames = track_videos(video)
    way = frames.centroid.diff(dim=1).norm(dim=-1)
    turn = wrap(frames.phase.angle().diff(dim=1)).abs() / 5
    growth = frames.area.sqrt().diff(dim=1).abs()
    is_star, is_ring = ((shape == SHAPES.index(name))[:, None] for name in ("star", "ring"))
    step = torch.where(is_star, turn, torch.where(is_ring, growth, way)).double()
    both = frames.clear[:, 1:] & frames.clear[:, :-1]
    mean = (step * both).sum(dim=1) / both.sum(dim=1)
    return mean.where(is_clear(frames), torch.nan)


def log_slope(speed: Tensor, rates: Sequence[float]) -> Tensor:
    """Returns the least-squares slope ``(...)`` of log(speed), ``(..., R)``, against log(1 / fps)."""
    x = -torch.tensor(rates, dtype=speed.dtype).log()
    x = x - x.mean()
    return (speed.clamp(min=AT_REST).log() * x).sum(dim=-1) / x.square().sum()


def response(speed: Tensor, rates: Sequence[float], generator: torch.Generator) -> dict[str, Any]:
    """Describes how speed follows the frame rate.

    Args:
        speed: Speeds of ``N`` clips at ``R`` rates, ``(N, R)``. Clips not clear at every rate do not count.
        rates: Frame rates, ``R``.
        generator: Source of the bootstrap's randomness.

    Returns:
        Mean ``speed`` at each rate, ``slope`` with ``low`` and ``high``, and ``n``. Without clips, speeds and
        slope are None. The slope is also None at rest, and its interval with fewer than 5 clips.
    """
    speed = speed[speed.isfinite().all(dim=1)]
    found: dict[str, Any] = {"speed": [None] * len(rates), "slope": None, "low": None, "high": None}
    if len(speed):
        mean = speed.mean(dim=0)
        found["speed"] = mean.tolist()
        if mean.min() > AT_REST:
            found["slope"] = log_slope(mean, rates).item()
        if mean.min() > AT_REST and len(speed) >= MIN_CLIPS:
            found["low"], found["high"] = bootstrap(
                lambda samples: log_slope(samples.mean(dim=1), rates), speed, generator
            )
    return {**found, "n": len(speed)}


def responses(
    videos: Mapping[float, Tensor], appearances: Tensor, generator: torch.Generator
) -> dict[str, dict[str, Any]]:
    """Returns the ``response`` of each shape, given the ``N`` videos sampled at each frame rate."""
    shape, rates = appearances[:, 0], list(videos)
    speed = torch.stack([speeds(video, shape) for video in videos.values()], dim=1)
    return {name: response(speed[shape == i], rates, generator) for i, name in enumerate(SHAPES)}


def fps_response(
    sampler: CascadeSampler,
    prompts: Prompts,
    image_embed: Tensor,
    video: Tensor,
    untrained: Mapping[float, Tensor],
) -> dict[str, Any]:
    """Compares speeds in true clips, the decoder's clips and those of the untrained decoder.

    Args:
        sampler: Samples at the other frame rates.
        prompts: The prompts.
        image_embed: Image embedding sampled for each prompt.
        video: Key frames at ``settings.fps``.
        untrained: Key frames of the inflated, untrained decoder at each rate.
    """
    settings, (num_frames, size) = sampler.settings, video.shape[2:4]
    asked = prompts.appearances[: NUM_CLASSES * settings.num_speed_per_class]
    drawn = {settings.fps: video[: len(asked)]}
    drawn |= {rate: sampler.key_frames(image_embed[: len(asked)], rate) for rate in settings.speed_fps}
    rendered = prompts.first(settings.num_speed_renders).appearances
    # The generator restarts at each rate, which gives the same scenes at every rate.
    truth = {
        rate: render_videos(rendered, rate, num_frames, size, sampler.generator("speed"))
        for rate in settings.rates
    }
    few = prompts.appearances[: len(untrained[settings.fps])]
    sources = dict(zip(SOURCES, ((truth, rendered), (drawn, asked), (untrained, few)), strict=True))
    generator = sampler.generator("bootstrap")
    return {
        "fps": settings.rates,
        **{name: responses(*source, generator) for name, source in sources.items()},
    }
