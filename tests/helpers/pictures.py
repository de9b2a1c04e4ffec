"""Picture files, built byte by byte, and what a viewer shows of them."""

import io
import struct
import zlib

import numpy as np
from PIL import ImageCms

from lightning_mav.data.codecs.decode import decode_image

GREY, COLOUR, PALETTE, GREY_ALPHA, COLOUR_ALPHA = 0, 2, 3, 4, 6


def shown(data, suffix="png"):
    """The pixels of a file, ``(H, W, 3)``."""
    return decode_image(data, suffix, None).movedim(0, -1).numpy()


def save(image, kind, **kwargs):
    data = io.BytesIO()
    image.save(data, kind, **kwargs)
    return data.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(rows, depth, colour, *chunks, width=None):
    """A PNG of rows of bytes as they are stored."""
    size = width or len(rows[0]) * 8 // (depth * {GREY: 1, COLOUR: 3, PALETTE: 1}.get(colour, colour - 2))
    head = struct.pack(">IIBBBBB", size, len(rows), depth, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))
    parts = (chunk(b"IHDR", head), *chunks, chunk(b"IDAT", pixels), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def words(*values):
    """Samples of 16 bits."""
    return struct.pack(f">{len(values)}H", *values)


def on_white(colours, alpha):
    """What alpha means: a share of the colour, and the rest white."""
    return 255 + (np.asarray(colours, float) - 255) * np.asarray(alpha, float)[..., None] / 255


def profile(space, **tags):
    """An ICC profile of the given tags."""
    parts, table, at = b"", struct.pack(">I", len(tags)), 132 + 12 * len(tags)
    for name, value in tags.items():
        table += struct.pack(">4sII", name.encode(), at + len(parts), len(value))
        parts += value + bytes(-len(value) % 4)
    head = (
        struct.pack(">II", at + len(parts), 0) + bytes([2, 64, 0, 0]) + b"mntr" + space + b"XYZ " + bytes(12)
    )
    head += b"acsp" + bytes(24) + struct.pack(">4xiii", 0xF6D6, 0x10000, 0xD32D)
    return head.ljust(128, b"\0") + table + parts


def xyz(*values):
    return b"XYZ \0\0\0\0" + struct.pack(">iii", *(round(value * 65536) for value in values))


def curve(gamma):
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))


def swapped():
    """A profile of sRGB with red and green exchanged."""
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return data.replace(b"rXYZ", b"----").replace(b"gXYZ", b"rXYZ").replace(b"----", b"gXYZ")


def encoded(light):
    """How sRGB writes linear light."""
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
