"""Reads a user's own image or video for the applications."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..utils.errors import UsageError, first_line
from ..utils.numbers import MIN_FPS
from .codecs.animations import read_animation
from .codecs.decode import IMAGE_FORMATS, VIDEO_FORMATS, decode_image, decode_video
from .codecs.film import Film, look_through
from .codecs.kinds import kind_of
from .codecs.pixels import from_uint8

MAX_BYTES = 2**30
MAX_FRAMES = 1000
PART = 16  # frames that are made smaller at a time


@dataclass
class Video:
    """A video that was read.

    Args:
        frames: ``(3, F, H, W)`` in [-1, 1].
        fps: Mean frame rate.
    """

    frames: Tensor
    fps: float


def read_image_file(path: Path) -> Tensor:
    """Returns an image ``(3, H, W)`` in [-1, 1]: PNG, JPEG or WebP, upright.

    Raises:
        UsageError: If it is none, or damaged, too large, or not there.
    """
    try:
        return from_uint8(decode_image(_read(path), path.suffix.lower().lstrip("."), None))
    except ValueError as error:
        formats = ", ".join(IMAGE_FORMATS)
        raise UsageError(
            f"{path}: cannot be read ({first_line(error)}); name an image ({formats})"
        ) from error


def read_video_file(path: Path, shrink: Callable[[Tensor], Tensor] | None = None) -> Video:
    """Reads a video, or an animated WebP, PNG or GIF, upright and with square pixels.

    Args:
        path: The file.
        shrink: Makes frames ``(1, 3, F, H, W)`` smaller; it is given some at a time, which bounds memory.

    Raises:
        UsageError: If it is none, or damaged, too long or too large, or not there.
    """
    data = _read(path)
    try:
        if kind_of(data) in ("WebP", "GIF", "PNG"):
            pixels, ends = read_animation(data)
            frames = torch.from_numpy(pixels).permute(3, 0, 1, 2)
            fps = 1000 * len(pixels) / float(ends[-1])
        else:
            decoded, times = decode_video(data, path.suffix.lower().lstrip("."), None, _all)
            frames = decoded.transpose(0, 1)
            fps = (len(times) - 1) / float(times[-1] - times[0]) if len(times) > 1 else 1.0
    except ValueError as error:
        raise _unreadable(path, error) from error
    if fps < MIN_FPS:
        raise UsageError(f"{path}: its frames last {1 / fps:g} s on average; give it more frames a second")
    if frames.shape[1] > MAX_FRAMES:
        raise UsageError(f"{path}: {frames.shape[1]} frames are more than {MAX_FRAMES}: cut it into pieces")
    parts = (from_uint8(part)[None] for part in frames.split(PART, dim=1))
    return Video(torch.cat([part if shrink is None else shrink(part) for part in parts], dim=2)[0], fps)


def open_film(path: Path) -> Film:
    """Looks through a video, or an animated WebP, PNG or GIF, of any length, see ``Film``.

    Raises:
        UsageError: If it is none, or damaged, too large, or not there.
    """
    _check_file(path)
    try:
        return look_through(path)
    except ValueError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: ValueError) -> UsageError:
    formats = ", ".join(VIDEO_FORMATS)
    return UsageError(
        f"{path}: cannot be read ({first_line(error)}); name a video ({formats}, webp, gif, png)"
    )


def _all(times: Tensor) -> Tensor:
    if len(times) > MAX_FRAMES:
        raise ValueError(f"too long: {len(times)} frames, at most {MAX_FRAMES}")
    return torch.arange(len(times))


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise UsageError(f"{path}: is a folder; name a file")
    if not path.exists():
        raise UsageError(f"{path}: there is no such file; name another")


def _read(path: Path) -> bytes:
    _check_file(path)
    if path.stat().st_size > MAX_BYTES:
        raise UsageError(f"{path}: is larger than {MAX_BYTES // 2**20} MiB; cut it, or make it smaller")
    return path.read_bytes()
