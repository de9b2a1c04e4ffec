"""Decodes animated pictures (WebP, GIF, APNG) into frames and the times at which a viewer shows them."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from .images import BROKEN, GROUND, on_ground
from .kinds import kind_of
from .lossless import encode_lossless
from .resize import check_size

ANIMATED = {"WebP": "WEBP", "GIF": "GIF", "PNG": "PNG"}
MAX_PIXELS = 2**31  # of all frames together
# Browsers show a frame of at most 10 ms for 100 ms: old programs wrote such times without meaning them.
SHORTEST_MS, INSTEAD_MS = 10, 100


def read_animation(data: bytes, ground: tuple[int, int, int] = GROUND) -> tuple[np.ndarray, np.ndarray]:
    """Returns the frames of one round of an animation, and when each is shown.

    Args:
        data: The file; its first bytes tell its format.
        ground: Colour under transparent pixels.

    Returns:
        Frames ``(F, H, W, 3)`` as bytes, and the end of each frame ``(F,)`` in milliseconds from the start:
        the next frame begins there, and the last one ends there.

    Raises:
        ValueError: If it is no whole animation of these kinds, or too large.
    """
    frames, durations = zip(*each_frame(data, ground), strict=True)
    return np.stack(frames), np.cumsum(durations)


def each_frame(data: bytes, ground: tuple[int, int, int] = GROUND) -> Iterator[tuple[np.ndarray, float]]:
    """Yields the frames of one round, ``(H, W, 3)`` as bytes, and how long each is shown, in milliseconds.

    Raises:
        ValueError: If it is no whole animation of these kinds, or too large.
    """
    with _open(data) as image:
        num_frames = _num_frames(image)
        check_size(*image.size)
        if image.width * image.height * num_frames > MAX_PIXELS:
            raise ValueError(f"too large: {num_frames} frames of {image.width}x{image.height} pixels")
        for index in range(num_frames):
            with _reading():
                image.seek(index)
                rgba = image.convert("RGBA")
                shown = on_ground(rgba.convert("RGB"), rgba.getchannel("A"), None, ground)
                pixels = np.asarray(shown)
            duration = float(image.info.get("duration") or 0)
            yield pixels, duration if duration > SHORTEST_MS else INSTEAD_MS


def measure(data: bytes) -> tuple[int, int]:
    """Returns the number of frames of a picture, 1 for a still, and its shorter side; decodes nothing.

    Raises:
        ValueError: If it is no picture of these kinds.
    """
    with _open(data) as image:
        return _num_frames(image), min(image.size)


def animation_to_video(data: bytes, ground: tuple[int, int, int] = GROUND) -> bytes:
    """Turns one round of an animation into a lossless video (see ``encode_lossless``) with its frame times.

    Raises:
        ValueError: If it is no whole animation, or too large.
    """
    frames, ends = read_animation(data, ground)
    times = [0, *(round(end) for end in ends[:-1])]
    video = torch.from_numpy(frames).permute(3, 0, 1, 2)
    return encode_lossless(video, 1000 * len(frames) / float(ends[-1]), times)


def _open(data: bytes) -> Image.Image:
    kind = kind_of(data)
    if kind not in ANIMATED:
        raise ValueError(f"no animation: a {kind or 'file of unknown kind'}, not WebP, GIF or PNG")
    with _reading():
        return Image.open(BytesIO(data), formats=[ANIMATED[kind]])


def _num_frames(image: Image.Image) -> int:
    with _reading():
        return int(getattr(image, "n_frames", 1))


@contextmanager
def _reading() -> Iterator[None]:
    """Turns errors of Pillow's readers into ``ValueError`` with a reason to count."""
    try:
        yield
    except Image.DecompressionBombError as error:  # Pillow looks at some sizes before we can
        raise ValueError(f"empty or too large: {error}") from error
    except UnidentifiedImageError as error:  # its message has an address, another one in each run
        raise ValueError("broken animation: its header is damaged") from error
    except BROKEN as error:
        raise ValueError(f"broken animation: {str(error) or type(error).__name__}") from error
