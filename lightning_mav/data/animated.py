"""Writes animations with a transparent ground: WebP, animated PNG, single frames, and sprite sheets."""

import json
from collections.abc import Sequence
from itertools import pairwise
from math import ceil, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from ..utils.paths import replacing
from ..utils.textfile import write_text
from .codecs.pixels import to_frames

FRAME_DIGITS = 4  # of the names of frames, or more if there are more frames
MIN_MS = 11  # of a frame in WebP and APNG: browsers show one of at most 10 ms for 100 ms
MAX_SHEET = 16384  # pixels of a side of a sprite sheet: the largest texture of today's graphics cards


def to_pictures(video: Tensor, alpha: Tensor | None = None) -> list[Image.Image]:
    """Turns a video into pictures, RGB or with ``alpha`` RGBA.

    Args:
        video: ``(3, F, H, W)`` in [-1, 1].
        alpha: Opacity ``(F, H, W)`` in [0, 1].

    Raises:
        ValueError: If a shape is another.
    """
    frames = to_frames(video).numpy()
    if alpha is not None:
        if alpha.shape != video.shape[1:]:
            raise ValueError(f"alpha must be {tuple(video.shape[1:])}, got {tuple(alpha.shape)}")
        opaque = (alpha.detach().cpu().float() * 255).round().clamp(0, 255).byte().numpy()
        frames = np.concatenate([frames, opaque[..., None]], axis=-1)
    return [Image.fromarray(np.ascontiguousarray(frame)) for frame in frames]


def durations(num_frames: int, fps: float, stride: int = 1, *, shortest: int = 1) -> list[int]:
    """Returns how long each frame is shown, in milliseconds, so that they last as long as the video.

    Args:
        num_frames: Number of frames of the video.
        fps: Their rate.
        stride: Only every ``stride``-th frame is shown, for the time of those left out, too.
        shortest: The least duration.
    """
    ends = [round(1000 * index / fps) for index in (*range(0, num_frames, stride), num_frames)]
    return [max(shortest, end - start) for start, end in pairwise(ends)]


def write_webp(
    path: str | Path, video: Tensor, fps: float, *, alpha: Tensor | None = None, quality: int = 90
) -> None:
    """Writes an endless animated WebP. Above 90 frames per second, only every n-th frame is kept.

    Args:
        path: File to write.
        video: ``(3, F, H, W)`` in [-1, 1].
        fps: Frames per second.
        alpha: Opacity ``(F, H, W)`` in [0, 1]; it is stored exactly.
        quality: 0 to 100; 100 is lossless.
    """
    quality_of = {"lossless": True} if quality == 100 else {"quality": quality, "method": 4}
    _save(path, "WEBP", video, fps, alpha, quality_of)


def write_apng(path: str | Path, video: Tensor, fps: float, *, alpha: Tensor | None = None) -> None:
    """Writes an endless animated PNG, which is lossless; for the arguments see ``write_webp``."""
    _save(path, "PNG", video, fps, alpha, {})


def _save(
    path: str | Path, kind: str, video: Tensor, fps: float, alpha: Tensor | None, options: dict[str, Any]
) -> None:
    """Lets Pillow write an animation; it joins frames that are alike, and shows them longer."""
    stride = ceil(fps * MIN_MS / 1000)
    times = durations(video.shape[1], fps, stride, shortest=MIN_MS)
    first, *others = to_pictures(video[:, ::stride], None if alpha is None else alpha[::stride])
    first.save(path, kind, save_all=True, append_images=others, duration=times, loop=0, **options)


def write_frames(folder: str | Path, video: Tensor, *, alpha: Tensor | None = None) -> list[Path]:
    """Writes each frame as a PNG file into a folder: ``0000.png`` and so on; returns their paths.

    The later frames of an earlier, longer video in that folder are removed.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    pictures, removed = to_pictures(video, alpha), 0
    digits = max(FRAME_DIGITS, len(str(len(pictures) - 1)))
    paths = [folder / f"{index:0{digits}d}.png" for index in range(len(pictures))]
    for picture, path in zip(pictures, paths, strict=True):
        picture.save(path, "PNG")
    while (left := folder / f"{len(pictures) + removed:0{digits}d}.png").exists():
        left.unlink()
        removed += 1
    return paths


def write_sprites(
    path: str | Path, video: Tensor, fps: float, *, alpha: Tensor | None = None, name: str | None = None
) -> None:
    """Writes a sprite sheet, all frames in one PNG, and beside it the JSON that tells where they are.

    The JSON is Aseprite's, with a list of frames: Phaser reads it (``load.aseprite`` and ``load.atlas``), and
    so do the usual importers of Godot and Unity. All frames have the size of the video.

    Args:
        path: The JSON file; the sheet is the PNG file of the same name.
        video: ``(3, F, H, W)`` in [-1, 1].
        fps: Frames per second.
        alpha: Opacity ``(F, H, W)`` in [0, 1].
        name: Name of the animation; that of the file if None.

    Raises:
        ValueError: If the sheet would be larger than what graphics cards can hold.
    """
    path = Path(path)
    name = path.stem if name is None else name
    num_frames, height, width = video.shape[1:]
    columns = _columns(num_frames, width, height)
    size = columns * width, ceil(num_frames / columns) * height
    if max(size) > MAX_SHEET:
        raise ValueError(
            f"{num_frames} frames of {width}x{height} make a sprite sheet of "
            f"{size[0]}x{size[1]}: at most {MAX_SHEET} fit"
        )
    pictures = to_pictures(video, alpha)
    sheet = Image.new(pictures[0].mode, size)
    places = [(index % columns * width, index // columns * height) for index in range(len(pictures))]
    for picture, place in zip(pictures, places, strict=True):
        sheet.paste(picture, place)
    layout = _layout(name, path.with_suffix(".png").name, sheet.size, (width, height), places, fps)
    with replacing(path.with_suffix(".png")) as part:
        sheet.save(part, "PNG")
    write_text(path, json.dumps(layout, indent=1) + "\n")


def _columns(count: int, width: int, height: int) -> int:
    """Returns the number of columns that makes the sheet nearly square."""
    return min(count, max(1, round(sqrt(count * height / width))))


def _layout(
    name: str,
    image: str,
    size: tuple[int, int],
    frame: tuple[int, int],
    places: Sequence[tuple[int, int]],
    fps: float,
) -> dict[str, Any]:
    whole = {"w": frame[0], "h": frame[1]}
    frames = [
        {
            "filename": str(index),  # Phaser's createFromAseprite looks for frames by their number
            "frame": {"x": x, "y": y, **whole},
            "rotated": False,
            "trimmed": False,
            "spriteSourceSize": {"x": 0, "y": 0, **whole},
            "sourceSize": whole,
            "duration": duration,
        }
        for index, ((x, y), duration) in enumerate(zip(places, durations(len(places), fps), strict=True))
    ]
    tag = {"name": name, "from": 0, "to": len(places) - 1, "direction": "forward"}
    meta = {"image": image, "format": "RGBA8888", "size": {"w": size[0], "h": size[1]}, "scale": "1"}
    return {"frames": frames, "meta": {"app": "lightning-mav", "version": "1.0", **meta, "frameTags": [tag]}}
