"""Bytes of an image or a video to square uint8 pixels at the wanted size, by named formats only."""

import io
from collections.abc import Callable

import av
import numpy as np
import torch
import torch.nn.functional as F
from av.container import InputContainer
from av.video.reformatter import VideoReformatter
from PIL import Image
from torch import Tensor

IMAGE_FORMATS = {"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "webp": "WEBP"}
# FFmpeg is told the container: left to guess, it would also follow playlists to other files.
VIDEO_FORMATS = {"mp4": "mp4", "mov": "mp4", "mkv": "matroska", "webm": "matroska", "avi": "avi"}
MAX_PIXELS = 2**26  # of an image or a frame; refused before it is decoded


def to_square(image: Image.Image, image_size: int | None) -> Tensor:
    """Cuts the middle out of an RGB image and shrinks it by averaging to ``(3, size, size)`` bytes.

    Args:
        image: Image of any size, at least the one wanted.
        image_size: Height and width wanted; nothing is cut or shrunk if None.
    """
    if image_size is None:
        return _to_bytes(image)
    side = min(image.size)
    if side < image_size:
        raise ValueError(
            f"{image.width}x{image.height} pixels are fewer than the {image_size}x{image_size} wanted"
        )
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    if side % image_size == 0:
        return _to_bytes(image.reduce(side // image_size, box))
    pixels = _to_bytes(image.crop(box))[None].float()
    return F.interpolate(pixels, size=(image_size, image_size), mode="area")[0].round_().byte()


def _to_bytes(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).movedim(-1, 0).contiguous()


def decode_image(data: bytes, suffix: str, image_size: int | None) -> Tensor:
    """Returns an image as ``(3, size, size)`` bytes."""
    with Image.open(io.BytesIO(data), formats=[IMAGE_FORMATS[suffix]]) as image:
        _check_size(image.width, image.height)
        return to_square(image.convert("RGB"), image_size)


def decode_video(
    data: bytes,
    suffix: str,
    image_size: int | None,
    choose: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Returns frames ``(F, 3, size, size)`` as bytes and their times ``(F,)`` in seconds.

    The times of all frames are read first, without decoding; then only what lies between the key frame
    before the first wanted frame and the last one is decoded.

    Args:
        data: The video file.
        suffix: Kind of file, a key of ``VIDEO_FORMATS``.
        image_size: Height and width wanted; frames keep theirs if None.
        choose: Maps the times of all frames to the indices of the wanted ones; all are wanted if None.
    """
    with av.open(io.BytesIO(data), format=VIDEO_FORMATS[suffix]) as container:
        assert isinstance(container, InputContainer)
        if not container.streams.video:
            raise ValueError("there is no video stream")
        stream = container.streams.video[0]
        _check_size(stream.width, stream.height)
        stream.thread_type = "NONE"
        stamps = [p.pts if p.pts is not None else p.dts for p in container.demux(stream) if not p.is_discard]
        pts = sorted(stamp for stamp in stamps if stamp is not None)
        if not pts:
            raise ValueError("there are no frames")
        tick = float(stream.time_base or 0)
        times = (torch.tensor(pts, dtype=torch.double) - pts[0]) * tick
        indices = torch.arange(len(pts)) if choose is None else choose(times)
        wanted = [pts[index] for index in indices.tolist()]
        frames = _read(container, stream, wanted, image_size)
    return frames, times[indices]


def _read(
    container: InputContainer, stream: av.VideoStream, wanted: list[int], image_size: int | None
) -> Tensor:
    reformatter = VideoReformatter()  # one for all frames: building it costs more than using it
    missing, found = set(wanted), {}
    container.seek(min(wanted), stream=stream)
    for frame in container.decode(stream):
        if frame.pts not in missing:
            continue
        if frame.is_corrupt:
            raise ValueError(f"frame at {frame.time} s is damaged")
        _check_size(frame.width, frame.height)
        pixels = reformatter.reformat(frame, format="rgb24").to_ndarray()
        found[frame.pts] = to_square(Image.fromarray(pixels), image_size)
        missing.remove(frame.pts)
        if not missing:
            break
    if missing:
        raise ValueError(f"{len(missing)} of {len(set(wanted))} frames do not decode")
    return torch.stack([found[stamp] for stamp in wanted])


def _check_size(width: int, height: int) -> None:
    if not 0 < width * height <= MAX_PIXELS:
        raise ValueError(f"a picture of {width}x{height} pixels is empty or too large")
