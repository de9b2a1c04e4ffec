"""Turns pictures of any size and orientation into upright square uint8 images of the wanted size."""

import struct
from fractions import Fraction
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from av import VideoFrame
from av.filter import Graph
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from PIL import Image
from torch import Tensor

from .pixels import middle

MAX_PIXELS = 2**26  # of a picture; refused before it is decoded
# Averages all pixels that a pixel of the result covers, with colour at the resolution of brightness.
SCALE = "flags=area+full_chroma_int+accurate_rnd"


def check_size(width: int, height: int) -> None:
    """Refuses pictures that are too large to decode.

    Raises:
        ValueError: If the picture has more than ``MAX_PIXELS`` pixels, or none.
    """
    if not 0 < width * height <= MAX_PIXELS:
        raise ValueError(f"empty or too large: a picture of {width}x{height} pixels")


def square(width: int, height: int, image_size: int) -> tuple[int, int, int]:
    """Returns the side of the middle square of a picture, and its left and upper edge.

    Raises:
        ValueError: If it is smaller than the ``image_size`` wanted.
    """
    if min(width, height) < image_size:
        raise ValueError(
            f"too small: {width}x{height} pixels are fewer than the {image_size}x{image_size} wanted"
        )
    return middle(width, height)


def to_square(pixels: np.ndarray, image_size: int | None) -> np.ndarray:
    """Cuts the middle out of ``(H, W, 3)`` bytes and averages it to ``(image_size, image_size, 3)``.

    Each pixel of the result is the mean of those that it covers, wholly or in part.

    Args:
        pixels: Picture of any size, at least the one wanted.
        image_size: Height and width wanted; nothing is cut or shrunk if None.
    """
    if image_size is None:
        return pixels
    side, left, top = square(pixels.shape[1], pixels.shape[0], image_size)
    pixels = pixels[top : top + side, left : left + side].copy()  # the original may be read-only
    if side % image_size == 0:
        return np.asarray(Image.fromarray(pixels).reduce(side // image_size))
    middle = torch.from_numpy(pixels).movedim(-1, 0)[None].float()
    means = F.interpolate(middle, size=(image_size, image_size), mode="area")
    return means[0].round_().byte().movedim(0, -1).numpy()


def to_tensor(pixels: list[np.ndarray]) -> Tensor:
    """Stacks ``(H, W, 3)`` bytes to ``(F, 3, H, W)``."""
    frames = np.empty((len(pixels), 3, *pixels[0].shape[:2]), np.uint8)
    for frame, values in zip(frames, pixels, strict=True):
        frame[:] = values.transpose(2, 0, 1)
    return torch.from_numpy(frames)


Box = tuple[int, int, int, int]  # width, height, left and upper edge


def pixel_aspect(stream: VideoStream) -> Fraction:
    """Returns the pixel aspect ratio of a stream: width over height of a pixel as shown."""
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    return aspect if aspect and aspect > 0 else Fraction(1)


def shown_size(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    """Returns the width and height of a picture in square pixels; no side shrinks.

    Raises:
        ValueError: If that is too large.
    """
    check_size(width, height)
    size = (round(width * aspect), height) if aspect >= 1 else (width, round(height / aspect))
    check_size(*size)
    return size


def stored_box(box: Box, frame: VideoFrame, shown: tuple[int, int]) -> Box:
    """Maps a box of the picture in square pixels to a box of the stored pixels."""
    x, y = frame.width / shown[0], frame.height / shown[1]
    width, height, left, top = box
    return max(1, round(width * x)), max(1, round(height * y)), round(left * x), round(top * y)


class Scaler:
    """Cuts a box out of each frame and scales it, with FFmpeg.

    Args:
        pix_fmt: Pixel format of the result.
        options: Options of FFmpeg's scaler.
    """

    def __init__(self, pix_fmt: str, options: str = SCALE) -> None:
        self.pix_fmt, self.options = pix_fmt, options
        self.graph: tuple[tuple[Any, ...], Graph] | None = None

    def __call__(self, frame: VideoFrame, box: Box, size: tuple[int, int]) -> VideoFrame:
        """Returns the box scaled to ``size``, width and height."""
        kind = (frame.width, frame.height, frame.format.name, frame.colorspace, frame.color_range, box, size)
        if self.graph is None or self.graph[0] != kind:  # sizes may change within a stream
            graph = Graph()
            graph.threads = 1
            source = f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base=1/1"
            source += f":colorspace={frame.colorspace}:range={frame.color_range}"
            graph.link_nodes(
                graph.add("buffer", source),
                graph.add("crop", ":".join(map(str, box))),
                graph.add("scale", f"{size[0]}:{size[1]}:{self.options}"),
                graph.add("format", self.pix_fmt),
                graph.add("buffersink"),
            ).configure()
            self.graph = kind, graph
        self.graph[1].vpush(frame)
        return self.graph[1].vpull()


class FrameResizer:
    """Turns decoded frames into upright RGB images with square pixels.

    At native size, and where the side of the middle square is a multiple of the wanted one, frames are
    converted to RGB and then averaged exactly, as images are. Otherwise, or if the stored pixels are not
    square, FFmpeg crops and averages brightness and colour before the conversion, which takes a fifth of the
    time; it weighs pixels by the area that is covered, and colours differ by a level or so.

    Args:
        image_size: Height and width wanted; frames keep theirs if None.
        stream: Stream of the frames, which tells their pixel aspect ratio; square pixels if None.
    """

    def __init__(self, image_size: int | None, stream: VideoStream | None = None) -> None:
        self.image_size, self.stream = image_size, stream
        # Shared by all frames: building them costs more than using them.
        self.reformatter, self.scaler = VideoReformatter(), Scaler("rgb24")

    def __call__(self, frame: VideoFrame) -> np.ndarray:
        """Returns a frame as ``(H, W, 3)`` bytes.

        Raises:
            ValueError: If it is larger than ``MAX_PIXELS`` or smaller than wanted.
        """
        aspect = Fraction(1) if self.stream is None else pixel_aspect(self.stream)
        shown = shown_size(frame.width, frame.height, aspect)
        size, is_stored = self.image_size, shown == (frame.width, frame.height)
        if is_stored and (size is None or min(shown) % size == 0):
            pixels = self.reformatter.reformat(frame, format="rgb24").to_ndarray()
            return to_square(upright(pixels, frame), size)
        if size is None:
            box, target = (frame.width, frame.height, 0, 0), shown
        else:
            side, left, top = square(*shown, size)
            box, target = stored_box((side, side, left, top), frame, shown), (size, size)
        return upright(self.scaler(frame, box, target).to_ndarray(), frame)


def upright(pixels: np.ndarray, frame: VideoFrame) -> np.ndarray:
    """Turns and mirrors ``(H, W, 3)`` pixels as the frame's display matrix says; returns a view.

    The matrix maps column ``x`` and row ``y`` to ``(a x + c y, b x + d y)``. Angles are rounded to quarter
    turns.
    """
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return pixels
    a, b, _, c, d = struct.unpack("=5i", bytes(matrix)[:20])
    if abs(b) > abs(a):
        pixels = pixels.swapaxes(0, 1)
        a, d = c, b
    return pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
