"""Writes a long or large video while it is made: what can be written frame by frame is, the rest is kept."""

import errno
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from .animated import to_pictures
from .codecs.mp4 import Mp4Writer
from .codecs.pixels import from_uint8, to_uint8
from .export import save_video
from .matte import on_background
from .video import MAX_GIF_SIDE, chosen_frames, contact_sheet

MAX_KEPT = 2**27  # bytes of all frames of a format that is written at the end
SPARE = 2**23  # bytes that have to stay free on the disk, so that files can be finished
HELD = 20  # sizes of a frame that the encoder of mp4 may still write when it is closed
SHEET_WIDTH = 320  # pixels of a frame that waits for the contact sheet


class StreamedVideo:
    """Takes a video frame by frame.

    ``mp4`` and ``frames`` are written at once. The other formats need all frames: these are kept, as bytes
    and at the size of the file, until ``save_rest``.

    Args:
        folder: Where to write; the files there are called ``video.mp4`` and ``video-frames``.
        kinds: Formats: ``mp4``, ``frames``, ``gif``, ``webp``, ``apng``, ``sprites``.
        total: Number of frames to come.
        rate: Frames per second, or their mean.
        times: See ``Mp4Writer``.
        ground: See ``on_background``.
        background: See ``on_background``.
    """

    def __init__(
        self,
        folder: Path,
        kinds: Sequence[str],
        *,
        total: int,
        rate: Fraction,
        times: Sequence[float] | None = None,
        ground: Sequence[int] | None = None,
        background: str | Sequence[int] | None = None,
    ) -> None:
        self.folder, self.kinds, self.rate = folder, kinds, rate
        self.ground, self.background = ground, background
        self.writer = Mp4Writer(folder / "video.mp4", rate, times=times) if "mp4" in kinds else None
        self.num_frames, self.size = 0, (0, 0)
        self.kept: dict[str, list[Tensor]] = {kind: [] for kind in kinds if kind not in ("mp4", "frames")}
        self.shown = chosen_frames(total)
        self.sheet_frames: list[Tensor] = []

    def add(self, frame: Tensor) -> None:
        """Takes the next frame, ``(3, H, W)`` in [-1, 1].

        Raises:
            OSError: If the disk is nearly full. What was taken before can still be saved.
        """
        self.check_room(frame.numel())
        video, alpha = on_background(frame[:, None], self.ground, self.background)
        if self.num_frames in self.shown:
            self.sheet_frames.append(_smaller(to_uint8(frame), SHEET_WIDTH))
        if "frames" in self.kinds:
            place = self.folder / "video-frames" / f"{self.num_frames:04d}.png"
            place.parent.mkdir(exist_ok=True)
            to_pictures(video, alpha)[0].save(place, "PNG")  # ``save_rest`` removes half a picture
        if self.kept:
            opaque = alpha if alpha is None else (alpha * 2 - 1)
            pixels = to_uint8(video[:, 0] if opaque is None else torch.cat([video[:, 0], opaque]))
            for kind, frames in self.kept.items():
                frames.append(_smaller(pixels, MAX_GIF_SIDE) if kind == "gif" else pixels)
        if self.writer is not None:  # last, as it cannot be undone if the rest is interrupted
            self.writer.write(to_uint8(video[:, 0]).movedim(0, -1).numpy())
        self.num_frames += 1
        self.size = (frame.shape[-2], frame.shape[-1])

    def check_room(self, numel: int) -> None:
        """Checks that there is room on the disk for a frame of ``numel`` values, and to finish the files.

        Raises:
            OSError: If there is not.
        """
        kept = sum(len(frames) * frames[0].numel() for frames in self.kept.values() if frames)
        held = numel * (1 if self.writer is None else HELD)
        if shutil.disk_usage(self.folder).free < SPARE + kept + held:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def finish(self) -> None:
        """Closes the mp4 file."""
        writer, self.writer = self.writer, None
        if writer is not None:
            writer.__exit__(None, None, None)

    def keep_frames_alone(self) -> None:
        """Gives up all formats but ``frames``, such as when a file may not become any larger."""
        with suppress(OSError):
            self.finish()
        self.kinds, self.kept = ["frames"], {}
        for path in self.folder.iterdir():
            if path.is_file():
                path.unlink()

    def save_rest(self, name: str, endings: dict[str, str]) -> None:
        """Gives the files their name, and writes the other formats, each with its ending."""
        self.finish()
        for kind in self.kinds:
            target = self.folder / f"{name}{endings[kind]}"
            if kind in self.kept:
                frames = self.kept.pop(kind)[: self.num_frames]  # the next one may have been begun
                colours = from_uint8(torch.stack(frames, dim=1))
                alpha = (colours[3] + 1) / 2 if len(colours) > 3 else None
                save_video(target, colours[:3], float(self.rate), alpha=alpha)
                continue
            made = self.folder / f"video{endings[kind]}"
            if kind == "frames":
                (made / f"{self.num_frames:04d}.png").unlink(missing_ok=True)
            made.rename(target)

    def sheet(self, title: str) -> Image.Image:
        """Draws the contact sheet."""
        frames = from_uint8(torch.stack(self.sheet_frames, dim=1))
        numbers = self.shown[: len(self.sheet_frames)]
        return contact_sheet(frames, fps=float(self.rate), title=title, numbers=numbers)


def kept_bytes(kind: str, num_frames: int, size: tuple[int, int], channels: int = 3) -> int:
    """Returns how many bytes the frames of a format take until it is written; 0 for mp4 and frames.

    Args:
        kind: The format.
        num_frames: Number of frames.
        size: Height and width of a frame.
        channels: 4 with opacity.
    """
    if kind in ("mp4", "frames"):
        return 0
    height, width = _fitting(size, MAX_GIF_SIDE) if kind == "gif" else size
    return num_frames * height * width * channels


def _fitting(size: tuple[int, int], side: int) -> tuple[int, int]:
    share = min(1.0, side / max(size))
    return max(1, round(size[0] * share)), max(1, round(size[1] * share))


def _smaller(pixels: Tensor, side: int) -> Tensor:
    """Averages bytes ``(C, H, W)`` so that the longer side is at most ``side``."""
    height, width = _fitting((pixels.shape[-2], pixels.shape[-1]), side)
    if (height, width) == tuple(pixels.shape[-2:]):
        return pixels
    means: Any = torch.nn.functional.interpolate(pixels[None].float(), (height, width), mode="area")
    return means[0].round().byte()
