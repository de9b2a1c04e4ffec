"""Reads PNG files by their specification where Pillow deviates from it.

Pillow accepts colour chunks at any place, limits the size of a profile as it does that of a text, draws the
first frame of an animation over the still picture, and truncates 16 bits to 8.
"""

import struct
import zlib
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image

MAX_CHUNKS = 2**20  # of a file; 256 MB of pixels usually take 2**15
MAX_PROFILE_BYTES = 2**22  # of an ICC profile; those of printing presses take two million
COLOURS = (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"sBIT", b"mDCV", b"cLLI")
ANIMATION = (b"acTL", b"fcTL", b"fdAT")
TEXTS = (b"tEXt", b"zTXt", b"iTXt")  # notes of editors and generators, sometimes megabytes
EXIF_TEXT = b"Raw profile type exif\0"  # where ImageMagick keeps EXIF, which may turn the picture
SRGB = bytes([1, 13, 0, 1])  # in cICP: primaries of BT.709, the curve of sRGB, RGB of full range
PALETTE = 3  # colour type of the header
# Pillow's raw mode that keeps the high byte of each 16-bit sample, and the one that keeps the low byte.
LOW_BYTES = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L"}

Chunk = tuple[bytes, int, int]  # kind, start and end in the file, including length and checksum


@dataclass(frozen=True)
class Still:
    """The picture of a PNG file, or the first of its animation.

    Args:
        data: A PNG file of this picture alone, without colour chunks.
        bits: Bits of a sample.
        size: Width and height of what is shown.
        corner: Left and upper edge of the picture within ``size``; the area around it is transparent.
        profile: Its ICC profile; one that is too large is cut to ``MAX_PROFILE_BYTES + 1`` bytes.
        gamma: Exponent of its samples; None if they are sRGB or the file gives none.
    """

    data: bytes
    bits: int
    size: tuple[int, int]
    corner: tuple[int, int] = (0, 0)
    profile: bytes | None = None
    gamma: float | None = None


def read_still(data: bytes) -> Still:
    """Reads the parts of a PNG file that are valid by the specification.

    A colour chunk is valid if it is the first of its kind and stands before the palette and the pixels; a
    transparency chunk, if it is the first and stands before the pixels and behind the palette.

    Raises:
        ValueError: If one of these parts is damaged.
    """
    chunks = _chunks(data)
    kinds = [kind for kind, _, _ in chunks]
    head = _content(data, chunks[0]) if kinds[:1] == [b"IHDR"] else b""
    if len(head) != 13:
        raise ValueError("a PNG begins with a header of 13 bytes")
    pixels, palette, key = (_first(kinds, kind) for kind in (b"IDAT", b"PLTE", b"tRNS"))
    if pixels == len(kinds):
        raise ValueError("it has no pixels")
    if key > pixels or (head[9] == PALETTE and key < palette):
        key = len(kinds)
    colours = dict[bytes, bytes]()
    for chunk in chunks[: min(pixels, palette)]:
        if chunk[0] in COLOURS and chunk[0] not in colours:
            colours[chunk[0]] = _content(data, chunk)
    size = corner = (0, 0)
    kept, frame = list[bytes](), _frame(data, chunks, kinds, pixels)
    for number, (kind, start, end) in enumerate(chunks):
        if kind in TEXTS:
            counts = data[start + 8 : start + 8 + len(EXIF_TEXT)] == EXIF_TEXT
        elif kind == b"tRNS":
            counts = number == key
        else:
            counts = kind not in (*COLOURS, *ANIMATION) and not (kind == b"IDAT" and frame)
        if number == pixels and frame:
            kept.append(_chunk(b"IDAT", frame[1]))
        if counts:
            kept.append(data[start:end])
    size, corner = struct.unpack(">II", head[:8]), (0, 0)
    if frame:
        place, corner = struct.unpack(">II", frame[0][:8]), struct.unpack(">II", frame[0][8:])
        if 0 in place or corner[0] + place[0] > size[0] or corner[1] + place[1] > size[1]:
            raise ValueError("a frame that is empty, or not within the picture")
        kept[0] = _chunk(b"IHDR", frame[0][:8] + head[8:])
    return Still(data[:8] + b"".join(kept), head[8], size, corner, *_meaning(colours))


def samples(still: Still) -> np.ndarray:
    """Returns the full samples of a 16-bit picture, ``(H, W, C)``; with 2 or 4 channels, the last is alpha.

    Raises whatever Pillow's reader does.
    """
    high = Image.open(BytesIO(still.data), formats=["PNG"])
    (tile,) = high.tile
    if tile.args == "LA;16B":  # two 16-bit channels take as many bits as four 8-bit ones
        high.tile = [tile._replace(args="RGBA")]
        return np.ascontiguousarray(high).view(">u2").astype(np.uint16)
    if tile.args not in LOW_BYTES:
        return np.asarray(high).astype(np.uint16)[..., None]
    values = np.asarray(high).astype(np.uint16)
    values <<= 8
    high.close()
    low = Image.open(BytesIO(still.data), formats=["PNG"])
    low.tile = [tile._replace(args=LOW_BYTES[str(tile.args)])]
    values |= np.asarray(low)
    return values


def _chunks(data: bytes) -> list[Chunk]:
    """Lists the chunks of a file up to its end; the last one may be cut off."""
    chunks, start = list[Chunk](), 8
    while start + 8 <= len(data):
        kind, end = data[start + 4 : start + 8], start + 12 + int.from_bytes(data[start : start + 4])
        if kind in TEXTS and end > len(data):
            break  # all pixels are there
        chunks.append((kind, start, min(end, len(data))))
        if len(chunks) > MAX_CHUNKS:
            raise ValueError(f"more than {MAX_CHUNKS} chunks")
        if kind == b"IEND":
            break
        start = end
    return chunks


def _first(kinds: list[bytes], kind: bytes) -> int:
    """Returns the index of the first chunk of a kind; the number of chunks if there is none."""
    return kinds.index(kind) if kind in kinds else len(kinds)


def _content(data: bytes, chunk: Chunk) -> bytes:
    kind, start, end = chunk
    content = data[start + 8 : end - 4]
    if end - start != 12 + int.from_bytes(data[start : start + 4]):
        raise ValueError(f"the file ends in {kind.decode('latin-1')!r}")
    if zlib.crc32(kind + content) != int.from_bytes(data[end - 4 : end]):
        raise ValueError(f"bad checksum in {kind.decode('latin-1')!r}")
    return content


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _frame(data: bytes, chunks: list[Chunk], kinds: list[bytes], pixels: int) -> tuple[bytes, bytes] | None:
    """Returns the first frame of an animation, if it is not the still picture itself.

    Returns:
        Its width, height, left and upper edge, in four bytes each, and its compressed pixels; None if there
        is no such frame.
    """
    control = _first(kinds, b"fcTL")
    if _first(kinds, b"acTL") > pixels or not pixels < control < len(kinds):
        return None
    place, parts = _content(data, chunks[control]), list[bytes]()
    if len(place) != 26:
        raise ValueError("damaged control of a frame")
    for chunk in chunks[control + 1 :]:
        if chunk[0] == b"fcTL":
            break
        if chunk[0] == b"fdAT":
            content = _content(data, chunk)
            if content[:4] != struct.pack(">I", len(parts) + 1):
                raise ValueError("parts of a frame in wrong order")
            parts.append(content[4:])
    return place[4:20], b"".join(parts)


def _meaning(colours: dict[bytes, bytes]) -> tuple[bytes | None, float | None]:
    """Returns the valid ICC profile or gamma; neither if the pixels are sRGB."""
    if colours.get(b"cICP") == SRGB:
        return None, None
    _, _, packed = colours.get(b"iCCP", b"").partition(b"\0")
    unpacker, profile = zlib.decompressobj(), b""
    with suppress(zlib.error):  # viewers ignore damaged profiles
        profile = unpacker.decompress(packed[1:], MAX_PROFILE_BYTES + 1) if packed[:1] == b"\0" else b""
    gamma = colours.get(b"gAMA", b"")
    if profile and (unpacker.eof or len(profile) > MAX_PROFILE_BYTES):
        return profile, None
    return None, int.from_bytes(gamma) / 100_000 if len(gamma) == 4 and b"sRGB" not in colours else None
