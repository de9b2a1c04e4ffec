"""Reads image files as a viewer shows them: applies what a plain conversion to RGB would drop.

In this order: the first frame of an animation is taken, colours become sRGB by the embedded ICC profile or a
PNG's gamma, 16 bits are rounded to 8, transparent pixels are put on white, and the picture is turned as EXIF
says. The shape of non-square pixels (JFIF density, PNG pHYs) is ignored, as viewers do.
"""

import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from io import BytesIO
from itertools import pairwise

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from .kinds import kind_of
from .png import MAX_PROFILE_BYTES, Still, read_still, samples
from .resize import check_size

IMAGE_FORMATS = {"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "webp": "WEBP"}
MAX_IMAGE_BYTES = 2**28  # of a file
GROUND = (255, 255, 255)  # colour under transparent pixels, as in img2dataset
DISPLAY_GAMMA = 2.2
GAMMA_TOLERANCE = 0.05  # libpng's: an exponent this close to 1 is not applied
DEEP = 65535  # the largest sample of 16 bits
STRIP = 2**18  # pixels that go through a profile at a time
READERS: dict[str, Callable[[BytesIO], ImageFile.ImageFile]] = {
    "PNG": PngImagePlugin.PngImageFile,
    "JPEG": JpegImagePlugin.JpegImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
}
# What Pillow's readers raise for damaged files.
BROKEN = (
    *(OSError, SyntaxError, EOFError, LookupError, ArithmeticError, ValueError, TypeError, AssertionError),
    *(struct.error, zlib.error),
)
TURN = Image.Transpose
TURNS = (  # for EXIF's orientations from 2 on
    *(TURN.FLIP_LEFT_RIGHT, TURN.ROTATE_180, TURN.FLIP_TOP_BOTTOM, TURN.TRANSPOSE),
    *(TURN.ROTATE_270, TURN.TRANSVERSE, TURN.ROTATE_90),
)


def read_image(data: bytes, suffix: str, ground: tuple[int, int, int] = GROUND) -> np.ndarray:
    """Returns the ``(H, W, 3)`` sRGB bytes of a PNG, JPEG or WebP file, whatever its name.

    Args:
        data: The file; its first bytes tell the format.
        suffix: Suffix of its name, for error messages.
        ground: Colour under transparent pixels.

    Raises:
        ValueError: If it is no whole image of these kinds, or too large.
    """
    still = None
    if kind_of(data) == "PNG":
        with _reading():
            still = read_still(data)
        check_size(*still.size)
        data = still.data
    image = _open(data, suffix)
    check_size(*image.size)
    profile = image.info.get("icc_profile") if still is None else still.profile
    if profile and len(profile) > MAX_PROFILE_BYTES:
        raise ValueError(f"profile too large: that of its colours has more than {MAX_PROFILE_BYTES} bytes")
    with _reading(), image:
        if still and still.bits == 16:
            colours, alpha = _split_deep(samples(still), image.info.get("transparency"), profile, still.gamma)
        else:
            image.load()
            colours, alpha = _split(image, data)
            if profile:
                colours = _to_srgb(colours, profile)
            elif still and still.gamma:
                colours = colours.point([*_at_display_gamma(still.gamma, 255)] * len(colours.getbands()))
        shown = on_ground(colours.convert("RGB"), alpha, still, ground)
        turn = dict(enumerate(TURNS, 2)).get(_orientation(image))
        return np.asarray(shown if turn is None else shown.transpose(turn))


def _open(data: bytes, suffix: str) -> ImageFile.ImageFile:
    """Reads the header of an image."""
    kind = kind_of(data)
    if kind in READERS:
        with _reading():
            return READERS[kind](BytesIO(data))
    if kind:
        raise ValueError(f"{kind} file, no PNG, JPEG or WebP: its name ends in .{suffix}")
    raise ValueError("no PNG, JPEG or WebP image")


@contextmanager
def _reading() -> Iterator[None]:
    """Turns errors of Pillow's readers into ``ValueError`` with a reason to count; drops their warnings."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Image.DecompressionBombError as error:  # Pillow looks at some sizes before we can
        raise ValueError(f"empty or too large: {error}") from error
    except BROKEN as error:
        problem = str(error) or type(error).__name__
        # "cannot handle" is about the number of bits or channels: the file is not damaged.
        what = "unsupported" if problem.startswith("cannot handle") else "damaged or truncated"
        raise ValueError(f"{what} image: {problem}") from error


def _orientation(image: Image.Image) -> int:
    image.info.pop("xmp", None)  # Pillow would use it where EXIF says nothing; browsers do not
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged EXIF may raise anything; viewers ignore it then
        return 1


def on_ground(
    colours: Image.Image, alpha: Image.Image | None, still: Still | None, ground: tuple[int, int, int]
) -> Image.Image:
    """Puts RGB colours with their alpha channel, which is None if all is opaque, on a ground."""
    size, corner = (colours.size, (0, 0)) if still is None else (still.size, still.corner)
    if alpha is None and size == colours.size:
        return colours
    picture = Image.new("RGB", size, ground)
    picture.paste(colours, corner, mask=alpha)
    return picture


def _split(image: Image.Image, data: bytes) -> tuple[Image.Image, Image.Image | None]:
    """Returns 8-bit colours (grey, RGB or CMYK) and the alpha channel; None for alpha if all is opaque."""
    key = image.info.get("transparency")
    if image.mode in ("LA", "RGBA"):
        return image.convert(image.mode.removesuffix("A")), image.getchannel("A")
    if image.mode in ("P", "PA"):
        if image.has_transparency_data:
            image = image.convert("RGBA")
            return image.convert("RGB"), image.getchannel("A")
        return image.convert("RGB"), None
    colours = image.convert("L") if image.mode == "1" else image
    if key is None:
        return colours, None
    opaque = np.asarray(colours) != np.asarray(_eight_bits(key, image.mode, data))
    opaque = opaque.any(axis=2) if opaque.ndim == 3 else opaque
    return colours, Image.fromarray(opaque.astype(np.uint8) * 255)


def _eight_bits(key: int | tuple[int, ...], mode: str, data: bytes) -> int | tuple[int, ...]:
    """Scales a PNG's transparent colour to the bit depth that Pillow gives the pixels."""
    bits = data[24]  # of the file's samples
    if isinstance(key, tuple):
        return tuple(value & 255 for value in key)
    if mode == "1":
        return key
    return key % 2**bits * 255 // (2**bits - 1)


def _split_deep(
    values: np.ndarray, key: int | tuple[int, ...] | None, profile: bytes | None, gamma: float | None
) -> tuple[Image.Image, Image.Image | None]:
    """Returns 8-bit colours of 16-bit samples, sRGB or grey, and alpha; None for alpha if all is opaque."""
    has_alpha = values.shape[2] in (2, 4)
    colours, alpha = values[..., : values.shape[2] - has_alpha], None
    if colours.shape[2] == 1:
        colours = colours[..., 0]
    if has_alpha:
        alpha = Image.fromarray(_in_strips(values[..., -1], _table(1, DEEP).__getitem__))
    elif key is not None:
        opaque = colours != np.asarray(key)
        opaque = opaque.any(axis=2) if opaque.ndim == 3 else opaque
        alpha = Image.fromarray(opaque.astype(np.uint8) * 255)
    transform = _transform(profile, "L" if colours.ndim == 2 else "RGB") if profile else None
    table = _at_display_gamma(gamma, DEEP) if gamma and not profile else _table(1, DEEP)
    convert = table.__getitem__ if transform is None else partial(_between, transform)
    return Image.fromarray(_in_strips(colours, convert)), alpha


def _in_strips(values: np.ndarray, convert: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Converts a few rows at a time, which takes less memory."""
    step = max(1, STRIP // values.shape[1])
    return np.concatenate([convert(values[top : top + step]) for top in range(0, len(values), step)])


def _between(transform: ImageCms.ImageCmsTransform, values: np.ndarray) -> np.ndarray:
    """Applies an 8-bit transform to 16-bit samples, ``(H, W)`` or ``(H, W, 3)``; gives ``(H, W, 3)`` bytes.

    Values between two 8-bit levels are interpolated in tetrahedra: channels are raised to the next level one
    by one, starting with the channel closest to it.
    """
    values = values.reshape(*values.shape[:2], -1)
    low, rest = np.divmod(values, 257)
    least = np.sort(rest, axis=2)[..., ::-1]  # smallest remainder of the channels raised in each step
    bounds = [257, *np.moveaxis(least, 2, 0), 0]
    total = np.zeros((*low.shape[:2], 3), np.float32)
    for above, bound in pairwise(bounds):
        raised = 0 if isinstance(above, int) else rest >= above[..., None]
        near = np.minimum(low + raised, 255).astype(np.uint8)
        picture = Image.fromarray(near if near.shape[2] == 3 else near[..., 0])
        if picture.mode != transform.input_mode:
            picture = picture.convert(transform.input_mode)
        share = ((above - bound) / np.float32(257))[..., None]
        total += share * np.asarray(transform.apply(picture))
    return total.round().astype(np.uint8)


def _to_srgb(colours: Image.Image, profile: bytes) -> Image.Image:
    transform = _transform(profile, colours.mode)
    if transform is None:
        return colours
    if colours.mode != transform.input_mode:
        colours = colours.convert(transform.input_mode)
    return transform.apply(colours)


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Prepares the transform to sRGB; None if the profile is of another colour model, damaged or sRGB."""
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        space = source.profile.xcolor_space.strip()
        # Grey pixels often carry the profile of the coloured ones beside them.
        given = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK"}.get(space, "")
        if given != mode and (mode, given) != ("L", "RGB"):
            return None
        # The default lookup tables for grey are too coarse for dark tones.
        flags = ImageCms.Flags.NOOPTIMIZE if given == "L" else ImageCms.Flags.NONE
        srgb = ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(source, srgb, given, "RGB", flags=flags)
        if given == "CMYK":
            return transform
        ramp = np.linspace(0, 255, 16).round().astype(np.uint8)
        colours = np.stack(np.meshgrid(ramp, ramp, ramp), axis=-1).reshape(64, 64, 3)
        picture = Image.fromarray(colours if given == "RGB" else ramp[None])
        changed = np.asarray(transform.apply(picture)).astype(int) - np.asarray(picture.convert("RGB"))
        return transform if np.abs(changed).max() > 1 else None  # no change: it is sRGB, whatever its name
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):  # viewers ignore damaged profiles
        return None


def _at_display_gamma(gamma: float, most: int) -> np.ndarray:
    """Returns a table of the bytes that a PNG's gamma gives for each sample value from 0 to ``most``."""
    exponent = 1 / (gamma * DISPLAY_GAMMA)
    return _table(1 if abs(exponent - 1) <= GAMMA_TOLERANCE else exponent, most)


@lru_cache(maxsize=16)
def _table(exponent: float, most: int) -> np.ndarray:
    return (255 * (np.arange(most + 1) / most) ** exponent).round().astype(np.uint8)
