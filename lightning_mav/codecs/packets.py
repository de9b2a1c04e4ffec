"""The packets of a video: when their frames are shown, and which of them some frames take to decode."""

from bisect import bisect_right
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from io import BytesIO
from itertools import pairwise
from typing import NoReturn

import av
import torch
from av.container import InputContainer
from av.stream import Disposition

from .clock import Clock
from .containers import check_container, container_of
from .pictures import foretell
from .resize import MAX_PIXELS, check_size

# FFmpeg is told the container: left to guess, it would also follow playlists to other files.
VIDEO_FORMATS = {"mp4": "mp4", "mov": "mp4", "mkv": "matroska", "webm": "matroska", "avi": "avi"}
MAX_SECONDS = 3600.0  # of a video
# What the decoder is told once, beside a packet: later ones do not go without.
CHANGES = (
    "new_extradata",
    "palette",
    "param_change",
)
MAX_FRAMES = 2**18  # of a video: an hour at 60 frames per second and more
# Opening would decode frames to see what is inside, and we only need what the headers say: a fifth of the
# time of a clip, and before its size is known. External tracks of QuickTime stay closed.
ALLOWED = frozenset(VIDEO_FORMATS.values())
PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
OPTIONS = {"codec_whitelist": "none", "enable_drefs": "0"}
LOOK_INSIDE = {"max_pixels": str(MAX_PIXELS), "enable_drefs": "0"}


@contextmanager
def open_video(
    data: bytes, suffix: str, formats: Collection[str] = ALLOWED
) -> Iterator[tuple[InputContainer, av.VideoStream]]:
    """Opens a video and finds its stream, see ``film_of``.

    Args:
        data: The video file. Its first bytes tell its format.
        suffix: What the file is called, a key of ``VIDEO_FORMATS``: its format where the bytes do not tell.
        formats: What it may be, as FFmpeg calls it.

    Raises:
        ValueError: If it is no video of that kind, too large or too long by what its headers say; inside,
            if FFmpeg complains of anything.
    """
    kind = container_of(data) or VIDEO_FORMATS[suffix]
    if kind not in formats:
        raise ValueError(f"no video of its kind: {kind}")
    check_container(data, kind)
    container, stream = _open(data, kind, OPTIONS)
    if not stream.width:  # some codecs keep the size to themselves
        container.close()
        container, stream = _open(data, kind, LOOK_INSIDE)
    with container:
        check_size(stream.width, stream.height)
        # Of the stream itself: another may be longer. Where it does not say, the packets will.
        check_length(float((stream.duration or 0) * (stream.time_base or 0)), stream.frames)
        stream.thread_type = "NONE"  # threads cost more than they gain here, and can deadlock
        # The first holds for sizes that change inside, before there is memory for them. The second delays
        # frames as long as their order may take, which costs nothing: the end of a span is drained.
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS), "strict": "strict"}
        yield container, stream


def _open(data: bytes, kind: str, options: dict[str, str]) -> tuple[InputContainer, av.VideoStream]:
    try:
        container = av.open(
            BytesIO(data),
            format=kind,
            options=options,
            metadata_errors="ignore",
            io_open=refuse,
        )
    except av.FFmpegError as error:
        raise ValueError(f"no video of its kind: {error.strerror}") from error
    assert isinstance(container, InputContainer)
    return container, film_of(container)


def film_of(container: InputContainer) -> av.VideoStream:
    """Returns the video stream that players show.

    A film goes before a single picture, then the default stream before others, then more pixels before fewer,
    then the first. Covers and thumbnails do not count, nor does what FFmpeg cannot decode.

    Raises:
        ValueError: If there is none, or no decoder.
    """
    streams = [stream for stream in container.streams.video if not stream.disposition & PICTURES]
    if not streams:
        raise ValueError("no video stream")
    streams = [stream for stream in streams if stream.codec_context is not None]
    if not streams:
        raise ValueError("no decoder for the video stream")

    def merit(stream: av.VideoStream) -> tuple[bool, bool, int]:
        is_default = bool(stream.disposition & Disposition.default)
        return stream.frames != 1, is_default, (stream.width or 0) * (stream.height or 0)

    return max(streams, key=merit)


def refuse(url: str, flags: int, options: dict[str, str]) -> NoReturn:
    """Opens no file that a video refers to."""
    raise ValueError(f"refers to another file: {url}")


def check_length(seconds: float, num_frames: int) -> None:
    """Refuses videos that take too long to read.

    Raises:
        ValueError: If it exceeds ``MAX_SECONDS`` or ``MAX_FRAMES``.
    """
    if seconds > MAX_SECONDS:
        raise ValueError(f"too long: {seconds:.0f} s")
    if num_frames > MAX_FRAMES:
        raise ValueError(f"too many frames: {num_frames}")


class SeekError(Exception):
    """Decoding that did not start at the beginning gave other frames than were foretold."""


class Packets:
    """The packets of a video stream, in the order of decoding, and the frames that come out of them.

    The decoder decides which frames there are, and in which order. That is told beforehand from what the
    packets hold, see ``foretell``, or else by decoding everything. Containers only say when frames are shown:
    the k-th frame has the k-th of the time stamps. So the frames are those that decoding the whole file
    gives, one by one; to start elsewhere than at the beginning only saves time.

    Frames are known by their packets, not by time stamps, which may be missing or occur twice: each packet
    is given its place as time stamp, and the decoder hands it on to the frame.

    Args:
        container: Where to read.
        stream: What to read.
        clock: Bounds the time it may take; nothing does if None.

    Attributes:
        times: When each frame is shown, ``(F,)`` in seconds from the first, in the order of showing.
        ticks: The same in units of the stream's clock.
        shown: Place of the packet of each of these frames.
        seekable: Whether decoding can start elsewhere than at the beginning.

    Raises:
        ValueError: If there are no frames, too many of them, not all of the file is there, or time is up.
    """

    def __init__(self, container: InputContainer, stream: av.VideoStream, clock: Clock | None = None) -> None:
        self.codec, self.clock = stream.codec_context, clock
        self.packets: list[av.Packet] = []
        stamps: list[tuple[int | None, int | None]] = []
        hidden, changes = set(), False
        for packet in container.demux(stream):
            self._check_clock()
            if not packet.size:
                continue  # a frame that an AVI left out, or the end
            if packet.is_corrupt:
                raise ValueError("truncated video: a packet is not complete")
            place = len(self.packets)
            if packet.is_discard:
                hidden.add(place)
            changes |= any(side.data_type in CHANGES for side in packet.iter_sidedata())
            stamps.append((packet.pts, packet.dts))
            packet.pts = packet.dts = place
            self.packets.append(packet)
            if len(self.packets) > MAX_FRAMES:
                break  # many headers do not say
        check_length(0, len(self.packets))
        if not self.packets:
            raise ValueError("no frames")
        # AVI stores no times of frames, only how many are before; what FFmpeg makes of that may be wrong.
        which = int(stream.container.format.name == "avi" or any(pts is None for pts, _ in stamps))
        # Only where there are none at all: then they come in order.
        chosen = [pair[which] for pair in stamps]
        self.stamps = [place if stamp is None else stamp for place, stamp in enumerate(chosen)]
        self.structure = foretell(self.codec.codec, self.packets, self.codec.extradata)
        self.shown: list[int] = []
        self.order: dict[int, int] = {}
        self.is_measured, self.seekable = False, False
        if self.structure is not None:
            self.order = {place: number for number, place in enumerate(self.structure.shown)}
            shown = [place for place in self.structure.shown if place not in hidden]
            in_order = [self.stamps[place] for place in shown]
            # Two witnesses, where there are two.
            if which or all(a <= b for a, b in pairwise(in_order)):
                self.seekable = not changes
                self._set_shown(shown, float(stream.time_base or 0))
                return
        self._set_shown(self._measure(), float(stream.time_base or 0))

    def _set_shown(self, shown: list[int], tick: float) -> None:
        if not shown:
            raise ValueError("no frames")
        self.shown = shown
        self.ticks = sorted(self.stamps[place] for place in shown)
        self.ticks = [stamp - self.ticks[0] for stamp in self.ticks]
        self.times = torch.tensor(self.ticks, dtype=torch.double) * tick
        check_length(float(self.times[-1]), len(self.times))

    def _measure(self) -> list[int]:
        shown: list[int] = []
        for frame in self.frames():
            if frame.pts is None:
                raise ValueError("damaged video: a frame of no packet")
            shown.append(frame.pts)
        self.is_measured = True
        return shown

    def _check_clock(self) -> None:
        if self.clock is not None:
            self.clock.check()

    def frames(self) -> Iterator[av.VideoFrame]:
        """Decodes everything, in the order of showing.

        What comes before the first key frame may fail to decode; players leave it out, too.

        Raises:
            ValueError: If anything is damaged.
            FFmpegError: If FFmpeg complains.
        """
        start = next((place for place, packet in enumerate(self.packets) if packet.is_keyframe), 0)
        missing, number = set(self.shown), 0
        self.codec.flush_buffers()
        for place, packet in enumerate([*self.packets, None]):
            self._check_clock()
            try:
                decoded = self.codec.decode(packet)
            except av.InvalidDataError:
                if number or place >= start:
                    raise
                continue
            for frame in decoded:
                if frame.is_corrupt:
                    raise ValueError(f"damaged video: frame {number} of those decoded")
                missing.discard(frame.pts)
                number += 1
                yield frame
        if missing:
            raise ValueError(f"damaged video: {len(missing)} of {len(self.shown)} frames do not decode")
        if not number:
            raise ValueError("damaged video: no frame decodes")

    def sought(self, wanted: set[int]) -> Iterator[av.VideoFrame]:
        """Decodes some frames and what they depend on, starting each time as late as that is possible.

        Args:
            wanted: Places of packets.

        Yields:
            All frames that were decoded on the way, in the order of showing.

        Raises:
            SeekError: If a frame is other than foretold, damaged or missing.
        """
        shown = set(self.shown)
        for span in self.spans(wanted):
            first = self.order.get(span[0], -1)
            last = max(self.order[place] for place in wanted.intersection(span))
            # What follows a key frame but is shown before it lacks what it depends on.
            orders = sorted(self.order[place] for place in shown.intersection(span))
            expected = iter([order for order in orders if order >= first])
            self.codec.flush_buffers()
            for frame in self._span_frames(span):
                order = -1 if frame.pts is None else self.order.get(frame.pts, -1)
                if order < first:
                    continue
                if frame.is_corrupt or order != next(expected, None):
                    raise SeekError
                yield frame
                if order == last:
                    break
            else:
                raise SeekError

    def _span_frames(self, span: list[int]) -> Iterator[av.VideoFrame]:
        assert self.structure is not None
        rest: list[av.Packet | None] = [self.packets[place] for place in span]
        first = self.packets[span[0]]
        header = b"".join(dict.fromkeys(unit for place, unit in self.structure.headers if place < span[0]))
        if header:
            packet = av.Packet(header + bytes(first))
            packet.pts, packet.dts, packet.time_base = first.pts, first.dts, first.time_base
            rest[0] = packet
        for following in [*rest, None]:
            self._check_clock()
            try:
                yield from self.codec.decode(following)
            except av.FFmpegError as error:
                raise SeekError from error

    def spans(self, wanted: set[int]) -> list[list[int]]:
        """Returns the places to decode for some frames, in runs that each start afresh at a key frame.

        What no other frame depends on is left out, unless it is wanted, and so is what lies between the last
        wanted frame before a key frame and that key frame.

        Args:
            wanted: Places of packets.
        """
        assert self.structure is not None
        starts, disposable = self.structure.starts, self.structure.disposable
        runs: list[tuple[int, int]] = []  # first and last place, backwards
        for place in sorted(wanted, reverse=True):
            # What follows a key frame but is shown before it may depend on earlier frames.
            before = reversed(starts[: bisect_right(starts, place)])
            start = next((k for k in before if self.order.get(k, -1) <= self.order[place]), 0)
            if runs and place >= runs[-1][0] - 1:
                runs[-1] = min(start, runs[-1][0]), runs[-1][1]
            else:
                runs.append((start, place))
        return [
            [k for k in range(start, end + 1) if k in wanted or k == start or k not in disposable]
            for start, end in reversed(runs)
        ]
