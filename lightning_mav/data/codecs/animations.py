"""Decodes animated pictures (WebP, GIF, APNG) into frames and the times at which a viewer shows them."""

from io import BytesIO

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from .images import BROKEN, GROUND
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
    kind = kind_of(data)
    if kind not in ANIMATED:
        raise ValueError(f"no animation: a {kind or 'file of unknown kind'}, not WebP, GIF or PNG")
    frames, durations = [], []
    try:
        with Image.open(BytesIO(data), formats=[ANIMATED[kind]]) as image:
            check_size(*image.size)
            num_frames = getattr(image, "n_frames", 1)
            if image.width * image.height * num_frames > MAX_PIXELS:
                raise ValueError(f"too large: {num_frames} frames of {image.width}x{image.height} pixels")
            for index in range(num_frames):
                image.seek(index)
                image.load()
                frames.append(_on_ground(image, ground))
                shown = float(image.info.get("duration") or 0)
                durations.append(shown if shown > SHORTEST_MS else INSTEAD_MS)
    except (UnidentifiedImageError, *BROKEN) as error:
        if isinstance(error, ValueError) and str(error).startswith(("too large", "empty")):
            raise
        raise ValueError(f"broken animation: {error or type(error).__name__}") from error
    return np.stack(frames), np.cumsum(durations)


def count_frames(data: bytes) -> int:
    """Counts the frames of a picture without decoding them; 1 for a still.

    Raises:
        ValueError: If it is no picture of these kinds.
    """
    kind = kind_of(data)
    try:
        with Image.open(BytesIO(data), formats=[ANIMATED.get(kind, "WEBP")]) as image:
            return int(getattr(image, "n_frames", 1))
    except (UnidentifiedImageError, *BROKEN) as error:
        raise ValueError(f"broken animation: {error or type(error).__name__}") from error


def animation_to_video(data: bytes, ground: tuple[int, int, int] = GROUND) -> bytes:
    """Turns one round of an animation into a lossless video (see ``encode_lossless``) with its frame times.

    Raises:
        ValueError: If it is no whole animation, or too large.
    """
    frames, ends = read_animation(data, ground)
    times = [0, *(round(end) for end in ends[:-1])]
    video = torch.from_numpy(frames).permute(3, 0, 1, 2)
    return encode_lossless(video, 1000 * len(frames) / float(ends[-1]), times)


def _on_ground(image: Image.Image, ground: tuple[int, int, int]) -> np.ndarray:
    """Returns the present frame as ``(H, W, 3)`` bytes, its transparent pixels on the ground."""
    if not image.has_transparency_data:
        return np.asarray(image.convert("RGB"))
    picture = Image.new("RGBA", image.size, (*ground, 255))
    picture.alpha_composite(image.convert("RGBA"))
    return np.asarray(picture.convert("RGB"))
