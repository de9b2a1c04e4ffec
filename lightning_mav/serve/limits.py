"""What a client may ask for: everything that comes from a page is checked here, before it is queued.

A client sends a prompt, settings and the bytes of files. It cannot name a path, an address or a
configuration. If something is refused, a short message says what is allowed.
"""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..utils.errors import first_line
from ..utils.numbers import in_range
from ..utils.textfile import has_surrogates, is_blank, shortened

if TYPE_CHECKING:
    from .uses import Use


class RefusedError(Exception):
    """A request of a client is not allowed; the message tells the user what is allowed."""


@dataclass(frozen=True)
class Limits:
    """The largest values that are allowed.

    Args:
        prompt: Characters of a prompt.
        upload_bytes: Bytes of a file.
        upload_pixels: Pixels of an image, or of a frame.
        decoded_pixels: Pixels of all frames of an uploaded video together; each takes three bytes.
        upload_frames: Frames of an uploaded video.
        upload_seconds: Seconds of an uploaded video.
        aspect: How many times the longer side of a video may be as long as the shorter one.
        frames: Frames of the result.
        kept_bytes: Bytes of all files that clients have sent; each is removed after about an hour.
    """

    prompt: int = 300
    upload_bytes: int = 20 * 2**20
    upload_pixels: int = 16_000_000
    decoded_pixels: int = 150_000_000
    upload_frames: int = 240
    upload_seconds: float = 20.0
    aspect: float = 2.5
    frames: int = 240
    kept_bytes: int = 2 * 2**30

    def text(self) -> str:
        """Returns the limits as a sentence."""
        return (
            f"Limits: {self.prompt} characters for a prompt, {self.upload_bytes // 2**20} MB for a file, "
            f"{self.upload_pixels / 1e6:g} million pixels for an image, {self.upload_seconds:g} seconds and "
            f"{self.upload_frames} frames for a video, and {self.frames} frames for a result."
        )


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


def check_prompt(prompt: Any, limits: Limits) -> str:
    """Returns a prompt without spaces at its ends.

    Raises:
        RefusedError: If it is not a text, is blank or too long, or has characters that are not text.
    """
    if not isinstance(prompt, str) or is_blank(prompt):
        raise RefusedError('Say what to show, such as "a red car".')
    prompt = prompt.strip()
    if len(prompt) > limits.prompt:
        raise RefusedError(f"The prompt has {len(prompt)} characters: at most {limits.prompt} are allowed.")
    if "\0" in prompt or has_surrogates(prompt):
        raise RefusedError("The prompt has characters that are not text: type it again.")
    return prompt


def check_settings(use: "Use", values: dict[str, Any]) -> dict[str, Any]:
    """Returns the settings of a use, each in its range; a missing one gets its default, which may be None.

    Raises:
        RefusedError: If one is unknown, is not a number, or is out of its range.
    """
    from .uses import SETTINGS

    if unknown := set(values) - set(use.all_settings):
        raise RefusedError(f"{shortened(min(map(str, unknown)))} is not a setting of {use.title}.")
    checked: dict[str, Any] = {}
    for name in use.all_settings:
        setting, value = SETTINGS[name], values.get(name)
        if value is None:
            checked[name] = setting.default
        elif setting.kind is bool:
            if not isinstance(value, bool):
                raise RefusedError(f"{setting.label}: must be yes or no, not {shortened(repr(value))}.")
            checked[name] = value
        else:
            whole = setting.kind is int
            if not in_range(value, setting.low, setting.high) or (whole and value != int(value)):
                noun = "a whole number" if whole else "a number"
                allowed = f"from {setting.low} to {setting.high}"
                raise RefusedError(
                    f"{setting.label}: must be {noun} {allowed}, not {shortened(repr(value))}."
                )
            checked[name] = setting.kind(value)
    return checked


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


def check_result(
    use: "Use", settings: dict[str, Any], uploads: list[Upload], limits: Limits, window: int
) -> int:
    """Returns how many frames the result will have.

    Args:
        use: What is asked for.
        settings: Checked settings.
        uploads: Its files.
        limits: What is allowed.
        window: Frames in a window of the interpolation.

    Raises:
        RefusedError: If there are too many, or if an uploaded video has too few.
    """
    if uploads and uploads[0].num_frames < use.least_frames:
        raise RefusedError("The video has one frame, so there is nothing between frames. Try Animate.")
    num_frames = int(use.num_frames(settings, uploads, window))
    if num_frames > limits.frames:
        raise RefusedError(f"The result would have {num_frames} frames: at most {limits.frames} are allowed.")
    return num_frames


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
