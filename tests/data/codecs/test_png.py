"""PNG files by their specification: all bits count, and chunks count where they may stand."""

import io
import struct
import zlib

import av
import numpy as np
import pytest
from PIL import Image

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
from lightning_mav.data.codecs import png as module
from lightning_mav.data.codecs.png import MAX_PROFILE_BYTES
from lightning_mav.utils.errors import reason_of

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
CHANNELS = {GREY: 1, COLOUR: 3, PALETTE: 1, GREY_ALPHA: 2, COLOUR_ALPHA: 4}


def packed(values, depth):
    """Rows of samples ``(H, W, C)`` as they are stored, without a filter."""
    rows = b""
    for row in values.reshape(len(values), -1):
        bits = "".join(f"{value:0{depth}b}" for value in row)
        bits = bits.ljust(-(-len(bits) // 8) * 8, "0")
        rows += b"\0" + int(bits, 2).to_bytes(len(bits) // 8, "big")
    return rows


def interlaced(values, depth, colour, *chunks):
    """A PNG of samples ``(H, W, C)`` in the seven passes of Adam7."""
    parts = [values[y::dy, x::dx] for x, y, dx, dy in PASSES]
    pixels = b"".join(packed(part, depth) for part in parts if part.size)
    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], depth, colour, 0, 0, 1)
    body = (chunk(b"IHDR", head), *chunks, chunk(b"IDAT", zlib.compress(pixels)), chunk(b"IEND", b""))
    return SIGNATURE + b"".join(body)


def deep(values, colour, *chunks):
    return png([row.astype(">u2").tobytes() for row in values], 16, colour, *chunks, width=values.shape[1])


def rounded(values):
    return np.round(values.astype(float) * 255 / 65535)


@pytest.mark.parametrize("colour", [GREY, COLOUR, GREY_ALPHA, COLOUR_ALPHA])
@pytest.mark.parametrize("is_interlaced", [False, True])
def test_16_bits_of_all_kinds_are_rounded(colour, is_interlaced):
    values = np.random.default_rng(colour).integers(65536, size=(37, 23, CHANNELS[colour]))
    got = shown(interlaced(values, 16, colour) if is_interlaced else deep(values, colour))
    colours = rounded(values[..., :3] if colour & 2 else values[..., :1].repeat(3, 2))
    if colour & 4:
        assert np.abs(got - on_white(colours, rounded(values[..., -1]))).max() <= 1
        values[..., -1] = 65535
        got = shown(deep(values, colour))
    assert (got == colours).all()


@pytest.mark.parametrize("colour", [COLOUR, COLOUR_ALPHA])
def test_ffmpeg_reads_the_same_16_bits(colour):
    rng = np.random.default_rng(0)
    values = rng.integers(65536, size=(19, 31, CHANNELS[colour]))
    values[..., 3:] = 65535
    data = deep(values, colour)
    with av.open(io.BytesIO(data), format="png_pipe") as container:
        frame = next(container.decode(video=0)).to_ndarray()
    assert (shown(data) == rounded(frame[..., :3])).all()


def test_a_transparent_colour_of_16_bits_is_compared_whole():
    values = np.array([[[300, 40000, 5], [301, 40000, 5], [300, 40001, 5], [300, 40000, 6]]])
    got = shown(deep(values, COLOUR, chunk(b"tRNS", words(300, 40000, 5))))
    assert (got[0, 0] == 255).all()
    assert (got[0, 1:] == rounded(values[0, 1:])).all()


def gamma_chunk(gamma):
    return chunk(b"gAMA", struct.pack(">I", round(gamma * 100_000)))


@pytest.mark.parametrize("colour", [GREY, COLOUR, GREY_ALPHA, COLOUR_ALPHA])
@pytest.mark.parametrize("gamma", [1.0, 0.5, 1.8])
def test_gamma_counts_before_16_bits_are_rounded(colour, gamma):
    dark = np.arange(0, 3000, 11)
    values = np.concatenate([dark, np.arange(3000, 65536, 401)])[None, :, None].repeat(CHANNELS[colour], 2)
    if colour & 4:
        values[..., -1] = 65535
    true = (255 * (values[..., :1] / 65535) ** (1 / (2.2 * gamma))).round()
    assert (shown(deep(values, colour, gamma_chunk(gamma))) == true).all()


@pytest.mark.parametrize("colour", [GREY, COLOUR, COLOUR_ALPHA])
def test_profiles_count_before_16_bits_are_rounded(colour):
    light = np.random.default_rng(0).integers(0, 65536, size=(8, 50, CHANNELS[colour])) ** 2 // 65536
    primaries = {"rXYZ": xyz(0.4361, 0.2225, 0.0139), "gXYZ": xyz(0.3851, 0.7169, 0.0971)}
    primaries |= {"bXYZ": xyz(0.1431, 0.0606, 0.7141), "wtpt": xyz(0.9642, 1, 0.8249)}
    linear = profile(b"RGB ", **primaries, **{f"{name}TRC": curve(1) for name in "rgb"})
    if colour == GREY:
        linear = profile(b"GRAY", wtpt=xyz(0.9642, 1, 0.8249), kTRC=curve(1))
    if colour == COLOUR_ALPHA:
        light[..., 3] = 65535
    got = shown(deep(light, colour, chunk(b"iCCP", b"linear\0\0" + zlib.compress(linear))))
    difference = np.abs(got - encoded(light[..., :3] / 65535))
    assert difference.max() <= 2.5
    assert difference.mean() <= 0.4


def test_large_pictures_of_16_bits_are_converted_whole():
    values = np.random.default_rng(0).integers(65536, size=(700, 900, 3))
    assert (shown(deep(values, COLOUR)) == rounded(values)).all()


LINEAR = gamma_chunk(1.0)
SWAPPED = chunk(b"iCCP", b"swapped\0\0" + zlib.compress(swapped()))
CHROMATICITY = struct.pack(">8I", 31270, 32900, 64000, 33000, 15000, 6000, 30000, 60000)
MEANINGS = {
    "gAMA": LINEAR,
    "iCCP": SWAPPED,
    "sRGB": chunk(b"sRGB", b"\0"),
    "cHRM": chunk(b"cHRM", CHROMATICITY),
    "cICP": chunk(b"cICP", bytes([1, 13, 0, 1])),
    "sBIT": chunk(b"sBIT", bytes([5, 5, 5])),
    "mDCV": chunk(b"mDCV", bytes(24)),
    "cLLI": chunk(b"cLLI", bytes(8)),
}


def behind_pixels(data, *chunks):
    return data[:-12] + b"".join(chunks) + data[-12:]


@pytest.mark.parametrize("name", MEANINGS)
@pytest.mark.parametrize("depth", [8, 16])
def test_what_colours_mean_is_said_before_pixels_and_palette_or_does_not_count(name, depth):
    row = [200, 100, 50, 20, 10, 5]
    rows = [row if depth == 8 else words(*(257 * value for value in row))]
    late, plain = MEANINGS[name], png(rows, depth, COLOUR)
    assert (shown(behind_pixels(plain, late)) == np.array(row).reshape(1, 2, 3)).all()
    suggested = chunk(b"PLTE", bytes(6))
    assert (shown(png(rows, depth, COLOUR, suggested, late)) == shown(plain)).all()
    # Nor does it change what was said at the right place.
    said = png(rows, depth, COLOUR, LINEAR)
    assert (shown(behind_pixels(said, late)) == shown(said)).all()
    assert (shown(said) != shown(plain)).any()


@pytest.mark.parametrize("name", MEANINGS)
def test_the_palette_comes_behind_what_its_colours_mean(name):
    palette, late = chunk(b"PLTE", bytes([200, 100, 50])), MEANINGS[name]
    assert (shown(png([b"\0"], 8, PALETTE, palette, late)) == (200, 100, 50)).all()
    assert (shown(behind_pixels(png([b"\0"], 8, PALETTE, palette), late)) == (200, 100, 50)).all()
    true = {"gAMA": (255 * (np.array([200, 100, 50]) / 255) ** (1 / 2.2)).round(), "iCCP": (100, 200, 50)}
    got = shown(png([b"\0"], 8, PALETTE, late, palette)).astype(int)
    assert np.abs(got - true.get(name, (200, 100, 50))).max() <= 1


def test_the_first_of_two_counts():
    row = [200, 100, 50]
    two = png([row], 8, COLOUR, LINEAR, gamma_chunk(0.45455))
    assert (shown(two) == shown(png([row], 8, COLOUR, LINEAR))).all()
    assert (shown(png([row], 8, COLOUR, gamma_chunk(0.45455), LINEAR)) == row).all()


@pytest.mark.parametrize("name", ["gAMA", "iCCP"])
def test_cicp_of_srgb_comes_before_all_others(name):
    row = [200, 100, 50]
    assert (shown(png([row], 8, COLOUR, MEANINGS[name], MEANINGS["cICP"])) == row).all()


def test_transparency_behind_the_pixels_does_not_count():
    row, key = [10, 20, 30, 40, 50, 60], chunk(b"tRNS", words(10, 20, 30))
    assert (shown(behind_pixels(png([row], 8, COLOUR), key)) == np.array(row).reshape(1, 2, 3)).all()
    palette, alphas = chunk(b"PLTE", bytes(row)), chunk(b"tRNS", b"\0")
    assert (shown(png([b"\0\1"], 8, PALETTE, palette, alphas))[0, 0] == 255).all()
    for data in (
        behind_pixels(png([b"\0\1"], 8, PALETTE, palette), alphas),
        png([b"\0\1"], 8, PALETTE, alphas, palette),
    ):
        assert (shown(data) == np.array(row).reshape(1, 2, 3)).all()


@pytest.mark.parametrize("kind", [b"gAMA", b"iCCP", b"cHRM"])
def test_bad_checksums_are_noticed(kind):
    damaged = bytearray(MEANINGS[kind.decode()])
    damaged[-1] ^= 1
    with pytest.raises(ValueError, match=f"damaged or truncated image: bad checksum in '{kind.decode()}'"):
        shown(png([[1, 2, 3]], 8, COLOUR, bytes(damaged)))


def packed_profile(data):
    return chunk(b"iCCP", b"name\0\0" + zlib.compress(data))


def longer(num_bytes):
    """A profile of that size, whose header says so."""
    data = swapped()
    data += np.random.default_rng(0).bytes(num_bytes - len(data))
    return struct.pack(">I", len(data)) + data[4:]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("num_bytes", [2**20 + 1, 2_500_000, MAX_PROFILE_BYTES])
def test_large_profiles_are_applied(kind, num_bytes):
    image = Image.new("RGB", (16, 16), (200, 100, 50))
    data = save(image, kind, icc_profile=longer(num_bytes), quality=100, lossless=True)
    assert np.abs(shown(data).astype(int) - (100, 200, 50)).max() <= 3


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_larger_ones_are_refused(kind):
    icc = longer(MAX_PROFILE_BYTES + 1)
    data = save(Image.new("RGB", (16, 16)), kind, icc_profile=icc, lossless=True)
    with pytest.raises(ValueError, match=r"^profile too large: .* more than 4194304 bytes$") as caught:
        shown(data)
    assert reason_of(caught.value) == "profile too large"


def test_a_profile_that_unpacks_to_gigabytes_takes_no_memory(monkeypatch):
    packer = zlib.compressobj(9)
    bomb = b"".join(packer.compress(bytes(2**20)) for _ in range(512)) + packer.flush()
    unpacked, unpacker = [], zlib.decompressobj

    class Counted:
        def __init__(self):
            self.real = unpacker()

        def decompress(self, *args):
            unpacked.append(self.real.decompress(*args))
            return unpacked[-1]

        @property
        def eof(self):
            return self.real.eof

    monkeypatch.setattr(module.zlib, "decompressobj", Counted)
    with pytest.raises(ValueError, match=r"^profile too large"):
        shown(png([[1, 2, 3]], 8, COLOUR, chunk(b"iCCP", b"name\0\0" + bomb)))
    assert sum(map(len, unpacked)) == MAX_PROFILE_BYTES + 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"name",
        b"name\0",
        b"name\0\1" + zlib.compress(swapped()),
        b"name\0\0" + zlib.compress(swapped())[:-30],
        b"name\0\0no zlib",
    ],
)
def test_damaged_profiles_are_left_alone_and_gamma_counts_instead(content):
    row, bad = [200, 100, 50], chunk(b"iCCP", content)
    assert (shown(png([row], 8, COLOUR, bad)) == row).all()
    assert (shown(png([row], 8, COLOUR, bad, LINEAR)) == shown(png([row], 8, COLOUR, LINEAR))).all()


def test_very_many_chunks_are_refused():
    many = chunk(b"abCd", b"") * (module.MAX_CHUNKS + 1)
    with pytest.raises(ValueError, match="damaged or truncated image: more than 1048576 chunks"):
        shown(png([[1, 2, 3]], 8, COLOUR, many))


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (9, 17)])
def test_interlaced_grey_of_any_depth(depth, keyed, size):
    values = np.random.default_rng(depth).integers(2**depth, size=(*size, 1))
    key = int(values[0, 0, 0])
    got = shown(interlaced(values, depth, GREY, *[chunk(b"tRNS", words(key))] * keyed))
    true = np.round(values * 255 / (2**depth - 1))
    assert (got == np.where(keyed & (values == key), 255, true)).all()


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_interlaced_palettes_with_alpha_of_the_first_colours(depth):
    rng = np.random.default_rng(depth)
    indices = rng.integers(2**depth, size=(9, 17, 1))
    palette = rng.integers(256, size=(2**depth, 3), dtype=np.uint8)
    alphas = np.full(2**depth, 255)
    alphas[: 2 ** (depth - 1)] = rng.integers(256, size=2 ** (depth - 1))
    chunks = chunk(b"PLTE", palette.tobytes()), chunk(b"tRNS", bytes(alphas[: 2 ** (depth - 1)].tolist()))
    got = shown(interlaced(indices, depth, PALETTE, *chunks))
    assert np.abs(got - on_white(palette[indices[..., 0]], alphas[indices[..., 0]])).max() <= 1


def control(number, width, height, x=0, y=0, disposal=0, blend=0):
    return chunk(b"fcTL", struct.pack(">5I2H2B", number, width, height, x, y, 1, 10, disposal, blend))


def pixels_of(values, depth=8):
    return zlib.compress(packed(values, depth))


@pytest.mark.parametrize("blend", [0, 1])
@pytest.mark.parametrize("disposal", [0, 1, 2])
@pytest.mark.parametrize("depth", [8, 16])
def test_first_frame_of_an_animation_that_is_not_the_picture_for_other_programs(disposal, blend, depth):
    scale = 257 if depth == 16 else 1
    default = np.full((6, 8, 4), 255 * scale)
    frame = np.random.default_rng(0).integers(255 * scale + 1, size=(3, 5, 4))
    packed_frame = pixels_of(frame, depth)
    half = len(packed_frame) // 2
    body = (
        chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 6, depth, COLOUR_ALPHA, 0, 0, 0)),
        chunk(b"acTL", struct.pack(">II", 2, 0)),
        chunk(b"IDAT", pixels_of(default, depth)),
        control(0, 5, 3, 2, 1, disposal, blend),
        chunk(b"fdAT", struct.pack(">I", 1) + packed_frame[:half]),
        chunk(b"fdAT", struct.pack(">I", 2) + packed_frame[half:]),
        control(3, 8, 6),
        chunk(b"fdAT", struct.pack(">I", 4) + pixels_of(default, depth)),
        chunk(b"IEND", b""),
    )
    true = np.full((6, 8, 3), 255.0)  # what no frame covers is transparent
    share = np.round(frame / scale) if depth == 16 else frame
    true[1:4, 2:7] = on_white(share[..., :3], share[..., 3])
    assert np.abs(shown(SIGNATURE + b"".join(body)) - true).max() <= 1


def test_first_frame_that_is_the_picture_is_not_touched_by_later_ones():
    frames = [Image.new("RGBA", (8, 6), (value, 0, 0, 255)) for value in (10, 100, 200)]
    for disposal in (0, 1, 2):
        data = save(frames[0], "PNG", save_all=True, append_images=frames[1:], disposal=disposal, blend=1)
        assert (shown(data) == (10, 0, 0)).all()


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ([control(0, 9, 6)], "not within the picture"),
        ([control(0, 8, 6, 1)], "not within the picture"),
        ([chunk(b"fcTL", b"short")], "damaged control"),
        ([control(0, 8, 6), chunk(b"fdAT", struct.pack(">I", 2) + b"..")], "wrong order"),
        ([control(0, 8, 6)], "damaged or truncated image: "),
        ([control(0, 0, 6), chunk(b"fdAT", struct.pack(">I", 1))], "a frame that is empty"),
    ],
)
def test_damaged_animations_are_refused(parts, problem):
    plain = save(Image.new("RGB", (8, 6)), "PNG")
    data = plain[:33] + chunk(b"acTL", struct.pack(">II", 1, 0)) + plain[33:]
    assert (shown(data) == 0).all()  # no frame, no animation
    with pytest.raises(ValueError, match=problem) as caught:
        shown(behind_pixels(data, *parts))
    assert reason_of(caught.value) == "damaged or truncated image"


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (2**31, 1), (65536, 65536)])
def test_empty_and_huge_pictures_are_refused_by_the_header(size):
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, COLOUR, 0, 0, 0))
    data = SIGNATURE + head + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    with pytest.raises(ValueError, match=f"^empty or too large: a picture of {size[0]}x{size[1]} pixels$"):
        shown(data)
