"""The packets of a video: when their frames are shown, and which of them some frames take to decode."""

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import NoReturn

import av
import torch
from av.container import InputContainer
from av.stream import Disposition

from .clock import Clock
from .containers import check_container
from .resize import MAX_PIXELS, check_size

# FFmpeg is told the container: left to guess, it would also follow playlists to other files.
VIDEO_FORMATS = {"mp4": "mp4", "mov": "mp4", "mkv": "matroska", "webm": "matroska", "avi": "avi"}
MAX_SECONDS = 3600.0  # of a video
MAX_FRAMES = 2**18  # of a video: an hour at 60 frames per second and more
# Opening would decode frames to see what is inside, and we only need what the headers say: a fifth of the
# time of a clip, and before its size is known. External tracks of QuickTime stay closed.
OPTIONS = {"codec_whitelist": "none", "enable_drefs": "0"}
LOOK_INSIDE = {"max_pixels": str(MAX_PIXELS), "enable_drefs": "0"}


@contextmanager
def open_video(data: bytes, suffix: str) -> Iterator[tuple[InputContainer, av.VideoStream]]:
    """Opens a video and finds its stream: the first that is no cover picture.

    Args:
        data: The video file.
        suffix: Kind of file, a key of ``VIDEO_FORMATS``.

    Raises:
        ValueError: If it is no video of that kind, too large or too long by what its headers say; inside,
            if FFmpeg complains of anything.
    """
    check_container(data, VIDEO_FORMATS[suffix])
    container, stream = _open(data, suffix, OPTIONS)
    if not stream.width:  # some codecs keep the size to themselves
        container.close()
        container, stream = _open(data, suffix, LOOK_INSIDE)
    with container:
        check_size(stream.width, stream.height)
        check_length(float(container.duration or 0) / av.time_base, stream.frames)
        stream.thread_type = "NONE"  # threads cost more than they gain here, and can deadlock
        # The first holds for sizes that change inside, before there is memory for them. The second delays
        # frames as long as their order may take, which costs nothing: the end of a span is drained.
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS), "strict": "strict"}
        yield container, stream


def _open(data: bytes, suffix: str, options: dict[str, str]) -> tuple[InputContainer, av.VideoStream]:
    try:
        container = av.open(
            BytesIO(data),
            format=VIDEO_FORMATS[suffix],
            options=options,
            metadata_errors="ignore",
            io_open=refuse,
        )
    except av.FFmpegError as error:
        raise ValueError(f"no video of its kind: {error.strerror}") from error
    assert isinstance(container, InputContainer)
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            if stream.codec_context is None:
                raise ValueError("no decoder for the video stream")
            return container, stream
    raise ValueError("no video stream")


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


class Packets:
    """The packets of a video stream, in the order of decoding.

    Frames are known by their packets, not by time stamps, which may be missing or occur twice: each packet
    is given its place as time stamp, and the decoder hands it on to the frame.

    Args:
        container: Where to read.
        stream: What to read.
        suffix: Kind of file.
        clock: Bounds the time it may take; nothing does if None.

    Attributes:
        times: When each frame is shown, ``(F,)`` in seconds from the first, in the order of showing.
        shown: Place of the packet of each of these frames.
        in_order: Whether frames can only be told apart by counting them.

    Raises:
        ValueError: If there are no frames, too many of them, not all of the file is there, or time is up.
    """

    def __init__(
        self, container: InputContainer, stream: av.VideoStream, suffix: str, clock: Clock | None = None
    ) -> None:
        self.codec = stream.codec_context
        self.packets: list[av.Packet] = []
        self.stamps: list[int] = []
        self._length = nal_length_size(self.codec.extradata)
        name = self.codec.name
        self._is_h264 = name == "h264"
        places, has_pts = [], True
        for packet in container.demux(stream):
            if clock is not None:
                clock.check()
            if not packet.size:
                continue  # a frame that an AVI left out, or the end
            if packet.is_corrupt:
                raise ValueError("truncated video: a packet is not complete")
            stamp = packet.dts if packet.pts is None else packet.pts
            if stamp is None:  # only where there are none at all: then they come in order
                stamp = len(self.packets)
            if not packet.is_discard and is_shown(packet, name):
                has_pts &= packet.pts is not None
                places.append(len(self.packets))
            self.stamps.append(stamp)
            packet.pts = packet.dts = len(self.packets)
            self.packets.append(packet)
            if len(self.packets) > MAX_FRAMES:
                break  # many headers do not say
        check_length(0, len(self.packets))
        if not places:
            raise ValueError("no frames")
        # AVI stores no times of frames; what FFmpeg makes up for these codecs is the order of decoding.
        self.in_order = not has_pts or (suffix == "avi" and name in ("h264", "hevc"))
        self.shown = sorted(places, key=lambda place: self.stamps[place])
        first, tick = self.stamps[self.shown[0]], float(stream.time_base or 0)
        stamps = torch.tensor([self.stamps[place] for place in self.shown], dtype=torch.double)
        self.times = (stamps - first) * tick
        check_length(float(self.times[-1]), len(self.times))

    def spans(self, wanted: set[int]) -> list[list[int]]:
        """Returns the places to decode for some frames, in runs that each start afresh at a key frame.

        What no other frame depends on is left out, unless it is wanted, and so is what lies between the last
        wanted frame before a key frame and that key frame.

        Args:
            wanted: Places of packets.
        """
        starts = [
            place for place, packet in enumerate(self.packets) if packet.is_keyframe and self.is_start(place)
        ]
        runs: list[tuple[int, int]] = []  # first and last place, backwards
        for place in sorted(wanted, reverse=True):
            # What follows a key frame but is shown before it may depend on earlier frames.
            behind = (
                k
                for k in reversed(starts[: bisect_right(starts, place)])
                if self.stamps[k] <= self.stamps[place]
            )
            start = next(behind, 0)  # where no key frame comes first, what comes first must do
            if runs and place >= runs[-1][0]:
                runs[-1] = min(start, runs[-1][0]), runs[-1][1]
            else:
                runs.append((start, place))
        return [
            [k for k in range(start, end + 1) if k in wanted or not self.is_disposable(k)]
            for start, end in reversed(runs)
        ]

    def is_start(self, place: int) -> bool:
        """Tells whether decoding can start at a packet that is a key frame by what the container says.

        Of H.264 only frames that let no other refer to what was before them are taken at their word.
        """
        if not self._is_h264:
            return True
        return any(header & 31 == 5 for header in nal_headers(self.packets[place], self._length))

    def is_disposable(self, place: int) -> bool:
        """Tells whether no other frame depends on a packet.

        H.264 itself says so of each part of a picture; for other codecs the container may. A packet with
        anything but pictures and remarks in it is kept.
        """
        packet = self.packets[place]
        if not self._is_h264:
            return packet.is_disposable
        headers = nal_headers(packet, self._length)
        slices = [header for header in headers if 1 <= header & 31 <= 5]
        others = {header & 31 for header in headers if not 1 <= header & 31 <= 5}
        return bool(slices) and not any(header & 0x60 for header in slices) and others <= {6, 9, 12}


def is_shown(packet: av.Packet, codec: str) -> bool:
    """Tells whether a packet has a frame to show: VP8 has some that only help to decode others."""
    return codec != "vp8" or bool(memoryview(packet)[0] & 0x10)  # type: ignore[arg-type]


def nal_length_size(extradata: bytes | None) -> int:
    """Returns in how many bytes H.264 packets say the length of each part; 0 if start codes part them."""
    if extradata is None or len(extradata) < 7 or extradata[0] != 1:
        return 0
    return (extradata[4] & 3) + 1


def nal_headers(packet: av.Packet, length_size: int) -> list[int]:
    """Returns the first byte of each part of an H.264 packet: two bits of importance, five of kind."""
    headers, position = [], 0
    if length_size:
        data = memoryview(packet)  # type: ignore[arg-type]
        while position + length_size < len(data):
            length = int.from_bytes(data[position : position + length_size])
            headers.append(data[position + length_size])
            position += length_size + length
        return headers
    whole = bytes(packet)
    while (position := whole.find(b"\0\0\1", position) + 3) > 2 and position < len(whole):
        headers.append(whole[position])
    return headers
