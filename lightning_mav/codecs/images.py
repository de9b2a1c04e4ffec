"""Image files to pixels as a viewer shows them: what plain conversion to RGB drops is applied first.

In this order: the first frame of an animation is taken, 16 bits are rounded to 8, colours become sRGB by the
embedded ICC profile or a PNG's gamma, transparent pixels are put on white, and the picture is turned as EXIF
says. That pixels may not be square (JFIF density, PNG pHYs) is ignored, as viewers do.
"""

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import ExifTags, Image, ImageCms

from .kinds import kind_of
from .resize import check_size

IMAGE_FORMATS = {"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "webp": "WEBP"}
MAX_IMAGE_BYTES = 2**28  # of a file
GROUND = (255, 255, 255)  # under transparent pixels, as img2dataset has it
DISPLAY_GAMMA = 2.2
GAMMA_TOLERANCE = 0.05  # libpng's: closer to the display's own, nothing is done
MAX_PROFILE_BYTES = 2**22  # of an ICC profile; those of printing presses take two million
TEXTS = (b"tEXt", b"zTXt", b"iTXt")  # of a PNG: what editors and generators note, at times megabytes of it
EXIF_TEXT = b"Raw profile type exif\0"  # where ImageMagick keeps EXIF, which may turn the picture
# What Pillow's readers raise for files that are not as they should be.
BROKEN = (
    *(OSError, SyntaxError, EOFError, LookupError, ArithmeticError, ValueError, TypeError, AssertionError),
    *(struct.error, zlib.error),
)
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(data: bytes, suffix: str) -> np.ndarray:
    """Returns ``(H, W, 3)`` bytes, sRGB, of a PNG, JPEG or WebP file, whatever it is called.

    Args:
        data: The file; its first bytes tell the kind.
        suffix: What its name ends in, for the error.

    Raises:
        ValueError: If it is no whole image of these kinds, or too large.
    """
    with _reading(data, suffix):
        stripped = _without_texts(data) if kind_of(data) == "PNG" else data
        image: Image.Image = Image.open(BytesIO(stripped), formats=sorted({*IMAGE_FORMATS.values()}))
    check_size(image.width, image.height)
    with _reading(data, suffix), image:
        if image.info.get("default_image"):  # of a PNG: shown only by what cannot show the animation
            image.seek(1)
        image.load()
        turn = TURNS.get(_orientation(image))
        image = _to_rgb(image, data)
        return np.asarray(image if turn is None else image.transpose(turn))


def _without_texts(data: bytes) -> bytes:
    """Leaves out the texts of a PNG, which do not change its pixels; Pillow refuses images with long ones."""
    parts, start = [data[:8]], 8
    while start + 8 <= len(data):
        end = start + 12 + int.from_bytes(data[start : start + 4])
        kind, content = data[start + 4 : start + 8], data[start + 8 : start + 8 + len(EXIF_TEXT)]
        if kind not in TEXTS or content == EXIF_TEXT:
            parts.append(data[start:end])
        start = end
    return b"".join(parts) + data[start:]


@contextmanager
def _reading(data: bytes, suffix: str) -> Iterator[None]:
    """Says what Pillow's readers complain of, in words that can be counted; warnings are left out."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Image.DecompressionBombError as error:
        raise ValueError(f"empty or too large: {error}") from error
    except Image.UnidentifiedImageError as error:
        kind = kind_of(data)
        if kind and kind not in ("PNG", "JPEG", "WebP"):
            raise ValueError(f"{kind} file, no PNG, JPEG or WebP: its name ends in .{suffix}") from error
        raise ValueError("no PNG, JPEG or WebP image") from error
    except BROKEN as error:
        raise ValueError(f"damaged or truncated image: {error or type(error).__name__}") from error


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # of damaged EXIF, whatever its readers like; viewers pay no heed to it then
        return 1


def _to_rgb(image: Image.Image, data: bytes) -> Image.Image:
    info = image.info
    colours, alpha = _split(image, data)
    profile, gamma = info.get("icc_profile"), info.get("gamma")
    if profile:
        colours = _to_srgb(colours, profile)
    elif gamma and "srgb" not in info:
        colours = _at_display_gamma(colours, gamma)
    colours = colours.convert("RGB")
    if alpha is None:
        return colours
    ground = Image.new("RGB", colours.size, GROUND)
    ground.paste(colours, mask=alpha)
    return ground


def _split(image: Image.Image, data: bytes) -> tuple[Image.Image, Image.Image | None]:
    """Returns 8-bit colours, grey, RGB or CMYK, and how opaque they are; the latter is None if all are."""
    key, values = image.info.get("transparency"), np.empty(0)
    if image.mode in ("LA", "RGBA"):
        return image.convert(image.mode.removesuffix("A")), image.getchannel("A")
    if image.mode in ("P", "PA"):
        if image.has_transparency_data:
            image = image.convert("RGBA")
            return image.convert("RGB"), image.getchannel("A")
        return image.convert("RGB"), None
    if image.mode.startswith("I"):  # grey of 16 bits
        values = np.asarray(image).astype(int)
        colours = Image.fromarray(((values + 128) // 257).clip(0, 255).astype(np.uint8))
    else:
        colours = image.convert("L") if image.mode == "1" else image
        if key is not None:
            values, key = np.asarray(colours), _eight_bits(key, image.mode, data)
    if key is None:
        return colours, None
    opaque = values != np.asarray(key)
    opaque = opaque.any(axis=2) if opaque.ndim == 3 else opaque
    return colours, Image.fromarray(opaque.astype(np.uint8) * 255)


def _eight_bits(key: int | tuple[int, ...], mode: str, data: bytes) -> int | tuple[int, ...]:
    """Brings the colour of a PNG that counts as transparent to the bits that Pillow brings pixels to."""
    bits = data[24]  # of the file's samples
    if isinstance(key, tuple):
        return tuple(value >> 8 if bits == 16 else value & 255 for value in key)
    if mode == "1":
        return key
    return key % 2**bits * 255 // (2**bits - 1)


def _to_srgb(colours: Image.Image, profile: bytes) -> Image.Image:
    transform = _transform(profile, colours.mode) if len(profile) <= MAX_PROFILE_BYTES else None
    if transform is None:
        return colours
    if colours.mode != transform.input_mode:
        colours = colours.convert(transform.input_mode)
    return transform.apply(colours)


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Prepares the way to sRGB; None if there is none, as for pixels of another kind, or nothing to do."""
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        space = source.profile.xcolor_space.strip()
        # Grey pixels often carry the profile of the coloured ones beside them.
        given = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK"}.get(space, "")
        if given != mode and (mode, given) != ("L", "RGB"):
            return None
        # The tables that are made for grey by default are too coarse for dark tones.
        flags = ImageCms.Flags.NOOPTIMIZE if given == "L" else ImageCms.Flags.NONE
        srgb = ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(source, srgb, given, "RGB", flags=flags)
        if given == "CMYK":
            return transform
        ramp = np.linspace(0, 255, 16).round().astype(np.uint8)
        colours = np.stack(np.meshgrid(ramp, ramp, ramp), axis=-1).reshape(64, 64, 3)
        picture = Image.fromarray(colours if given == "RGB" else ramp[None])
        changed = np.asarray(transform.apply(picture)).astype(int) - np.asarray(picture.convert("RGB"))
        return transform if np.abs(changed).max() > 1 else None  # it is sRGB under any of its names
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):  # viewers leave damaged ones alone
        return None


def _at_display_gamma(colours: Image.Image, gamma: float) -> Image.Image:
    """Applies a PNG's gamma, the exponent of its samples."""
    exponent = 1 / (gamma * DISPLAY_GAMMA)
    if abs(exponent - 1) <= GAMMA_TOLERANCE:
        return colours
    table = [round(255 * (value / 255) ** exponent) for value in range(256)]
    return colours.point(table * len(colours.getbands()))
