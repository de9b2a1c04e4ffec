"""Images become what a viewer shows: orientation, transparency, profiles, depths, by any name."""

import base64
import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from helpers.pictures import (
    COLOUR,
    COLOUR_ALPHA,
    GREY,
    GREY_ALPHA,
    PALETTE,
    chunk,
    curve,
    encoded,
    on_white,
    png,
    profile,
    save,
    shown,
    swapped,
    words,
    xyz,
)
from lightning_mav.data.codecs.decode import decode_image
from lightning_mav.data.codecs.kinds import kind_of, suffix_of
from lightning_mav.utils.errors import reason_of

KINDS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}


# Where row 0 and column 0 of the file are shown, by the EXIF standard.
SIDES = {
    1: ("top", "left"), 2: ("top", "right"), 3: ("bottom", "right"), 4: ("bottom", "left"),
    5: ("left", "top"), 6: ("right", "top"), 7: ("right", "bottom"), 8: ("left", "bottom"),
}  # fmt: skip


def as_shown(stored, orientation):
    row, column = SIDES[orientation]
    pixels = stored if row in ("top", "bottom") else stored.swapaxes(0, 1)
    pixels = pixels[::-1] if "bottom" in (row, column) else pixels
    return pixels[:, ::-1] if "right" in (row, column) else pixels


@pytest.mark.parametrize("orientation", SIDES)
@pytest.mark.parametrize("suffix", KINDS)
def test_pictures_are_turned_as_exif_says(suffix, orientation):
    stored = np.zeros((24, 48, 3), np.uint8)
    stored[:12, :16], stored[12:, 32:] = (255, 0, 0), (0, 0, 255)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = save(Image.fromarray(stored), KINDS[suffix], quality=100, exif=exif.tobytes())
    difference = shown(data, suffix).astype(int) - as_shown(stored, orientation)
    assert np.abs(difference).mean() < 3


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_other_orientations_are_none(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert (shown(save(Image.fromarray(stored), "PNG", exif=exif.tobytes())) == stored).all()


def test_exif_behind_the_pixels_and_broken_exif():
    stored, exif = np.arange(24, dtype=np.uint8).reshape(2, 4, 3), Image.Exif()
    exif[0x0112] = 3
    data = save(Image.fromarray(stored), "PNG")
    behind = data[:-12] + chunk(b"eXIf", exif.tobytes()[6:]) + data[-12:]
    assert (shown(behind) == stored[::-1, ::-1]).all()
    for damaged in (b"", b"MM\0*\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff", b"words"):
        assert (shown(data[:-12] + chunk(b"eXIf", damaged) + data[-12:]) == stored).all()


LONG = bytes(2**21)  # more than Pillow reads of a compressed text
TEXTS = {
    "zTXt": [chunk(b"zTXt", b"workflow\0\0" + zlib.compress(LONG))],
    "iTXt": [chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(LONG))],
    "many": [chunk(b"tEXt", b"note\0" + LONG)] * 40,
}


@pytest.mark.parametrize("kind", TEXTS)
def test_long_texts_do_not_keep_a_picture_from_being_read(kind):
    stored = np.random.default_rng(0).integers(256, size=(8, 9, 3), dtype=np.uint8)
    data, texts = save(Image.fromarray(stored), "PNG"), b"".join(TEXTS[kind])
    assert (shown(data[:33] + texts + data[33:]) == stored).all()  # behind the header
    assert (shown(data[:-12] + texts + data[-12:]) == stored).all()  # behind the pixels
    with pytest.raises(ValueError, match="truncated"):
        shown(data[:33] + texts + data[33:-30])


@pytest.mark.parametrize("zipped", [False, True])
def test_exif_that_a_png_keeps_as_text(zipped):
    stored, exif, info = np.arange(24, dtype=np.uint8).reshape(2, 4, 3), Image.Exif(), PngInfo()
    exif[0x0112] = 3
    content = exif.tobytes()
    info.add_text("Raw profile type exif", f"\nexif\n{len(content):8}\n{content.hex()}", zip=zipped)
    assert (shown(save(Image.fromarray(stored), "PNG", pnginfo=info)) == stored[::-1, ::-1]).all()


def test_alpha_is_put_on_white():
    rng = np.random.default_rng(0)
    rgba = rng.integers(256, size=(8, 9, 4), dtype=np.uint8)
    rgba[:2, :, 3], rgba[2:4, :, 3] = 0, 255
    true = on_white(rgba[..., :3], rgba[..., 3])
    for kind in ("PNG", "WEBP"):
        data = save(Image.fromarray(rgba), kind, lossless=True, exact=True)
        assert np.abs(shown(data) - true).max() <= 1
    la = rgba[..., 2:]
    assert (
        np.abs(shown(save(Image.fromarray(la), "PNG")) - on_white(la[..., :1].repeat(3, 2), la[..., 1])).max()
        <= 1
    )
    deep = png([rgba[y].repeat(2, axis=1).tobytes() for y in range(8)], 16, COLOUR_ALPHA)
    assert np.abs(shown(deep) - true).max() <= 1
    deep = png([la[y].repeat(2, axis=1).tobytes() for y in range(8)], 16, GREY_ALPHA)
    assert np.abs(shown(deep) - on_white(la[..., :1].repeat(3, 2), la[..., 1])).max() <= 1


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("keyed", [False, True])
def test_grey_of_any_depth_with_a_colour_that_is_transparent(depth, keyed):
    values = [0, 1, 2**depth - 1, 1] if depth < 16 else [0, 257 * 80, 65535, 257 * 80 + 1]
    bits = "".join(f"{value:0{depth}b}" for value in values)
    row = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    key = [chunk(b"tRNS", words(values[1]))] if keyed else []
    got = shown(png([row], depth, GREY, *key, width=4))[0]
    true = [255 if keyed and value == values[1] else round(value * 255 / (2**depth - 1)) for value in values]
    assert (got == np.array(true)[:, None]).all()


def test_16_bits_are_rounded_and_not_cut_off():
    values = np.arange(0, 65536, 7)
    got = shown(png([words(*values)], 16, GREY))[0, :, 0]
    assert (got == (values / 257).round()).all()
    colours = shown(png([words(*(257 * v for v in (10, 20, 30, 250, 0, 255)))], 16, COLOUR))
    assert colours.tolist() == [[[10, 20, 30], [250, 0, 255]]]


def test_a_colour_that_is_transparent():
    row, key = [10, 20, 30, 10, 20, 31, 10, 20, 30], words(10, 20, 30)
    got = shown(png([row], 8, COLOUR, chunk(b"tRNS", key)))
    assert got.tolist() == [[[255] * 3, [10, 20, 31], [255] * 3]]
    row, key = [words(*(256 * value + 7 for value in part)) for part in (row, row[:3])]
    deep = png([row], 16, COLOUR, chunk(b"tRNS", key))
    assert (shown(deep) == got).all()


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("alphas", [b"", b"\0", b"\xff\0", b"\x80\x40"])
def test_palettes(depth, alphas):
    palette = np.array([[200, 60, 30], [0, 160, 240]])
    indices = [0, 1, 1, 0]
    row = int("".join(f"{index:0{depth}b}" for index in indices).ljust(8 * max(1, depth // 2), "0"), 2)
    chunks = [chunk(b"PLTE", palette.astype(np.uint8).tobytes())]
    chunks += [chunk(b"tRNS", alphas)] if alphas else []
    got = shown(png([row.to_bytes(max(1, depth // 2), "big")], depth, PALETTE, *chunks, width=4))
    alpha = np.array([*alphas, 255, 255])[indices]
    assert np.abs(got[0] - on_white(palette[indices], alpha)).max() <= 1


def test_a_palette_that_is_missing():
    with pytest.raises(ValueError, match="damaged or truncated image: ") as caught:
        shown(png([b"\0\1"], 8, PALETTE))
    assert reason_of(caught.value) == "damaged or truncated image"


def test_inks():
    cmyk = (40, 160, 90, 60)
    true = [(255 - ink) * (255 - cmyk[3]) / 255 for ink in cmyk[:3]]
    plain = save(Image.new("CMYK", (16, 16), cmyk), "JPEG", quality=100)
    assert np.abs(shown(plain, "jpg") - true).max() < 3
    # The same as brightness and colour: Adobe writes inks inverted, and Pillow inverts what it saves.
    red, green, blue = cmyk[:3]
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    stored = luma, 128 + (blue - luma) / 1.772, 128 + (red - luma) / 1.402
    image = Image.new("CMYK", (16, 16), (*(255 - round(value) for value in stored), cmyk[3]))
    data = save(image, "JPEG", quality=100)
    place = data.index(b"Adobe") + 11
    assert np.abs(shown(data[:place] + b"\2" + data[place + 1 :], "jpg") - true).max() < 4


@pytest.mark.parametrize("suffix", KINDS)
def test_profiles_are_applied(suffix):
    image = Image.new("RGB", (16, 16), (200, 100, 50))
    data = save(image, KINDS[suffix], icc_profile=swapped(), quality=100, lossless=True)
    assert np.abs(shown(data, suffix).astype(int) - (100, 200, 50)).max() <= 3
    transparent = Image.new("RGBA", (2, 2), (200, 100, 50, 51))
    data = save(transparent, "PNG", icc_profile=swapped())
    assert np.abs(shown(data) - on_white((100, 200, 50), 51)).max() <= 2


def test_profiles_of_grey():
    values = np.arange(0, 256, 5, dtype=np.uint8)
    linear = profile(b"GRAY", wtpt=xyz(0.9642, 1, 0.8249), kTRC=curve(1))
    got = shown(save(Image.fromarray(values[None]), "PNG", icc_profile=linear))[0]
    assert np.abs(got - encoded(values / 255)[:, None]).max() <= 1.5
    # Grey pixels of a JPEG may carry the profile of coloured ones.
    primaries = {"rXYZ": xyz(0.4361, 0.2225, 0.0139), "gXYZ": xyz(0.3851, 0.7169, 0.0971)}
    primaries |= {"bXYZ": xyz(0.1431, 0.0606, 0.7141), "wtpt": xyz(0.9642, 1, 0.8249)}
    linear = profile(b"RGB ", **primaries, **{f"{name}TRC": curve(1) for name in "rgb"})
    got = shown(save(Image.new("L", (8, 8), 100), "JPEG", icc_profile=linear), "jpg")
    assert np.abs(got - encoded(100 / 255)).max() <= 2


@pytest.mark.parametrize(
    "icc",
    [
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        b"no profile",
        swapped()[:300],
        profile(b"CMYK", wtpt=xyz(0.9642, 1, 0.8249)),
        profile(b"GRAY", wtpt=xyz(0.9642, 1, 0.8249), kTRC=curve(1)),
    ],
    ids=["sRGB", "words", "cut off", "of inks", "of grey"],
)
def test_profiles_that_change_nothing(icc):
    stored = np.random.default_rng(0).integers(256, size=(8, 9, 3), dtype=np.uint8)
    assert (
        shown(save(Image.fromarray(stored), "WEBP", icc_profile=icc, lossless=True), "webp") == stored
    ).all()


def test_gamma_of_a_png():
    values = np.arange(0, 256, 5, dtype=np.uint8)

    def at(gamma, *more):
        gama = chunk(b"gAMA", struct.pack(">I", round(gamma * 100_000)))
        return shown(png([values.tobytes()], 8, GREY, *more, gama))[0, :, 0]

    assert np.abs(at(1.0) - 255 * (values / 255) ** (1 / 2.2)).max() <= 0.5
    assert (at(0.45455) == values).all()
    assert (at(1.0, chunk(b"sRGB", b"\0")) == values).all()
    assert (at(0) == values).all()


def inks_profile():
    """An ICC profile that takes inks, none or full, to colours that no formula would, and these in Lab."""
    lab = np.random.default_rng(0).integers(-30, 31, size=(16, 3)) + np.array([50, 0, 0])
    lab[0], lab[15] = (100, 0, 0), 0  # white and black of a profile are fitted to those of sRGB
    entries = np.round(np.stack([lab[:, 0] * 2.55, lab[:, 1] + 128, lab[:, 2] + 128], 1)).astype(np.uint8)
    steps = bytes([4, 3, 2, 0]) + struct.pack(">9i", *(65536 * one for one in (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    table = b"mft1" + bytes(4) + steps + bytes(range(256)) * 4 + entries.tobytes() + bytes(range(256)) * 3
    data = profile(b"CMYK", A2B0=table, wtpt=xyz(0.9642, 1, 0.8249))
    return data[:12] + b"prtr" + data[16:20] + b"Lab " + data[24:], entries / (2.55, 1, 1) - (0, 128, 128)


def srgb_of(lab):
    """Colours in Lab of D50 as sRGB, by the formulas of CIE and Bradford."""
    y = (lab[:, 0] + 16) / 116
    f = np.stack([y + lab[:, 1] / 500, y, y - lab[:, 2] / 200], 1)
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * (0.9642, 1, 0.8249)
    light = (
        xyz @ np.array([[3.1339, -1.6169, -0.4906], [-0.9788, 1.9161, 0.0335], [0.0719, -0.2290, 1.4052]]).T
    )
    return encoded(light.clip(0, 1))


@pytest.mark.parametrize("transform", [0, 2])  # inks as they are, or as brightness and colour
def test_inks_with_a_profile(transform):
    icc, lab = inks_profile()
    for number, true in enumerate(srgb_of(lab)):
        inks = [255 * (number >> bit & 1) for bit in (3, 2, 1, 0)]  # the first one varies slowest
        stored = inks
        if transform:
            red, green, blue = inks[:3]
            luma = 0.299 * red + 0.587 * green + 0.114 * blue
            stored = [luma, 128 + (blue - luma) / 1.772, 128 + (red - luma) / 1.402, 255 - inks[3]]
            stored = [255 - min(255, max(0, round(value))) for value in stored]
        data = save(Image.new("CMYK", (16, 16), tuple(stored)), "JPEG", quality=100, icc_profile=icc)
        place = data.index(b"Adobe") + 11
        data = data[:place] + bytes([transform]) + data[place + 1 :]
        assert np.abs(shown(data, "jpg") - true).max() <= 5, number


# As an encoder with arithmetic coding writes it: 48x32, red 5 x, green 7 y, blue 128.
ARITHMETIC = """
/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAIBAQEBAQIBAQECAgICAgQDAgICAgUEBAMEBgUGBgYFBgYGBwkIBgcJBwYGCAsICQoK
CgoKBggLDAsKDAkKCgr/2wBDAQICAgICAgUDAwUKBwYHCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoK
CgoKCgoKCgr/yQARCAAgADADASIAAhEBAxEB/8wACgAQEAUBEBEF/9oADAMBAAIRAxEAPwD/AO46YK8EJdOhPZjscDfSNXJGqnD/
AHFV4rsADEEaCTmluoHP7hyQnhVyX8mgUEbQACnjN1m1KS5Q9i8HdKAMwbYt/W0Mex20tQiiTwy5h4niLvEXTp5Asd/52pYx1Udd
JsPWMnwJQyXzlpswgyPz7D6c6EtHYPHb1ra9PZkPVP6dyxllOabmg+vKSi7PBKOc9IBRfY83e8jakYdSKFqKnXtsuLiQSNSsZzC+
lXPtCP/Z
"""


def test_jpeg_of_arithmetic_codes():
    y, x = np.mgrid[:32, :48]
    true = np.stack([5 * x, 7 * y, 128 + 0 * x], 2)
    assert np.abs(shown(base64.b64decode(ARITHMETIC), "jpg") - true).max() <= 5


def test_jpeg_of_other_bits_or_channels_is_refused_as_such():
    data = save(Image.new("RGB", (16, 16)), "JPEG")
    start = data.index(b"\xff\xc0")
    deep = data[: start + 1] + b"\xc1" + data[start + 2 : start + 4] + b"\x0c" + data[start + 5 :]
    with pytest.raises(ValueError, match=r"^unsupported image: cannot handle 12-bit layers$"):
        shown(deep, "jpg")
    two = data[: start + 9] + b"\2" + data[start + 10 :]
    with pytest.raises(ValueError, match=r"^unsupported image: cannot handle 2-layer images$"):
        shown(two, "jpg")


@pytest.mark.parametrize("progressive", [False, True])
def test_truncated_jpeg_is_refused(progressive):
    pixels = np.random.default_rng(0).integers(256, size=(48, 64, 3), dtype=np.uint8)
    data = save(Image.fromarray(pixels), "JPEG", progressive=progressive, quality=90)
    for length in (*range(2, len(data), 97), len(data) - 2):
        with pytest.raises(ValueError, match=r"JPEG or WebP image|damaged or truncated image: "):
            shown(data[:length], "jpg")


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_only_exif_turns_pictures_as_in_browsers(kind):
    stored = np.zeros((24, 48, 3), np.uint8)
    text = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r:Description tiff:Orientation="6"/></x:xmpmeta>'
    data = save(Image.fromarray(stored), kind, xmp=text)
    assert shown(data, "jpg").shape == stored.shape


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
@pytest.mark.parametrize("mark", [b"", b"Exif\0\0"])
def test_exif_in_either_order_of_bytes_with_its_mark_or_without(kind, order, mark):
    if kind == "JPEG" and not mark:
        return  # then it is no EXIF
    stored = np.zeros((24, 48, 3), np.uint8)
    stored[:12, :16], stored[12:, 32:] = (255, 0, 0), (0, 0, 255)
    entry = struct.pack(f"{order}HHIHH", 0x0112, 3, 1, 6, 0)
    exif = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HIH", 42, 8, 1) + entry + bytes(4)
    data = save(Image.fromarray(stored), kind, exif=mark + exif, quality=100, lossless=True)
    assert np.abs(shown(data, "jpg").astype(int) - as_shown(stored, 6)).mean() < 3


def riff(kind, content):
    return kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def test_first_frame_of_an_animated_webp_that_covers_a_part():
    frame = np.random.default_rng(0).integers(256, size=(3, 5, 4), dtype=np.uint8)
    still = save(Image.fromarray(frame), "WEBP", lossless=True, exact=True)
    pixels = still[still.index(b"VP8L") :]
    size = [(value).to_bytes(3, "little") for value in (11, 7, 1, 1, 4, 2, 100)]
    head = bytes([0x12, 0, 0, 0]) + size[0] + size[1]  # animated, with alpha
    for flags in range(4):  # how it is blended, and what is left of it
        anmf = riff(b"ANMF", b"".join(size[2:]) + bytes([flags]) + pixels)
        ground = riff(b"ANIM", b"\0\xff\0\xff\0\0")  # of green, which programs need not show
        body = b"WEBP" + riff(b"VP8X", head) + ground + anmf * 2
        true = np.full((8, 12, 3), 255.0)
        true[2:5, 2:7] = on_white(frame[..., :3], frame[..., 3])
        assert np.abs(shown(b"RIFF" + struct.pack("<I", len(body)) + body, "webp") - true).max() <= 1


def test_webp_with_alpha_and_a_profile():
    rgba = np.random.default_rng(0).integers(256, size=(8, 9, 4), dtype=np.uint8)
    data = save(Image.fromarray(rgba), "WEBP", lossless=True, exact=True, icc_profile=swapped())
    assert np.abs(shown(data, "webp") - on_white(rgba[..., [1, 0, 2]], rgba[..., 3])).max() <= 1


def test_first_frame_of_an_animation_and_not_the_picture_for_those_that_show_none():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "lime", "blue")]
    for default, colour in ((False, (255, 0, 0)), (True, (0, 255, 0))):
        data = save(frames[0], "PNG", save_all=True, append_images=frames[1:], default_image=default)
        assert (shown(data) == colour).all()


def test_names_do_not_count():
    stored = np.random.default_rng(0).integers(256, size=(8, 9, 3), dtype=np.uint8)
    for kind in KINDS.values():
        data = save(Image.fromarray(stored), kind, lossless=True)
        pixels = [shown(data, suffix) for suffix in KINDS]
        assert all((one == pixels[0]).all() for one in pixels)


OTHERS = {
    "GIF": lambda: save(Image.new("P", (4, 4)), "GIF"),
    "BMP": lambda: save(Image.new("RGB", (4, 4)), "BMP"),
    "TIFF": lambda: save(Image.new("RGB", (4, 4)), "TIFF"),
    "AVIF": lambda: save(Image.new("RGB", (16, 16)), "AVIF"),
    "JPEG 2000": lambda: save(Image.new("RGB", (16, 16)), "JPEG2000"),
    "HEIC": lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99),
    "MP4": lambda: b"\0\0\0\x18ftypisom\0\0\0\0isomavc1" + bytes(99),
    "SVG": lambda: b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>',
    "HTML": lambda: b"\n<!DOCTYPE html><html>404</html>",
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_kinds_are_named(kind):
    data = OTHERS[kind]()
    assert kind_of(data[:512]) == kind
    with pytest.raises(ValueError, match=kind) as caught:
        decode_image(data, "jpg", None)
    assert reason_of(caught.value) == f"{kind} file, no PNG, JPEG or WebP"


def test_suffixes_are_kept_unless_they_are_of_another_kind():
    data = {suffix: save(Image.new("RGB", (4, 4)), kind) for suffix, kind in KINDS.items()}
    assert {suffix_of(one, suffix) for suffix, one in data.items()} == set(KINDS)
    assert suffix_of(data["jpg"], "jpeg") == "jpeg"
    assert suffix_of(data["png"], "jpg") == suffix_of(data["png"], "") == "png"
    assert suffix_of(data["webp"], "mp4") == "webp"
    assert (
        suffix_of(b"\x1a\x45\xdf\xa3\x9fB\x86\x81\1B\xf7\x81\1B\xf2\x81\4B\xf3\x81\x08B\x82\x84webm", "mp4")
        == "webm"
    )
    assert suffix_of(OTHERS["MP4"](), "mov") == "mov"
    assert suffix_of(OTHERS["MP4"](), "jpg") == "mp4"
    assert suffix_of(OTHERS["GIF"](), "jpg") == suffix_of(b"", "jpg") == ""


def test_canvas_of_a_webp_is_measured_before_it_is_made():
    """Pillow looks at its size first, and by a limit of its own."""
    frames = [Image.new("RGB", (32, 24), colour) for colour in ("red", "blue")]
    file = BytesIO()
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:])
    data = bytearray(file.getvalue())
    canvas = data.index(b"VP8X") + 12
    data[canvas : canvas + 6] = 2 * (16_383).to_bytes(3, "little")
    with pytest.raises(ValueError, match="empty or too large"):
        decode_image(bytes(data), "webp", None)
