"""Super-resolution of frames of any size in bounded memory: overlapping tiles, and noise fixed by place."""

import functools
import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..diffusion import SampleOptions
from ..utils.numbers import seed_from
from .super_resolution import SuperResolution

TILE = 384  # pixels of the result: side of a tile
OVERLAP = 16  # pixels of the input that neighbouring tiles share, or more
BLOCK = 64  # noise is drawn in square blocks: pixels of a side
EVEN = 8  # sides of tiles are multiples of this many pixels of the input, as networks halve them


@dataclass(frozen=True)
class PlacedNoise:
    """Normal noise without borders, in space and time.

    The noise of a pixel depends only on its place, the draw and the seed. So tiles and windows have the same
    noise where they overlap, and the noise need not be kept.

    Args:
        seed: Seed of all the noise.
    """

    seed: int

    def __call__(
        self, draw: int, frames: Iterable[int], rows: range, columns: range, channels: int = 3
    ) -> Tensor:
        """Returns the noise of some frames, rows and columns, ``(1, channels, F, H, W)``."""
        top, left = rows.start // BLOCK, columns.start // BLOCK
        down, right = (range(a, -(-b.stop // BLOCK)) for a, b in ((top, rows), (left, columns)))
        pictures = []
        for frame in frames:
            strips = [
                torch.cat([self._block(draw, frame, y, x, channels) for x in right], dim=-1) for y in down
            ]
            pictures.append(torch.cat(strips, dim=-2))
        noise, y, x = (
            torch.stack(pictures, dim=1)[None],
            rows.start - top * BLOCK,
            columns.start - left * BLOCK,
        )
        return noise[..., y : y + len(rows), x : x + len(columns)]

    def _block(self, draw: int, frame: int, y: int, x: int, channels: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed_from(self.seed, draw, frame, y, x))
        return torch.randn(channels, BLOCK, BLOCK, generator=generator)


def spans(total: int, tile: int, overlap: int = OVERLAP) -> list[range]:
    """Covers ``total`` pixels with as few pieces as possible, of the same length, about ``tile`` at most.

    Args:
        total: Pixels of a side.
        tile: Largest length of a piece, before it is rounded up to a multiple of ``EVEN``.
        overlap: Least pixels that neighbouring pieces share; at most half of ``tile`` is used.
    """
    overlap = min(overlap, tile // 2)
    count = max(1, math.ceil((total - overlap) / (tile - overlap)))
    length = math.ceil((total + (count - 1) * overlap) / count)
    length = min(total, math.ceil(length / EVEN) * EVEN)
    starts = [round(i * (total - length) / max(1, count - 1)) for i in range(count)]
    return [range(start, start + length) for start in starts]


def low_tile(model: SuperResolution, tile: int) -> int:
    """Returns the side of a tile of the input whose result has ``tile`` pixels."""
    return max(EVEN, tile // model.scale)


def count_tiles(model: SuperResolution, size: tuple[int, int], tile: int = TILE) -> int:
    """Returns in how many tiles the stage makes frames of a height and width."""
    return math.prod(len(spans(side, low_tile(model, tile))) for side in size)


def enlarge(
    model: SuperResolution,
    low: Tensor,
    fps: float,
    noise: PlacedNoise,
    places: range,
    *,
    tile: int = TILE,
    options: SampleOptions,
    progress: Callable[[int], Callable[[int, int], None] | None] = lambda number: None,
) -> Tensor:
    """Enlarges some frames tile by tile; neighbouring tiles fade into each other.

    Args:
        model: The stage.
        low: Small frames ``(3, F, H, W)`` in [-1, 1].
        fps: Their frame rate.
        noise: The source of all noise.
        places: Numbers of the frames in time, for their noise; a single one gives all frames the same noise.
        tile: Side of a tile, in pixels of the result.
        options: See ``SampleOptions``.
        progress: Called with the number of a tile; returns the function that is told of the tile's steps.

    Returns:
        ``(3, F, scale*H, scale*W)`` in half precision; its rounding is a sixteenth of one of 256 levels.
    """
    height, width = model.enlarged(low)
    rows, columns = (spans(side, low_tile(model, tile)) for side in low.shape[-2:])
    out = low.new_empty(*low.shape[:2], height, width, dtype=torch.half)
    number, below = itertools.count(), 0
    for row in rows:
        strip = out.new_empty(*low.shape[:2], len(row) * model.scale, width)
        right = 0
        for column in columns:
            part = low[..., row.start : row.stop, column.start : column.stop]
            options["progress"] = progress(next(number))
            large = _draw(
                model, part, fps, noise, places, _scaled(row, model), _scaled(column, model), options
            )
            right = fade_in(strip, large, _scaled(column, model), right, dim=-1)
        below = fade_in(out, strip, _scaled(row, model), below, dim=-2)
    return out


def fade_in(place: Tensor, part: Tensor, span: range, done: int, dim: int) -> int:
    """Writes ``part`` to ``span`` along ``dim``, and fades it in where ``place`` is filled already.

    ``place`` is filled up to ``done``. The fade takes the middle half of the overlap, as a tile sees too
    little around it near its edge.

    Returns:
        Up to where ``place`` is filled now.
    """
    shared = max(0, done - span.start)
    if shared:
        weight = ((torch.arange(shared) + 0.5) / shared * 2 - 0.5).clamp(0, 1)
        weight = weight.view(-1, *[1] * (-dim - 1)).to(part.device)
        old = place.narrow(dim, span.start, shared)
        old.copy_(torch.lerp(old.float(), part.narrow(dim, 0, shared).float(), weight))
    rest = len(span) - shared
    place.narrow(dim, span.start + shared, rest).copy_(part.narrow(dim, shared, rest))
    return span.stop


def _scaled(span: range, model: SuperResolution) -> range:
    return range(span.start * model.scale, span.stop * model.scale)


def _draw(
    model: SuperResolution,
    low: Tensor,
    fps: float,
    noise: PlacedNoise,
    places: range,
    rows: range,
    columns: range,
    options: SampleOptions,
) -> Tensor:
    """Draws one tile; the noises of its start, of its condition and of its steps are draws 0, 1, 2, ..."""
    device = next(model.parameters()).device
    here = functools.partial(noise, frames=places, rows=rows, columns=columns)
    options["step_noise"] = lambda draw, shape: here(2 + draw, channels=shape[1])
    low, rate = low[None].to(device, torch.float), torch.full((1,), float(fps), device=device)
    large = model.denoise_frames(low, rate, here(0).to(device), here(1).to(device), options)
    return large[0].to("cpu", torch.half)
