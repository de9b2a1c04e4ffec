"""Writes videos for viewing: mp4, GIF and contact sheets from ``(3, F, H, W)`` in [-1, 1]."""

import textwrap
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .codecs.mp4 import Mp4Writer
from .codecs.pixels import spread, to_frames

# Viewers slow down a GIF whose frames last less than 2/100 s.
MAX_GIF_FPS = 50
MAX_GIF_SIDE = 384  # pixels
CLEAR = 255  # number of the colour of transparent pixels; others are 0 to 254


def write_mp4(path: str | Path, video: Tensor, fps: float, *, crf: int = 12) -> None:
    """Writes H.264 in yuv420p, which every browser and player shows.

    That format needs even sizes: an odd video repeats its last row or column.

    Args:
        path: File to write.
        video: ``(3, F, H, W)`` in [-1, 1].
        fps: Frames per second.
        crf: Quality of libx264, from 0 (lossless) to 51; 18 already looks lossless.

    Examples:
        >>> import torch
        >>> write_mp4("grey.mp4", torch.zeros(3, 12, 32, 48), fps=6)
        >>> from lightning_mav.data.codecs.film import look_through
        >>> film = look_through(Path("grey.mp4"))
        >>> len(film), film.rate
        (12, Fraction(6, 1))
    """
    with Mp4Writer(path, Fraction(fps).limit_denominator(1001), crf=crf) as writer:
        for frame in to_frames(video).numpy():
            writer.write(frame)


def write_gif(
    path: str | Path, video: Tensor, fps: float, *, alpha: Tensor | None = None, max_side: int = MAX_GIF_SIDE
) -> None:
    """Writes an endless GIF with one palette for all frames.

    GIF counts time in 1/100 s, so frame durations alternate by one unit, such that the GIF lasts as long as
    the video. Above 50 frames per second, only every n-th frame is kept.

    Args:
        path: File to write.
        video: ``(3, F, H, W)`` in [-1, 1].
        fps: Frames per second of ``video``.
        alpha: Opacity ``(F, H, W)`` in [0, 1]; pixels are transparent where it is less than a half.
        max_side: Maximal longer side of the GIF in pixels; larger videos are scaled down.
    """
    num_frames, (height, width) = video.shape[1], video.shape[-2:]
    if max(height, width) > max_side:
        size = [max(1, round(side * max_side / max(height, width))) for side in (height, width)]
        video = F.interpolate(video[None], (num_frames, *size), mode="area")[0]
        if alpha is not None:
            alpha = F.interpolate(alpha[None, None], (num_frames, *size), mode="area")[0, 0]
    stride = ceil(fps / MAX_GIF_FPS)
    starts = [*range(0, num_frames, stride), num_frames]
    ends = [round(100 * start / fps) for start in starts]
    durations = [10 * max(2, end - start) for start, end in pairwise(ends)]
    frames = [Image.fromarray(frame) for frame in to_frames(video[:, ::stride]).numpy()]
    palette = _shared_palette(frames)
    # Dithering would make flat areas flicker and the file several times as large.
    frames = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    options: dict[str, Any] = {"duration": durations, "loop": 0}
    if alpha is not None:
        for frame, opaque in zip(frames, alpha[::stride], strict=True):
            frame.paste(CLEAR, mask=Image.fromarray((opaque < 0.5).cpu().numpy()))
        options |= {"transparency": CLEAR, "disposal": 2}  # each frame starts from nothing
    frames[0].save(path, format="GIF", save_all=True, append_images=frames[1:], **options)


def contact_sheet(
    video: Tensor,
    *,
    fps: float | None = None,
    title: str = "",
    num_frames: int = 16,
    columns: int = 8,
    width: int = 1536,
    numbers: Sequence[int] | None = None,
) -> Image.Image:
    """Draws evenly spaced frames in a grid, each with its number and time.

    Args:
        video: ``(3, F, H, W)`` in [-1, 1].
        fps: Frames per second; None leaves the times out.
        title: Text above the grid, wrapped to its width.
        num_frames: Maximal number of frames shown; the first and the last are among them.
        columns: Frames per row.
        width: Width of the sheet in pixels.
        numbers: Numbers of the frames, if ``video`` holds only those that are to be shown.
    """
    if numbers is None:
        numbers = chosen_frames(video.shape[1], num_frames)
        video = video[:, numbers]
    count = len(numbers)
    cell = width // columns
    cell_height = max(1, round(cell * video.shape[-2] / video.shape[-1]))
    # Small frames are enlarged without smoothing, so that one sees the pixels that the stage made.
    method = Image.Resampling.NEAREST if video.shape[-1] <= cell else Image.Resampling.BOX
    font, line = ImageFont.load_default(13), 20
    lines = textwrap.wrap(title, max(1, width // 9))[:4]
    top = len(lines) * line + (8 if lines else 0)
    size = (width, top + ceil(count / columns) * (cell_height + line))
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for i, text in enumerate(lines):
        draw.text((4, 4 + i * line), text, fill="black", font=ImageFont.load_default(15))
    for i, (index, frame) in enumerate(zip(numbers, to_frames(video).numpy(), strict=True)):
        x, y = i % columns * cell, top + i // columns * (cell_height + line)
        size = (cell - 2, max(1, cell_height - 2))
        sheet.paste(Image.fromarray(frame).resize(size, method), (x + 1, y + 1))
        label = f"{index}" if fps is None else f"{index}  {index / fps:.2f} s"
        draw.text((x + 4, y + cell_height), label, fill="black", font=font)
    return sheet


def chosen_frames(total: int, num_frames: int = 16) -> list[int]:
    """Returns the numbers of evenly spaced frames; the first and the last are among them."""
    return spread(total, min(num_frames, total)).tolist()


def stack_sheets(sheets: Sequence[Image.Image]) -> Image.Image:
    """Puts contact sheets below each other."""
    stack = Image.new("RGB", (max(s.width for s in sheets), sum(s.height for s in sheets)), "white")
    y = 0
    for sheet in sheets:
        stack.paste(sheet, (0, y))
        y += sheet.height
    return stack


def _shared_palette(frames: Sequence[Image.Image]) -> Image.Image:
    """Chooses 255 colours for all frames, from at most 16 of them; GIF keeps one for unchanged pixels."""
    chosen = frames[:: ceil(len(frames) / 16)]
    return stack_sheets(chosen).quantize(255, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
