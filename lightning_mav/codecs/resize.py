"""Pictures of any size and orientation to square uint8 pixels of the wanted one."""

import struct
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from av import VideoFrame
from av.filter import Graph
from av.video.reformatter import VideoReformatter
from PIL import Image
from torch import Tensor

MAX_PIXELS = 2**26  # of a picture; refused before it is decoded
# Weighs all pixels under one of the result, and keeps colour at the resolution of brightness.
SCALE = "flags=area+full_chroma_int+accurate_rnd"


def check_size(width: int, height: int) -> None:
    """Refuses pictures that are too large to decode.

    Raises:
        ValueError: If there are more than ``MAX_PIXELS`` pixels, or none.
    """
    if not 0 < width * height <= MAX_PIXELS:
        raise ValueError(f"empty or too large: a picture of {width}x{height} pixels")


def square(width: int, height: int, image_size: int) -> tuple[int, int, int]:
    """Returns the side of the middle square of a picture, and its left and upper edge.

    Raises:
        ValueError: If it is smaller than the ``image_size`` wanted.
    """
    side = min(width, height)
    if side < image_size:
        raise ValueError(
            f"too small: {width}x{height} pixels are fewer than the {image_size}x{image_size} wanted"
        )
    return side, (width - side) // 2, (height - side) // 2


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


class FrameResizer:
    """Turns decoded frames into upright RGB pixels.

    At native size, and where the side of the middle square is a multiple of the wanted one, frames are
    converted to RGB and then averaged exactly, as images are. Elsewhere FFmpeg cuts and averages brightness
    and colour before the conversion, which takes a fifth of the time; pixels that are covered in part count
    in part, and colours differ by a level or so. That pixels may not be square is ignored.

    Args:
        image_size: Height and width wanted; frames keep theirs if None.
    """

    def __init__(self, image_size: int | None) -> None:
        self.image_size = image_size
        # One for all frames: building one costs more than using it.
        self.reformatter = VideoReformatter()
        self.graph: tuple[tuple[int | str, ...], Graph] | None = None

    def __call__(self, frame: VideoFrame) -> np.ndarray:
        """Returns a frame as ``(H, W, 3)`` bytes.

        Raises:
            ValueError: If it is larger than ``MAX_PIXELS`` or smaller than wanted.
        """
        check_size(frame.width, frame.height)
        if self.image_size is None or min(frame.width, frame.height) % self.image_size == 0:
            pixels = self.reformatter.reformat(frame, format="rgb24").to_ndarray()
            return to_square(upright(pixels, frame), self.image_size)
        return upright(self._shrink(frame, self.image_size), frame)

    def _shrink(self, frame: VideoFrame, image_size: int) -> np.ndarray:
        side, left, top = square(frame.width, frame.height, image_size)
        kind = (frame.width, frame.height, frame.format.name, frame.colorspace, frame.color_range)
        if self.graph is None or self.graph[0] != kind:  # sizes may change within a stream
            width, height, pix_fmt, colorspace, color_range = kind
            graph = Graph()
            graph.threads = 1
            source = f"video_size={width}x{height}:pix_fmt={pix_fmt}:time_base=1/1"
            graph.link_nodes(
                graph.add("buffer", f"{source}:colorspace={colorspace}:range={color_range}"),
                graph.add("crop", f"{side}:{side}:{left}:{top}"),
                graph.add("scale", f"{image_size}:{image_size}:{SCALE}"),
                graph.add("format", "rgb24"),
                graph.add("buffersink"),
            ).configure()
            self.graph = kind, graph
        self.graph[1].vpush(frame)
        return self.graph[1].vpull().to_ndarray()


def upright(pixels: np.ndarray, frame: VideoFrame) -> np.ndarray:
    """Turns and mirrors ``(H, W, 3)`` pixels as the frame's display matrix says; a view.

    The matrix takes a column ``x`` and a row ``y`` to ``(a x + c y, b x + d y)``. Angles between the
    quarters of a turn are rounded to the nearest.
    """
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return pixels
    a, b, _, c, d = struct.unpack("=5i", bytes(matrix)[:20])
    if abs(b) > abs(a):
        pixels = pixels.swapaxes(0, 1)
        a, d = c, b
    return pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
