"""Decodes images and videos of a fixed list of formats into square uint8 pixels of the wanted size.

Bad input raises ``ValueError``. Its message up to the first colon is a short reason, fit for counting.
"""

from collections.abc import Callable, Collection
from contextlib import suppress

import av
import numpy as np
import torch
from torch import Tensor

from .clock import Clock
from .images import IMAGE_FORMATS, read_image
from .opening import ALLOWED, VIDEO_FORMATS, open_video
from .packets import Packets, SeekError
from .resize import FrameResizer, to_square, to_tensor

__all__ = ["IMAGE_FORMATS", "VIDEO_FORMATS", "decode_image", "decode_video"]

MAX_VIDEO_BYTES = 2**30  # of a file
# Pixels to decode for one clip, or to return: limits time and memory by the sizes in the headers.
MAX_DECODED = 2**33
MAX_RETURNED = 2**30
MAX_WORK = 10.0  # seconds of CPU time for one video: limits costs that the headers do not tell


def decode_image(data: bytes, suffix: str, image_size: int | None) -> Tensor:
    """Returns an image as a viewer shows it, ``(3, size, size)`` bytes; see ``read_image``.

    Args:
        data: The image file; its first bytes tell its kind.
        suffix: Suffix of its name.
        image_size: Height and width wanted, see ``to_square``; the image keeps its own if None.

    Raises:
        ValueError: If it is no complete PNG, JPEG or WebP file, or too large or too small.
    """
    return to_tensor([to_square(read_image(data, suffix), image_size)])[0]


def decode_video(
    data: bytes,
    suffix: str,
    image_size: int | None,
    choose: Callable[[Tensor], Tensor] | None = None,
    *,
    max_seconds: float = MAX_WORK,
    formats: Collection[str] = ALLOWED,
) -> tuple[Tensor, Tensor]:
    """Returns frames ``(F, 3, size, size)`` as bytes and their times ``(F,)`` in seconds from the first.

    All packets are read, which gives the times of all frames; then only the packets that the wanted frames
    depend on are decoded. The frames equal those of decoding the whole file with FFmpeg. They are turned
    upright, and their pixels are made square; with square pixels and at native size, no pixel is changed.
    A video of a single frame is accepted here, though no clip can be made of it.

    Args:
        data: The video file. Its first bytes tell its format.
        suffix: Suffix of its name, a key of ``VIDEO_FORMATS``: used if the first bytes tell no format.
        image_size: Height and width wanted, see ``FrameResizer``; frames keep theirs if None.
        choose: Maps the times of all frames to the indices of the wanted ones, in any order; all are wanted
            if None.
        max_seconds: Limit in seconds of CPU time of this thread, checked between packets.
        formats: Accepted container formats, by FFmpeg's names.

    Raises:
        ValueError: If it is no complete video of these formats, if anything that is decoded is damaged, or if
            the video is too large, too long, too small or too slow.
    """
    clock = Clock(max_seconds)
    try:
        with open_video(data, suffix, formats) as (container, stream):
            packets = Packets(container, stream, clock)
            indices = torch.arange(len(packets.times)) if choose is None else choose(packets.times)
            numbers = indices.tolist()
            if image_size is None and len(numbers) * stream.width * stream.height > MAX_RETURNED:
                raise ValueError(f"too much to return: {len(numbers)} frames of native size")
            found = _decode(packets, stream, set(numbers), FrameResizer(image_size, stream))
    except av.FFmpegError as error:
        raise ValueError(f"damaged video: {error.strerror}") from error
    if missing := set(numbers) - found.keys():
        raise ValueError(f"damaged video: {len(missing)} of {len(set(numbers))} frames do not decode")
    pixels = [found[number] for number in numbers]
    if len({frame.shape for frame in pixels}) > 1:
        raise ValueError("size changes: frames of native size do not go together")
    return to_tensor(pixels), packets.times[indices]


def _decode(
    packets: Packets, stream: av.VideoStream, wanted: set[int], resize: FrameResizer
) -> dict[int, np.ndarray]:
    """Returns the pixels of some frames, given by their numbers."""
    if packets.seekable:
        places = {packets.shown[number]: number for number in wanted}
        spans = packets.spans(set(places))
        _check_cost(sum(map(len, spans)), stream)
        with suppress(SeekError):
            frames = packets.sought(set(places), spans)
            return {places[frame.pts]: resize(frame) for frame in frames if frame.pts in places}
    # No key frame is known to be a safe start here, so everything is decoded from the beginning.
    _check_cost(len(packets.packets), stream)
    found: dict[int, np.ndarray] = {}
    for number, frame in enumerate(packets.frames()):
        if number in wanted:
            found[number] = resize(frame)
            if packets.is_measured and len(found) == len(wanted):
                break  # otherwise the rest is decoded, too, to check that no frame is missing
    return found


def _check_cost(num_frames: int, stream: av.VideoStream) -> None:
    cost = num_frames * stream.width * stream.height
    if cost > MAX_DECODED:
        raise ValueError(f"too much to decode: {cost} pixels")
