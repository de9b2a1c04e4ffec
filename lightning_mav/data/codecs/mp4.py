"""Writes an mp4 file frame by frame."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from .x264 import x264_params

BT709_LIMITED = 1  # for each of these tags; without them, players guess
TAGS = ("colorspace", "color_primaries", "color_trc", "color_range")
FINE = 90_000  # ticks per second of uneven times, which divide those of all usual rates


class Mp4Writer:
    """Writes H.264 in yuv420p, which every browser and player shows.

    That format needs even sizes: odd frames repeat their last row or column.

    Args:
        path: File to write.
        rate: Frames per second.
        times: When each frame begins and the last one ends, in seconds; even steps of ``1 / rate`` if None.
        crf: Quality of libx264, from 0 (lossless) to 51; 18 already looks lossless.

    Examples:
        >>> with Mp4Writer("grey.mp4", Fraction(6)) as writer:
        ...     for _ in range(12):
        ...         writer.write(np.full((32, 48, 3), 128, np.uint8))
        >>> writer.num_frames
        12
    """

    def __init__(
        self, path: str | Path, rate: Fraction, *, times: Sequence[float] | None = None, crf: int = 12
    ) -> None:
        self.clock = 1 / rate if times is None else Fraction(1, FINE)
        self.ticks = None if times is None else [round(time * FINE) for time in times]
        self.num_frames = 0
        self.container = av.open(str(path), "w", format="mp4", options={"movflags": "faststart"})
        options = {"crf": str(crf), "preset": "medium", "x264-params": x264_params()}
        self.stream = self.container.add_stream("libx264", rate=rate, options=options)
        self.stream.pix_fmt = "yuv420p"
        self.stream.codec_context.time_base = self.clock
        for tag in TAGS:
            setattr(self.stream.codec_context, tag, BT709_LIMITED)

    def write(self, pixels: np.ndarray) -> None:
        """Adds a frame ``(H, W, 3)`` of bytes; all have the size of the first."""
        height, width = pixels.shape[:2]
        pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if not self.num_frames:
            self.stream.height, self.stream.width = pixels.shape[:2]
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        frame.pts, frame.time_base = self.num_frames, self.clock
        if self.ticks is not None:
            begin, end = self.ticks[self.num_frames : self.num_frames + 2]
            frame.pts, frame.duration = begin, end - begin
        self.num_frames += 1
        self.container.mux(self.stream.encode(frame))

    def __enter__(self) -> "Mp4Writer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finishes the file; after an error, what was written until then can be played, too."""
        try:
            if self.num_frames:
                self.container.mux(self.stream.encode(None))
        finally:
            self.container.close()
