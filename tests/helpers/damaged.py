"""Small videos and pictures, whole, damaged and hostile."""

import io
import struct
from fractions import Fraction

import av
import numpy as np
from PIL import Image

SIZE = (48, 64)
X265 = {"preset": "ultrafast", "x265-params": "log-level=none:bframes=3"}
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
VP9 = {"cpu-used": "8", "lag-in-frames": "16", "auto-alt-ref": "1"}


def moving(num_frames=60, size=SIZE, grey=False):
    """Frames ``(H, W, 3)`` of a pattern that moves, with grain, so that no two are alike."""
    rng = np.random.default_rng(0)
    ground = np.kron(rng.integers(0, 256, (40, 40, 1 if grey else 3)), np.ones((6, 6, 3 if grey else 1)))
    for k in range(num_frames):
        part = ground[k : k + size[0], 2 * k : 2 * k + size[1]]
        yield (part + rng.integers(-4, 5, part.shape)).clip(0, 255).astype(np.uint8)


def encode(
    suffix="mp4",
    codec="libx264",
    *,
    gop=30,
    pix_fmt="yuv420p",
    options=(),
    pts=None,
    setup=None,
    muxing=(),
    **kwargs,
):
    """A video with B-frames; ``pts`` are in milliseconds."""
    data, frames = io.BytesIO(), list(moving(**kwargs))
    name = "matroska" if suffix == "mkv" else suffix
    with av.open(data, "w", format=name, options=dict(muxing)) as container:
        # x264's code for AVX512 reads memory that it has not written: one video in ten is another.
        plain = {"x264-params": "no-asm=1"} if codec == "libx264" else {}
        stream = container.add_stream(codec, rate=30, options=plain | dict(options))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.gop_size = pix_fmt, gop
        stream.codec_context.thread_count = 1
        if pts is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if setup:
            setup(stream)
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = index, Fraction(1, 30)
            if pts is not None:
                frame.pts, frame.time_base = pts[index], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return data.getvalue()


def audio():
    data = io.BytesIO()
    with av.open(data, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return data.getvalue()


def flip(data, num=30, start=2000):
    data = bytearray(data)
    for place in np.random.default_rng(1).integers(start, 2 * len(data) // 3, num):
        data[place] ^= 255
    return bytes(data)


def gif():
    data = io.BytesIO()
    Image.new("RGB", (8, 8)).save(data, "GIF")
    return data.getvalue()


def patch(data, place, layout, *values):
    data = bytearray(data)
    struct.pack_into(layout, data, place, *values)
    return bytes(data)


def bomb(num_samples):
    """An index of 20 MB or more for a few bytes."""
    data = encode(num_frames=40)
    data = patch(data, data.index(b"stsz") + 8, ">II", 1, num_samples)
    return patch(data, data.index(b"stsc") + 8, ">IIII", 1, 1, num_samples, 1)


def large(width, height):
    data = encode(num_frames=3)
    return patch(data, data.index(b"avc1", data.index(b"stsd")) + 28, ">HH", width, height)


def external(path):
    """A video whose frames are said to lie in another file."""
    data = bytearray(encode())
    name = str(path).encode()
    name += b"\0" * (len(name) % 2)
    body = b"\0\0\0\0" + bytes(150) + struct.pack(">HH", 2, len(name)) + name + b"\xff\xff\0\0"
    entry = struct.pack(">I", 8 + len(body)) + b"alis" + body  # codespell:ignore
    place = data.index(b"url ", data.index(b"dref")) - 4
    (size,) = struct.unpack_from(">I", data, place)
    data[place : place + size] = entry
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        at = data.index(kind) - 4
        struct.pack_into(">I", data, at, struct.unpack_from(">I", data, at)[0] + len(entry) - size)
    return bytes(data)


def picture(kind, **kwargs):
    data = io.BytesIO()
    image = Image.fromarray(next(moving()))
    image.save(data, kind, **kwargs)
    return data.getvalue()


def large_image(size):
    data = picture("JPEG")
    return patch(data, data.index(b"\xff\xc0") + 5, ">HH", size, size)
