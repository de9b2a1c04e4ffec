"""Files that clients send: what they are, and whether they are small enough."""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from ..models.frames import shrink
from ..utils.errors import first_line
from ..utils.textfile import shortened
from .limits import Limits, RefusedError

if TYPE_CHECKING:
    from ..cascade import Cascade
    from ..data.media import Video


@dataclass(frozen=True)
class Upload:
    """A file that a client has sent, and its measurements.

    Args:
        path: Where it is.
        kind: ``image`` or ``video``.
        num_frames: Number of its frames.
        fps: Its frame rate.
    """

    path: Path
    kind: str
    num_frames: int = 1
    fps: float = 1.0


def check_upload(path: Path, kind: str, limits: Limits, number: int = 1) -> Upload:
    """Measures a file that was sent; only a little of a video is decoded.

    Args:
        path: The file, in a folder of the server.
        kind: What it has to be, ``image`` or ``video``.
        limits: What is allowed.
        number: Its place among the files, for the message.

    Raises:
        RefusedError: If it is not of that kind, is damaged, or is beyond a limit.
    """
    what = f"File {number}"
    if (size := path.stat().st_size) > limits.upload_bytes:
        allowed = f"{limits.upload_bytes // 2**20} MB"
        raise RefusedError(f"{what} has {size / 2**20:.1f} MB: at most {allowed} are allowed.")
    try:
        measured = (_measure_image if kind == "image" else _measure_video)(path, limits)
    except ValueError as error:
        formats = "PNG, JPEG or WebP" if kind == "image" else "MP4, WebM, MKV, AVI, GIF, WebP or APNG"
        raise RefusedError(
            f"{what} cannot be read as {'an' if kind == 'image' else 'a'} {kind} "
            f"({shortened(first_line(error), 120)}). Send {formats}."
        ) from None
    width, height, num_frames, fps = measured
    if width * height > limits.upload_pixels:
        allowed = f"{limits.upload_pixels / 1e6:g} million"
        raise RefusedError(f"{what} is {width} x {height}: at most {allowed} pixels are allowed.")
    if kind == "video":
        _check_length(what, width, height, num_frames, fps, limits)
    return Upload(path, kind, num_frames, fps)


def read_upload(cascade: "Cascade", upload: Upload) -> "Video":
    """Reads a file as the command does; an image is a video of one frame.

    Raises:
        UsageError: If it is damaged.
    """
    from ..data.media import Video, read_image_file, read_video_file

    if upload.kind == "image":
        return Video(read_image_file(upload.path)[:, None], 1.0)
    size = max(cascade.clip.image_size, cascade.decoder.image_size)
    return read_video_file(upload.path, lambda part: shrink(part, size))


def _check_length(what: str, width: int, height: int, num_frames: int, fps: float, limits: Limits) -> None:
    if num_frames > limits.upload_frames:
        raise RefusedError(f"{what} has {num_frames} frames: at most {limits.upload_frames} are allowed.")
    if num_frames / fps > limits.upload_seconds:
        allowed = f"{limits.upload_seconds:g}"
        raise RefusedError(f"{what} lasts {num_frames / fps:.1f} s: at most {allowed} s are allowed.")
    if (total := width * height * num_frames) > limits.decoded_pixels:
        raise RefusedError(
            f"{what} has {total / 1e6:.0f} million pixels in all its frames: at most "
            f"{limits.decoded_pixels / 1e6:g} million are allowed. Make it smaller or shorter."
        )
    if max(width, height) > limits.aspect * min(width, height):
        allowed = f"{limits.aspect:g}"
        raise RefusedError(
            f"{what} is {width} x {height}: one side may be at most {allowed} times as long as the other."
        )


def _measure_image(path: Path, limits: Limits) -> tuple[int, int, int, float]:
    from ..data.codecs.kinds import kind_of
    from ..data.codecs.probe import probe_image

    data = path.read_bytes()
    if (kind := kind_of(data)) not in ("PNG", "JPEG", "WebP"):
        raise ValueError(f"it is {kind or 'of an unknown kind'}")
    width, height, _ = _header(data)
    if width * height <= limits.upload_pixels:  # a larger image will be refused, and need not be decoded
        size = probe_image(data, "")
        width, height = size["width"], size["height"]
    return width, height, 1, 1.0


def _measure_video(path: Path, limits: Limits) -> tuple[int, int, int, float]:
    from ..data.codecs.animations import read_animation
    from ..data.codecs.kinds import kind_of
    from ..data.codecs.probe import probe_video

    data = path.read_bytes()
    kind = kind_of(data)
    if kind in ("WebP", "GIF", "PNG"):
        width, height, num_frames = _header(data)
        if num_frames > limits.upload_frames or width * height * num_frames > limits.decoded_pixels:
            return width, height, num_frames, float(num_frames)  # will be refused for its size
        ends = read_animation(data)[1]
        return width, height, num_frames, 1000 * num_frames / float(ends[-1])
    if kind not in ("MP4", "WebM", "Matroska", "AVI"):
        raise ValueError(f"it is {kind or 'of an unknown kind'}")
    size = probe_video(data, "")
    return size["width"], size["height"], size["num_frames"], size["fps"] or 1.0


def _header(data: bytes) -> tuple[int, int, int]:
    """Returns width, height and number of frames of a picture without decoding it."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(BytesIO(data), formats=["PNG", "JPEG", "WEBP", "GIF"]) as image:
            return image.width, image.height, int(getattr(image, "n_frames", 1))
    except UnidentifiedImageError:  # its own message shows an address in memory
        raise ValueError("its header is damaged") from None
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise ValueError(first_line(error)) from None
