"""Re-encodes videos: smaller, and with key frames close together, so that any clip is quick to decode."""

from collections import Counter
from fractions import Fraction
from io import BytesIO
from itertools import pairwise

import av
import numpy as np

from .probe import open_packets
from .resize import SCALE, Box, Scaler, pixel_aspect, shown_size, stored_box, upright
from .x264 import x264_params

DEFAULT_GOP = 30  # frames: a clip is decoded twice as fast as with 250, for a tenth more bytes
ENCODER = {"crf": "18", "preset": "fast", "x264-params": x264_params()}
BT709 = 1
SQUARE = Fraction(1)
DEFAULT_RATE = 25  # frames per second, if the video gives no rate
MAX_CLOCK = 2**31 - 1  # ticks per second that MP4 can write
TO_BT709 = "out_color_matrix=bt709:out_range=tv"


def recode(data: bytes, suffix: str, *, gop: int | None, size: int | None) -> bytes:
    """Encodes a video as H.264 in an mp4 file, without sound; each frame keeps its time.

    Frames are turned upright, with square pixels, and an odd last row or column is cut off. All get the size
    of the first, see ``Shrinker``. Frames with the same time are spread evenly up to the next time.

    Args:
        data: The video file.
        suffix: Kind of file, a key of ``VIDEO_FORMATS``.
        gop: Maximal number of frames from one key frame to the next; 30 if None.
        size: Shorter side in pixels, rounded down to an even number; a smaller video is not enlarged. All
            keep their size if None.

    Raises:
        ValueError: If it does not decode.
    """
    shrink, output = Shrinker(size), BytesIO()
    with open_packets(data, suffix) as (packets, source), av.open(output, "w", format="mp4") as container:
        tick, rate = source.time_base or Fraction(1), source.average_rate or DEFAULT_RATE
        stamps, parts = set_apart(packets.ticks, max(1, round(1 / (rate * tick))))
        # A time base that divides the video's own, so that each frame keeps its exact time.
        clock = Fraction(1, tick.denominator * parts)
        if clock.denominator > MAX_CLOCK:
            raise ValueError("frames of the same time")
        stream = container.add_stream("libx264", options=ENCODER)
        stream.codec_context.time_base = clock
        stream.pix_fmt, stream.gop_size = "yuv420p", gop or DEFAULT_GOP
        stream.codec_context.thread_count = 1
        for tag in ("colorspace", "color_primaries", "color_trc", "color_range"):
            setattr(stream.codec_context, tag, BT709)
        for number, (stamp, frame) in enumerate(zip(stamps, packets.frames(), strict=True)):
            picture = shrink(frame, pixel_aspect(source))
            if number == 0:
                stream.width, stream.height = picture.width, picture.height
            picture.pts, picture.time_base = stamp * tick.numerator, clock
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return output.getvalue()


def set_apart(ticks: list[int], step: int) -> tuple[list[int], int]:
    """Gives frames with the same time different times, spread evenly up to that of the next frame.

    Args:
        ticks: Times, in order.
        step: Duration of the last frame in ticks.

    Returns:
        The times in fractions of a tick, and how many of these make one tick.
    """
    parts = max(Counter(ticks).values())
    if parts == 1:
        return ticks, 1
    times = sorted(set(ticks))
    stamps: list[int] = []
    for (time, following), num in zip(
        pairwise([*times, times[-1] + step]), Counter(ticks).values(), strict=True
    ):
        stamps += [time * parts + k * (following - time) * parts // num for k in range(num)]
    return stamps, parts


class Shrinker:
    """Makes frames upright and smaller, with square pixels, in yuv420p and BT.709.

    All get the size of the first: a frame of another size is cropped to the same shape and scaled.

    Args:
        size: Shorter side in pixels; frames are not enlarged. They keep their size if None.
    """

    def __init__(self, size: int | None) -> None:
        self.size = size
        self.scaler = Scaler("yuv420p", f"{SCALE}:{TO_BT709}")
        self.first: tuple[tuple[int, int], Box, tuple[int, int]] | None = None

    def __call__(self, frame: av.VideoFrame, aspect: Fraction = SQUARE) -> av.VideoFrame:
        """Returns a frame with even sides.

        Args:
            frame: Frame.
            aspect: Pixel aspect ratio, width over height.

        Raises:
            ValueError: If it is too large or has too few pixels.
        """
        shown = shown_size(frame.width, frame.height, aspect)
        if self.first is None:
            self.first = shown, *self._plan(frame, shown)
        first, box, target = self.first
        if shown != first:
            share = min(shown[0] / target[0], shown[1] / target[1])
            width, height = (min(a, round(share * b)) for a, b in zip(shown, target, strict=True))
            box = (width, height, (shown[0] - width) // 2, (shown[1] - height) // 2)
        return turned(self.scaler(frame, stored_box(box, frame, shown), target), frame)

    def _plan(self, frame: av.VideoFrame, shown: tuple[int, int]) -> tuple[Box, tuple[int, int]]:
        if min(shown) < 2:
            raise ValueError(f"too small: {shown[0]}x{shown[1]} pixels")
        share = min(1.0, self.size / min(shown)) if self.size else 1.0
        width, height = (max(2, round(side * share) // 2 * 2) for side in shown)
        if share == 1.0:  # an odd last row or column is cut off: scaling would blur the whole picture
            return (width, height, 0, 0), (width, height)
        return (*shown, 0, 0), (width, height)


def turned(picture: av.VideoFrame, frame: av.VideoFrame) -> av.VideoFrame:
    """Turns a yuv420p picture upright, by the display matrix of the frame that it was made from."""
    if "DISPLAYMATRIX" not in frame.side_data:
        return picture
    values: np.ndarray
    values, num = picture.to_ndarray().ravel(), picture.width * picture.height
    shape = (picture.height // 2, picture.width // 2)
    parts: list[np.ndarray] = [values[:num].reshape(picture.height, picture.width)]
    parts += [part.reshape(shape) for part in np.split(values[num:], 2)]
    planes: list[np.ndarray] = [upright(part, frame) for part in parts]
    height, width = planes[0].shape
    packed = np.concatenate([plane.ravel() for plane in planes]).reshape(height * 3 // 2, width)
    return av.VideoFrame.from_ndarray(packed, format="yuv420p")
