"""Small files as people have them: odd sizes, lengths, containers and turns, and damage."""

import io
from fractions import Fraction

import av
import numpy as np
import torch
from PIL import Image

from lightning_mav.data.codecs.encode import encode_mp4

from .coded import X265, encode, moving

X264 = {"x264-params": "threads=1:log-level=none"}
SIZE = (18, 32)


def write_odd_videos(folder):
    """Writes videos that can be read; returns number of frames, size as shown and path of each, by name."""
    h264 = {"options": X264, "num_frames": 5, "size": SIZE}
    odd = h264 | {"pix_fmt": "yuv444p", "size": (17, 33)}
    ten_bit = h264 | {"pix_fmt": "yuv420p10le", "options": {"x265-params": X265}}
    uneven = torch.from_numpy(np.stack([*moving(5, SIZE)]))
    found = {
        "odd-size.mp4": (encode("mp4", "libx264", **odd), 5, (17, 33)),
        "tall.mkv": (encode("mkv", "libx264", **h264 | {"size": (80, 10)}), 5, (80, 10)),
        "wide.mp4": (encode("mp4", "libx264", **h264 | {"size": (8, 64)}), 5, (8, 64)),
        "one-frame.mp4": (encode("mp4", "libx264", **h264 | {"num_frames": 1}), 1, SIZE),
        "vp9.webm": (encode("webm", "libvpx-vp9", num_frames=5, size=SIZE), 5, SIZE),
        "mpeg4.avi": (encode("avi", "mpeg4", num_frames=5, size=SIZE), 5, SIZE),
        "old.mov": (encode("mov", "mjpeg", pix_fmt="yuvj420p", num_frames=5, size=SIZE), 5, SIZE),
        "ten-bit.mp4": (encode("mp4", "libx265", **ten_bit), 5, SIZE),
        "flat-pixels.mp4": (encode("mp4", "libx264", aspect=Fraction(2), **h264), 5, (18, 64)),
        "uneven.mp4": (encode_mp4(uneven, 25, [0, 40, 90, 400, 420]), 5, SIZE),
        "turned.mp4": (turned(), 5, (32, 18)),
        "sound.mp4": (with_sound(), 5, SIZE),
        "no-ending": (encode("mp4", "libx264", **h264), 5, SIZE),
        "wrong-ending.avi": (encode("mkv", "libx264", **h264), 5, SIZE),
        "wrong ending, spaces & umlauts \u00fc.jpg": (encode("mp4", "libx264", **h264), 5, SIZE),
        "a.gif": (animation("GIF", [30, 200, 70]), 3, (10, 14)),
        "a.webp": (animation("WEBP", [30, 200, 70]), 3, (10, 14)),
        "a.png": (animation("PNG", [30, 200, 70]), 3, (10, 14)),
        "still.gif": (animation("GIF", [0]), 1, (10, 14)),
        "pixel.webp": (animation("WEBP", [50, 50], (1, 1)), 2, (1, 1)),
        "pixel.png": (animation("PNG", [50], (1, 1)), 1, (1, 1)),
    }
    return {name: (num, size, _write(folder / name, data)) for name, (data, num, size) in found.items()}


def write_bad_videos(folder):
    """Writes files that are no whole videos; returns their paths."""
    data = encode("mp4", "libx264", options=X264, num_frames=20, size=SIZE)
    flipped = bytearray(data)
    place = data.index(b"mdat") + 800
    flipped[place : place + 40] = bytes(40)
    found = {
        "empty.mp4": b"",
        "empty": b"",
        "text.mp4": b"no video",
        "text": b"no video",
        "notes.txt": b"no video",
        "cut.mp4": data[: len(data) // 2],
        "cut.mkv": encode("mkv", "libx264", options=X264, num_frames=20, size=SIZE)[:-300],
        "flipped.mp4": bytes(flipped),
        "sound-only.mp4": with_sound(video=False),
        "stream.ts": encode("mpegts", "libx264", options=X264, num_frames=5, size=SIZE),
        "photo.jpg": picture("JPEG"),
        "cut.gif": animation("GIF", [50, 50, 50], (40, 40))[:-700],
        "cut.webp": animation("WEBP", [50, 50, 50], (40, 40))[:-100],
        "list.mp4": b"ffconcat version 1.0\nfile 'a.mp4'\n",
        "page.webm": b"<!doctype html><p>404",
    }
    return {name: _write(folder / name, data) for name, data in found.items()}


def write_odd_images(folder):
    """Writes images that can be read; returns their paths."""
    deep = Image.fromarray(np.arange(20 * 30, dtype=np.uint16).reshape(20, 30) * 100)
    found = {
        "photo.jpg": picture("JPEG"),
        "grey.jpg": picture("JPEG", "L"),
        "print.jpg": picture("JPEG", "CMYK"),
        "turned.jpg": picture("JPEG", exif=_exif(6)),
        "clear.png": picture("PNG", "RGBA"),
        "palette.png": picture("PNG", "P"),
        "deep.png": picture("PNG", image=deep),
        "pixel.png": picture("PNG", size=(1, 1)),
        "strip.png": picture("PNG", size=(300, 2)),
        "photo.webp": picture("WEBP"),
        "no-ending": picture("JPEG"),
        "wrong-ending.png": picture("JPEG"),
    }
    return {name: _write(folder / name, data) for name, data in found.items()}


def picture(kind, mode="RGB", *, size=(40, 30), image=None, **options):
    """A picture with some colours."""
    if image is None:
        image = Image.linear_gradient("L").resize(size)
        image = Image.merge("RGB", [image, image.transpose(Image.Transpose.ROTATE_180), image]).convert(mode)
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def animation(kind, durations, size=(14, 10)):
    """An animated picture, or a still one of a single frame."""
    frames = [Image.new("RGB", size, ((250 - 50 * k) % 256, 60 * k % 256, 90)) for k in range(len(durations))]
    data, options = io.BytesIO(), {"duration": durations, "loop": 0} if len(frames) > 1 else {}
    frames[0].save(data, kind, save_all=len(frames) > 1, append_images=frames[1:], **options)
    return data.getvalue()


def turned():
    """A video that says it is to be turned by a quarter."""
    data = io.BytesIO()
    with av.open(data, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25, options=X264)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        stream.set_display_rotation(90)
        for pixels in moving(5, SIZE):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return data.getvalue()


def with_sound(*, video=True):
    """A tone, beside a video or alone."""
    data = io.BytesIO()
    with av.open(data, "w", format="mp4") as container:
        sound = container.add_stream("aac", rate=44100)
        streams = [sound]
        if video:
            stream = container.add_stream("libx264", rate=25, options=X264)
            stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
            streams.append(stream)
            for pixels in moving(5, SIZE):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        tone = np.sin(np.arange(44100) / 10).astype(np.float32)
        for start in range(0, 44100 - 1024, 1024):
            frame = av.AudioFrame.from_ndarray(tone[None, start : start + 1024], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 44100, start
            container.mux(sound.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    return data.getvalue()


def _exif(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def _write(path, data):
    path.write_bytes(data)
    return path
