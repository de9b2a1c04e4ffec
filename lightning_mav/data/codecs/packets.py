"""The packets of a video: when each frame is shown, and which packets are needed to decode it."""

from bisect import bisect_right
from collections.abc import Iterator
from itertools import chain, pairwise

import av
import torch
from av.container import InputContainer
from av.video.frame import PictureType

from .clock import Clock
from .complaints import decode
from .opening import check_length
from .pictures import foretell

# Side data that the decoder receives once, with one packet, and needs for all later packets.
CHANGES = (
    "new_extradata",
    "palette",
    "param_change",
)
# If the first key frame is missing, these decoders replace it by grey, and output wrong frames until the next
# key frame without marking them as corrupt.
OF_MPEG = {
    *("mpeg1video", "mpeg2video", "mpeg4", "msmpeg4v1", "msmpeg4v2", "msmpeg4"),
    *("h263", "flv", "wmv1", "wmv2"),
}


class SeekError(Exception):
    """Decoding from the middle of the stream gave other frames than ``foretell`` predicted."""


class Packets:
    """The packets of a video stream, in the order of decoding, and the frames that come out of them.

    The decoder decides which frames there are, and in which order. This is predicted from the headers in the
    packets, see ``foretell``, or else found by decoding everything. Containers only say when frames are
    shown: the k-th frame gets the k-th smallest time stamp. So the frames are exactly those of decoding the
    whole file; starting at a later key frame only saves time.

    Frames are identified by their packets, not by time stamps, which may be missing or occur twice: each
    packet gets its place as time stamp, and the decoder copies it to the frame.

    Args:
        container: The open file.
        stream: The video stream of it to read.
        clock: Limits the time that decoding may take; no limit if None.

    Attributes:
        times: When each frame is shown, ``(F,)`` in seconds from the first frame, in display order.
        ticks: The same in units of the stream's clock.
        shown: Place of the packet of each of these frames.
        seekable: Whether decoding can start at a later key frame.

    Raises:
        ValueError: If there are no frames or too many, the file is truncated, or the time is up.
    """

    def __init__(self, container: InputContainer, stream: av.VideoStream, clock: Clock | None = None) -> None:
        self.codec, self.clock = stream.codec_context, clock
        self.packets: list[av.Packet] = []
        stamps: list[tuple[int | None, int | None]] = []
        hidden, changes = set(), False
        for packet in container.demux(stream):
            self._check_clock()
            if not packet.size:
                continue  # a dropped frame of an AVI file, or the end
            if packet.is_corrupt:
                raise ValueError("truncated video: a packet is not complete")
            place = len(self.packets)
            if packet.is_discard:
                hidden.add(place)
            changes |= any(side.data_type in CHANGES for side in packet.iter_sidedata())
            stamps.append((packet.pts, packet.dts))
            packet.pts = packet.dts = place
            self.packets.append(packet)
            check_length(0, len(self.packets))  # many headers do not give the number of frames
        if not self.packets:
            raise ValueError("no frames")
        # AVI stores no presentation times, and those that FFmpeg derives may be wrong: use dts there.
        which = int(stream.container.format.name == "avi" or any(pts is None for pts, _ in stamps))
        # A packet without a time stamp gets its place instead.
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
            # If the container has presentation times, they must agree with the predicted order.
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
                raise ValueError("damaged video: a frame that belongs to no packet")
            shown.append(frame.pts)
        self.is_measured = True
        return shown

    def _check_clock(self) -> None:
        if self.clock is not None:
            self.clock.check()

    def frames(self) -> Iterator[av.VideoFrame]:
        """Decodes all frames, in display order.

        Packets before the first key frame may fail to decode; players skip them, too.

        Raises:
            ValueError: If anything is damaged.
            FFmpegError: If FFmpeg reports an error.
        """
        start = next((place for place, packet in enumerate(self.packets) if packet.is_keyframe), 0)
        missing, number, begun = set(self.shown), 0, False
        complaints: dict[int, str] = {}  # about packets whose frames may yet be shown
        self.codec.flush_buffers()
        for place, packet in enumerate(chain(self.packets, [None])):
            self._check_clock()
            try:
                decoded, complaint = decode(self.codec, packet)
            except av.InvalidDataError:
                if number or place >= start:
                    raise
                continue
            if complaint:
                # Before the first output frame, packets may lack their references; their frames are dropped.
                if number:
                    raise ValueError(f"damaged video: {complaint}")
                complaints[place] = complaint
            for frame in decoded:
                if frame.pts in complaints:
                    raise ValueError(f"damaged video: {complaints[frame.pts]}")
                if frame.is_corrupt:
                    raise ValueError(f"damaged video: frame {number} is marked as corrupt")
                begun |= frame.pict_type == PictureType.I
                if frame.pict_type == PictureType.B and not begun and self.codec.name in OF_MPEG:
                    raise ValueError("damaged video: a frame refers to frames that are missing")
                if self.is_measured and [frame.pts] != self.shown[number : number + 1]:
                    raise ValueError(f"damaged video: frame {number} differs when decoded again")
                missing.discard(frame.pts)
                number += 1
                yield frame
        if missing:
            raise ValueError(f"damaged video: {len(missing)} of {len(self.shown)} frames do not decode")
        if not number:
            raise ValueError("damaged video: no frame decodes")
        if not begun and self.codec.name in OF_MPEG:
            raise ValueError("damaged video: no key frame")

    def sought(self, wanted: set[int], spans: list[list[int]]) -> Iterator[av.VideoFrame]:
        """Decodes the wanted frames and those that they depend on, each run from its latest key frame.

        Args:
            wanted: Places of packets.
            spans: Places of the packets to decode for them, see ``spans``.

        Yields:
            All frames that were decoded on the way, in display order.

        Raises:
            SeekError: If a frame is damaged, missing or not the predicted one.
        """
        shown = set(self.shown)
        for span in spans:
            first = self.order.get(span[0], -1)
            last = max(self.order[place] for place in wanted.intersection(span))
            # Frames that follow a key frame but are shown before it lack their references.
            orders = sorted(self.order[place] for place in shown.intersection(span))
            expected = iter([order for order in orders if order >= first])
            self.codec.flush_buffers()
            reached = -1
            for frame in self._span_frames(span):
                order = -1 if frame.pts is None else self.order.get(frame.pts, -1)
                if order < first:
                    continue
                # Checked for frames that are shown after the wanted ones, too: those may depend on them.
                if frame.is_corrupt:
                    raise SeekError
                if reached < last:
                    if order != next(expected, None):
                        raise SeekError
                    reached = order
                    yield frame
            if reached < last:
                raise SeekError

    def _span_frames(self, span: list[int]) -> Iterator[av.VideoFrame]:
        assert self.structure is not None
        rest: list[av.Packet | None] = [self.packets[place] for place in span]
        start, first = self.packets[span[0]], self.order.get(span[0], -1)
        header = b"".join(dict.fromkeys(unit for place, unit in self.structure.headers if place < span[0]))
        if header:
            packet = av.Packet(header + bytes(start))
            packet.pts, packet.dts, packet.time_base = start.pts, start.dts, start.time_base
            rest[0] = packet
        for following in [*rest, None]:
            self._check_clock()
            try:
                frames, complaint = decode(self.codec, following)
            except av.FFmpegError as error:
                raise SeekError from error
            # Frames that follow a key frame but are shown before it lack their references.
            if complaint and (following is None or self.order.get(following.pts or 0, -1) >= first):
                raise SeekError
            yield from frames

    def spans(self, wanted: set[int]) -> list[list[int]]:
        """Returns the packets to decode for some frames, by place, in runs that each start at a key frame.

        Left out are unwanted frames that no other frame depends on, and everything between the last wanted
        frame of a run and the key frame of the next.

        Args:
            wanted: Places of packets.
        """
        assert self.structure is not None
        starts, disposable = self.structure.starts, self.structure.disposable
        runs: list[tuple[int, int]] = []  # first and last place, backwards
        for place in sorted(wanted, reverse=True):
            # Frames that follow a key frame but are shown before it may depend on earlier frames.
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
