"""Videos encoded anew: smaller, and with key frames close together, so that a clip is quick to reach."""

from fractions import Fraction
from io import BytesIO
from itertools import chain

import av
import numpy as np
from av.filter import Graph

from .probe import read_frames
from .resize import SCALE, check_size, upright

DEFAULT_GOP = 30  # frames: clips are reached twice as fast as with 250, for a tenth more bytes
# The file must not depend on the number of cores, hence one thread.
ENCODER = {"crf": "18", "preset": "fast", "x264-params": "threads=1"}
BT709 = 1
TO_BT709 = "out_color_matrix=bt709:out_range=tv"


def recode(data: bytes, suffix: str, *, gop: int | None, size: int | None) -> bytes:
    """Encodes a video as H.264 in an mp4 file, without sound; each frame keeps its time.

    Frames are turned upright, and an odd last row or column is left out.

    Args:
        data: The video file.
        suffix: Kind of file, a key of ``VIDEO_FORMATS``.
        gop: Frames from one key frame to the next at most; 30 if None.
        size: Shorter side in pixels, rounded down to an even number; a smaller video is not enlarged. All
            keep their size if None.

    Raises:
        ValueError: If it does not decode, or two frames have the same time.
    """
    frames, shrink = read_frames(data, suffix), Shrinker(size)
    first = next(frames)
    tick, last, output = first.time_base or Fraction(1), -1, BytesIO()
    with av.open(output, "w", format="mp4") as container:
        stream = container.add_stream("libx264", options=ENCODER)
        # The clock of the video, of which the file's is a multiple: any other would move frames.
        stream.codec_context.time_base = tick
        stream.pix_fmt, stream.gop_size = "yuv420p", gop or DEFAULT_GOP
        stream.codec_context.thread_count = 1
        for tag in ("colorspace", "color_primaries", "color_trc", "color_range"):
            setattr(stream.codec_context, tag, BT709)
        for frame in chain([first], frames):
            if frame.pts is None or frame.pts <= last:
                raise ValueError("frames of the same time")
            picture = shrink(frame)
            if last < 0:
                stream.width, stream.height = picture.width, picture.height
            picture.pts, picture.time_base, last = frame.pts, tick, frame.pts
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return output.getvalue()


class Shrinker:
    """Makes frames upright and smaller, in the colours that are encoded.

    Args:
        size: Shorter side in pixels; frames are not enlarged. They keep their size if None.
    """

    def __init__(self, size: int | None) -> None:
        self.size = size
        self.kind: tuple[int | str, ...] | None = None
        self.graph = Graph()

    def __call__(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Returns a frame with even sides.

        Raises:
            ValueError: If it is too large, or differs from the frames before in size or kind.
        """
        kind = (frame.width, frame.height, frame.format.name, frame.colorspace, frame.color_range)
        if self.kind is None:
            self.kind = kind
            self._build(*kind)
        if kind != self.kind:
            raise ValueError("size changes: frames do not go together")
        self.graph.vpush(frame)
        return turned(self.graph.vpull(), frame)

    def _build(self, width: int, height: int, pix_fmt: str, colorspace: int, color_range: int) -> None:
        check_size(width, height)
        if min(width, height) < 2:
            raise ValueError(f"too small: {width}x{height} pixels")
        share = min(1.0, self.size / min(width, height)) if self.size else 1.0
        if share == 1.0:  # an odd last row or column goes: scaling it away would blur all
            steps = [
                ("crop", f"{width // 2 * 2}:{height // 2 * 2}:0:0"),
                ("scale", f"iw:ih:{SCALE}:{TO_BT709}"),
            ]
        else:
            sides = [str(max(2, round(side * share) // 2 * 2)) for side in (width, height)]
            steps = [("scale", f"{':'.join(sides)}:{SCALE}:{TO_BT709}")]
        self.graph.threads = 1
        source = f"video_size={width}x{height}:pix_fmt={pix_fmt}:time_base=1/1"
        self.graph.link_nodes(
            self.graph.add("buffer", f"{source}:colorspace={colorspace}:range={color_range}"),
            *(self.graph.add(*step) for step in steps),
            self.graph.add("format", "yuv420p"),
            self.graph.add("buffersink"),
        ).configure()


def turned(picture: av.VideoFrame, frame: av.VideoFrame) -> av.VideoFrame:
    """Turns a picture in yuv420p upright, as the frame that it was made of says."""
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
