"""Draws samples of shards on a contact sheet: images, and strips of video frames."""

from collections import Counter
from collections.abc import Callable

import torch
from PIL import Image, ImageDraw, ImageFont

from ...utils.errors import reason_of
from ...utils.numbers import subsample
from ...utils.textfile import MARK
from ..codecs.decode import IMAGE_FORMATS, VIDEO_FORMATS, decode_image, decode_video
from ..codecs.pixels import spread
from .reader import Sample, Shards

STRIP = 8  # frames of a video
CELL, LINE = 160, 18  # pixels

Cell = tuple[Image.Image, str]


def plot_samples(shards: Shards, num: int, problems: Counter[str]) -> Image.Image | None:
    """Draws evenly spaced samples; returns None if none of them decodes.

    Args:
        shards: What to draw.
        num: Samples to draw.
        problems: Receives the counts of reasons why samples are not drawn.
    """

    def cells(sample: Sample, number: int) -> list[Cell]:
        _, index, place = shards.place(number)
        return cells_of(sample, index.keys[place])

    def skip(number: int, error: Exception) -> None:
        problems[reason_of(error)] += 1

    rows = list(shards.make_each(cells, subsample(range(len(shards)), num), skip))
    return sheet(rows) if rows else None


def cells_of(sample: Sample, name: str) -> list[Cell]:
    """Decodes a sample for a contact sheet: an image and its caption, or evenly spaced frames of a video.

    Raises:
        ValueError: If it does not decode.
    """
    for suffix in IMAGE_FORMATS:
        if suffix in sample:
            pixels = decode_image(sample[suffix], suffix, None)
            caption = sample.get("txt", b"").decode("utf-8", "replace").lstrip(MARK).strip()
            return [(_thumbnail(pixels), caption or name)]
    for suffix in VIDEO_FORMATS:
        if suffix in sample:
            return _strip(sample[suffix], suffix, name)
    raise ValueError("no image or video")


def sheet(rows: list[list[Cell]]) -> Image.Image:
    """Draws images, up to eight per line, each with its text below; rows share a line if they fit."""
    lines: list[list[Cell]] = []
    for row in rows:
        if lines and len(lines[-1]) + len(row) <= STRIP:
            lines[-1].extend(row)
        else:
            lines.append(list(row))
    heights = [max(picture.height for picture, _ in line) + LINE + 4 for line in lines]
    image = Image.new("RGB", (STRIP * CELL, sum(heights)), "white")
    draw, font, top = ImageDraw.Draw(image), ImageFont.load_default(12), 0
    for line, height in zip(lines, heights, strict=True):
        for x, (picture, label) in enumerate(line):
            left, base = x * CELL, top + height - LINE - 4
            image.paste(picture, (left + (CELL - picture.width) // 2, base - picture.height))
            text = _shortened(label, CELL - 8, font.getlength)
            draw.text((left + 4, base), text, fill="black", font=font)
        top += height
    return image


def _strip(data: bytes, suffix: str, name: str) -> list[Cell]:
    def choose(times: torch.Tensor) -> torch.Tensor:
        return spread(len(times), min(STRIP, len(times)))

    frames, times = decode_video(data, suffix, None, choose)
    labels = [name, *(f"{time:.2f} s" for time in times.tolist()[1:])]
    return [(_thumbnail(frame), label) for frame, label in zip(frames, labels, strict=True)]


def _thumbnail(pixels: torch.Tensor) -> Image.Image:
    image = Image.fromarray(pixels.movedim(0, -1).contiguous().numpy())
    image.thumbnail((CELL - 4, CELL - 4))
    return image


def _shortened(text: str, width: int, measure: Callable[[str], float]) -> str:
    text = " ".join(text.split())
    if measure(text) <= width:
        return text
    while text and measure(text + "...") > width:
        text = text[:-1]
    return text + "..."
