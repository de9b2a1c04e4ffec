"""Measures files before they go into a shard, and checks that all of a file decodes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import av
import torch
from torch import Tensor

from ...utils.textfile import decode_caption, parse_json
from .decode import IMAGE_FORMATS, VIDEO_FORMATS, decode_image, decode_video
from .opening import open_video
from .packets import Packets


def probe_video(data: bytes, suffix: str) -> dict[str, Any]:
    """Reads all packets of a video and decodes its first frame.

    Returns:
        Width and height as shown, mean frame rate, duration in seconds and number of frames.

    Raises:
        ValueError: If it is not a whole video of that kind.
    """
    times = torch.zeros(0)

    def first(all_times: Tensor) -> Tensor:
        nonlocal times
        times = all_times
        return torch.zeros(1, dtype=torch.long)

    frames, _ = decode_video(data, suffix, None, first)
    num, span = len(times), float(times[-1])
    fps = (num - 1) / span if span > 0 else 0.0
    return {
        "width": frames.shape[3],
        "height": frames.shape[2],
        "fps": round(fps, 3),
        "duration": round(num / fps if fps else 0.0, 3),
        "num_frames": num,
    }


def probe_image(data: bytes, suffix: str) -> dict[str, Any]:
    """Decodes an image and returns its width and height.

    Raises:
        ValueError: If it is not a whole image of that kind.
    """
    pixels = decode_image(data, suffix, None)
    return {"width": pixels.shape[2], "height": pixels.shape[1]}


def frame_times(data: bytes, suffix: str) -> Tensor:
    """Returns when each frame of a video is shown, ``(F,)`` in seconds; mostly without decoding.

    Raises:
        ValueError: If it is not a whole video of that kind.
    """
    with open_packets(data, suffix) as (packets, _):
        return packets.times


@contextmanager
def open_packets(data: bytes, suffix: str) -> Iterator[tuple[Packets, av.VideoStream]]:
    """Opens a video and reads its packets; turns FFmpeg's errors into ``ValueError``, in the with block, too.

    Raises:
        ValueError: If it is not a whole video of that kind.
    """
    try:
        with open_video(data, suffix) as (container, stream):
            yield Packets(container, stream), stream
    except av.FFmpegError as error:
        raise ValueError(f"damaged video: {error.strerror}") from error


def read_frames(data: bytes, suffix: str) -> Iterator[av.VideoFrame]:
    """Decodes all of a video, one frame at a time, in display order.

    Raises:
        ValueError: If anything in it is damaged.
    """
    with open_packets(data, suffix) as (packets, _):
        yield from packets.frames()


def check_sample(sample: dict[str, bytes]) -> None:
    """Decodes all members of a sample that a reader could use.

    Raises:
        ValueError: If a member is damaged, or there is neither image nor video.
    """
    media = [suffix for suffix in sample if suffix in VIDEO_FORMATS or suffix in IMAGE_FORMATS]
    if not media:
        raise ValueError("no image or video")
    for suffix in media:
        if suffix in IMAGE_FORMATS:
            decode_image(sample[suffix], suffix, None)
        else:
            for _ in read_frames(sample[suffix], suffix):
                pass
    if "txt" in sample:
        decode_caption(sample["txt"])
    try:
        parse_json(sample.get("json", b"{}"))
    except ValueError:
        raise ValueError("bad json") from None
