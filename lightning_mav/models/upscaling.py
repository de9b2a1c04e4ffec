"""Enlarges a video of any length and size by the super-resolution stages, while its frames are read."""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..diffusion import Progress, SampleOptions, fork_seed
from ..utils.numbers import MAX_FPS, MIN_FPS, check_number, check_whole
from ..utils.precision import autocast_context
from .base import part_of
from .sampling import Sampling
from .super_resolution import SRLT, SuperResolution
from .tiling import TILE, PlacedNoise, count_tiles, enlarge

MIN_TILE = 64


def upscale_frames(
    models: Mapping[str, SuperResolution],
    frames: Iterable[Tensor],
    fps: float,
    *,
    sampling: Sampling,
    num_frames: int | None = None,
    tile: int = TILE,
    precision: str | None = None,
) -> Iterator[Tensor]:
    """Enlarges frames by one stage after the other; each frame comes out as soon as it is finished.

    Stages over time work on overlapping windows of frames, as in ``SRLT.sample``; the others work on single
    frames. All work on overlapping tiles. So memory depends on the sizes of a frame and of a tile, not on
    the number of frames.

    Args:
        models: The stages by name, in order.
        frames: Frames ``(3, H, W)`` in [-1, 1], all of one size.
        fps: Their frame rate.
        sampling: How to sample.
        num_frames: Number of frames, for the progress; None if it is not known.
        tile: Side of a tile in pixels of the result, 64 or more.
        precision: As in ``autocast_context``.

    Yields:
        Frames ``(3, scale*H, scale*W)`` on the CPU, where ``scale`` is the product of the stages' scales.

    Raises:
        ValueError: If a number is out of its range.
    """
    check_whole("tile", tile, MIN_TILE)
    check_number("fps", fps, MIN_FPS, MAX_FPS)
    for name, model in models.items():
        options = sampling.arguments(name)
        noise = PlacedNoise(fork_seed(options.get("generator")))
        drawn = _Stage(model, fps, noise, tile, precision, options, num_frames)
        frames = drawn.windows(frames) if isinstance(model, SRLT) else drawn.one_by_one(frames)
    for frame in frames:
        yield frame.float()


def scale_of(models: Iterable[SuperResolution]) -> int:
    """Returns how many times as large the stages make a frame, in each direction."""
    return math.prod(model.scale for model in models)


@dataclass
class _Stage:
    """One stage at work on a stream of frames; arguments as for ``upscale_frames``."""

    model: SuperResolution
    fps: float
    noise: PlacedNoise
    tile: int
    precision: str | None
    options: SampleOptions
    num_frames: int | None

    def one_by_one(self, frames: Iterable[Tensor]) -> Iterator[Tensor]:
        """Enlarges each frame by itself, all from the same noise (Make-A-Video, section 3.2)."""
        for number, frame in enumerate(frames):
            yield self._enlarge(frame[:, None], range(1), number, self.num_frames)[:, 0]

    def windows(self, frames: Iterable[Tensor]) -> Iterator[Tensor]:
        """Enlarges windows of frames; each fades into the next. They overlap as in ``SRLT.sample``.

        The frames of a window are yielded only up to where the next window begins. The last window ends with
        the video. So up to a window of frames is read ahead.
        """
        assert isinstance(self.model, SRLT)
        source = iter(frames)
        low = [*itertools.islice(source, self.model.num_frames)]
        if not low:
            return
        step = len(low) - min(self.model.overlap, len(low) - 1)
        total = None if self.num_frames is None else 1 + max(0, -(-(self.num_frames - len(low)) // step))
        large, start = self._enlarge(torch.stack(low, dim=1), range(len(low)), 0, total), 0
        for number in itertools.count(1):
            more = [*itertools.islice(source, step)]
            yield from large[:, : len(more)].unbind(1) if more else large.unbind(1)
            if not more:
                return
            low, start, old = low[len(more) :] + more, start + len(more), large[:, len(more) :].clone()
            del large
            places = range(start, start + len(low))
            large = self._enlarge(torch.stack(low, dim=1), places, number, total)
            _fade(large, old)

    def _enlarge(self, low: Tensor, places: range, number: int, total: int | None) -> Tensor:
        num_tiles, whole = count_tiles(self.model, (low.shape[-2], low.shape[-1]), self.tile), self.options
        report = whole.get("progress")

        def progress(done: int) -> Progress | None:
            return None if total is None else part_of(report, number * num_tiles + done, total * num_tiles)

        options: SampleOptions = {**whole}
        with torch.inference_mode(), autocast_context(self._device, self.precision):
            return enlarge(
                self.model,
                low,
                self.fps,
                self.noise,
                places,
                tile=self.tile,
                options=options,
                progress=progress,
            )

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device


def _fade(large: Tensor, old: Tensor) -> None:
    """Makes the frames ``old`` fade into the first frames of ``large``, both ``(3, F, H, W)``."""
    shared = old.shape[1]
    with torch.inference_mode():
        for frame in range(shared):
            weight = (frame + 1) / (shared + 1)
            large[:, frame] = torch.lerp(old[:, frame].float(), large[:, frame].float(), weight)
