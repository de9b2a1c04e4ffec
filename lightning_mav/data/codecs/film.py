"""Reads a video file frame by frame, so that memory does not grow with its length."""

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import InputContainer

from .animations import ANIMATED, each_frame
from .kinds import kind_of
from .opening import check_length, open_video
from .packets import Packets
from .resize import FrameResizer, pixel_aspect, shown_size, upright

STILL_RATE = Fraction(1)  # frames per second of a single frame
SLACK = 0.0021  # seconds by which times may miss an even rate: containers round to milliseconds


@dataclass(frozen=True)
class Film:
    """A video file, or an animated picture, that was looked through once: it is whole, and all of it decodes.

    Args:
        path: The file.
        size: Height and width of its frames, upright and with square pixels.
        times: When each frame is shown, and when the last one ends, in seconds from the first.
        rate: Frames per second, if the times are even.
        shown: Places of the packets of the frames, see ``Packets``; none for animated pictures.
    """

    path: Path
    size: tuple[int, int]
    times: tuple[float, ...]
    rate: Fraction | None
    shown: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.times) - 1

    @property
    def fps(self) -> float:
        """Mean frame rate."""
        return len(self) / self.times[-1] if self.rate is None else float(self.rate)

    def frames(self) -> Iterator[np.ndarray]:
        """Yields the frames ``(H, W, 3)`` as bytes.

        Raises:
            ValueError: If they are others than those that were found before.
        """
        if not self.shown:
            yield from (pixels for pixels, _ in each_frame(self.path.read_bytes()))
            return
        with _open(self.path) as (_, stream):
            packets, resize = _Stream(self.path, stream), FrameResizer(None, stream)
            packets.shown, packets.is_measured = [*self.shown], True
            for frame in packets.frames():
                yield resize(frame)


def look_through(path: Path) -> Film:
    """Decodes all of a video once, which finds its size, its frames' times, and any damage.

    Raises:
        ValueError: If it is no whole video, or its size changes.
        OSError: If it cannot be read.
    """
    with path.open("rb") as file:
        kind = kind_of(file.read(512))
    if kind in ANIMATED:
        return _look_at_pictures(path)
    with _open(path) as (_, stream):
        packets, shown = _Stream(path, stream), list[int]()
        stamps, sizes = packets.find_stamps(), set[tuple[int, int]]()
        for frame in packets.frames():
            if frame.pts is None:
                raise ValueError("damaged video: a frame that belongs to no packet")
            shown.append(frame.pts)
            width, height = shown_size(frame.width, frame.height, pixel_aspect(stream))
            height, width = upright(np.broadcast_to(np.uint8(0), (height, width)), frame).shape
            sizes.add((height, width))
        tick, rate = float(stream.time_base or 0), stream.average_rate
    if len(sizes) > 1:
        raise ValueError("size changes: frames of native size do not go together")
    ticks = sorted(stamps[place] for place in shown)
    times = [tick * (stamp - ticks[0]) for stamp in ticks]
    check_length(times[-1], len(times))
    (size,) = sizes
    return Film(path, size, *_timing(times, rate), tuple(shown))


def _look_at_pictures(path: Path) -> Film:
    starts, size = [0.0], (0, 0)
    for pixels, duration in each_frame(path.read_bytes()):
        starts.append(starts[-1] + duration / 1000)
        size = (pixels.shape[0], pixels.shape[1])
    if len(starts) == 2:
        return Film(path, size, (0.0, 1.0), STILL_RATE)
    mean = Fraction((len(starts) - 1) / starts[-1]).limit_denominator(1001)
    return Film(path, size, tuple(starts), mean if _is_even(starts, mean) else None)


def _timing(times: list[float], rate: Fraction | None) -> tuple[tuple[float, ...], Fraction | None]:
    """Adds the end of the last frame, and finds the even rate of the times, if they have one."""
    if len(times) == 1 or times[-1] <= 0:
        return tuple(k / float(STILL_RATE) for k in range(len(times) + 1)), STILL_RATE
    mean = (len(times) - 1) / times[-1]
    for even in (rate, Fraction(mean).limit_denominator(1001)):
        if even and _is_even(times, even):
            return tuple(k / float(even) for k in range(len(times) + 1)), even
    return (*times, times[-1] + 1 / mean), None


def _is_even(times: list[float], rate: Fraction) -> bool:
    return all(abs(time - k / rate) <= SLACK for k, time in enumerate(times))


@contextmanager
def _open(path: Path) -> Iterator[tuple[InputContainer, av.VideoStream]]:
    if not path.stat().st_size:
        raise ValueError("empty file")
    with path.open("rb") as file:
        # Mapped, not read: only the headers are looked at. It is closed when nothing refers to it any more.
        data = cast("bytes", mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        try:
            with open_video(data, path.suffix.lower().lstrip("."), file=file) as opened:
                yield opened
        except av.FFmpegError as error:
            raise ValueError(f"damaged video: {error.strerror}") from error


class _Stream(Packets):
    """Packets that are read when they are asked for, each time anew, instead of kept.

    Nothing is foretold: which frames there are is found by decoding, as ``Packets`` does where it must.
    """

    def __init__(self, path: Path, stream: av.VideoStream) -> None:
        self.path, self.codec, self.clock = path, stream.codec_context, None
        self.packets = self  # type: ignore[assignment]
        self.shown, self.is_measured = [], False

    def __iter__(self) -> Iterator[av.Packet]:
        for place, packet in enumerate(self._stamped()):
            packet.pts = packet.dts = place
            yield packet

    def find_stamps(self) -> list[int]:
        """Returns the time stamp of each packet, see ``Packets``."""
        pairs = [(packet.pts, packet.dts) for packet in self._stamped()]
        if not pairs:
            raise ValueError("no frames")
        which = int(self.is_avi or any(pts is None for pts, _ in pairs))
        chosen = [pair[which] for pair in pairs]
        return [place if stamp is None else stamp for place, stamp in enumerate(chosen)]

    def _stamped(self) -> Iterator[av.Packet]:
        with _open(self.path) as (container, stream):
            self.is_avi = container.format.name == "avi"
            for packet in container.demux(stream):
                if not packet.size:
                    continue  # a dropped frame of an AVI file, or the end
                if packet.is_corrupt:
                    raise ValueError("truncated video: a packet is not complete")
                yield packet
