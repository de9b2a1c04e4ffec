"""Videos are read as players show them: in square pixels, upright, whatever the file is called."""

import io
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image

from helpers.coded import encode, whole
from lightning_mav.data.codecs.decode import VIDEO_FORMATS, decode_video
from lightning_mav.data.codecs.probe import probe_video
from lightning_mav.data.codecs.recode import recode
from lightning_mav.evaluation.protocols.real import read_window

SIZE = (128, 160)


def disc(aspect, size=SIZE):
    """A disc as it is shown, in pixels ``aspect`` times as wide as high."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    x, y = (columns - size[1] / 2 + 0.5) * float(aspect), rows - size[0] / 2 + 0.5
    inside = np.hypot(x, y) < 0.4 * min(size[0], size[1] * float(aspect))
    return np.where(inside, 230, 30).astype(np.uint8)[..., None].repeat(3, -1)


def extent(frame):
    """Width and height of what is bright in ``(3, H, W)``."""
    bright = frame.float().mean(0) > 130
    return int(bright.any(0).sum()), int(bright.any(1).sum())


SQUEEZED = {
    "PAL, wide": ("mp4", "libx264", Fraction(64, 45), {}),
    "NTSC": ("mkv", "libx264", Fraction(8, 9), {}),
    "a disc of films": ("mkv", "mpeg2video", Fraction(64, 45), {}),
    "HDV": ("mov", "libx264", Fraction(4, 3), {}),
    "tall pixels": ("mp4", "libx265", Fraction(1, 2), {"x265-params": "log-level=none"}),
    "by the codec alone": ("avi", "mpeg4", Fraction(16, 11), {}),
}


@pytest.mark.parametrize("kind", SQUEEZED)
def test_a_disc_stays_a_disc(kind, tmp_path):
    suffix, codec, aspect, options = SQUEEZED[kind]
    frames = [disc(aspect)] * 20
    data = encode(suffix, codec, size=SIZE, frames=frames, aspect=aspect, options=options)
    for image_size in (None, 64, 50, 100):
        frame = decode_video(data, suffix, image_size)[0][3]
        if image_size is None:
            width, height = (round(160 * aspect), 128) if aspect > 1 else (160, round(128 / aspect))
            assert frame.shape == (3, height, width)
        across, down = extent(frame)
        assert abs(across - down) <= 2
        assert across > 0.7 * min(frame.shape[1:])
    facts = probe_video(data, suffix)
    assert (facts["width"], facts["height"]) == (width, height)
    for size in (None, 64):
        again = recode(data, suffix, gop=None, size=size)
        with av.open(io.BytesIO(again)) as container:
            assert container.streams.video[0].sample_aspect_ratio in (None, 1)
        frame = decode_video(again, "mp4", None)[0][3]
        assert abs(extent(frame)[0] - extent(frame)[1]) <= 2
        assert min(frame.shape[1:]) == (size or min(width, height) // 2 * 2)
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(data)
    window = read_window(path, 4, 25.0, 0)[:, 0]
    assert abs(extent(window)[0] - extent(window)[1]) <= 2


@pytest.mark.parametrize("degrees", [90, 180])
def test_wide_pixels_are_made_square_before_the_turn(degrees):
    output = io.BytesIO()
    with av.open(output, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        stream.set_display_rotation(degrees)
        frame = av.VideoFrame.from_ndarray(disc(Fraction(4, 3)), format="rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    frame = decode_video(output.getvalue(), "mp4", None)[0][0]
    assert abs(extent(frame)[0] - extent(frame)[1]) <= 2
    assert max(frame.shape[1:]) > 1.6 * min(frame.shape[1:])


def matrix(*values):
    a, b, c, d = (round(value * 65536) for value in values)
    return [a, b, 0, c, d, 0, 0, 0, 1 << 30]


# The matrix takes (x, y) to (a x + c y, b x + d y); what each does to pixels, rows downwards.
MATRICES = {
    "mirrored": ((-1, 0, 0, 1), lambda video: video.flip(3)),
    "upside down": ((1, 0, 0, -1), lambda video: video.flip(2)),
    "by half a turn": ((-1, 0, 0, -1), lambda video: video.flip(2, 3)),
    "over the diagonal": ((0, 1, 1, 0), lambda video: video.transpose(2, 3)),
    "over the other diagonal": ((0, -1, -1, 0), lambda video: video.transpose(2, 3).flip(2, 3)),
    "clockwise": ((0, 1, -1, 0), lambda video: video.transpose(2, 3).flip(3)),
    "counterclockwise": ((0, -1, 1, 0), lambda video: video.transpose(2, 3).flip(2)),
    "by few degrees": ((0.99, 0.14, -0.14, 0.99), lambda video: video),
    "by nearly a quarter": ((0.1, 0.99, -0.99, 0.1), lambda video: video.transpose(2, 3).flip(3)),
}


@pytest.mark.parametrize("kind", MATRICES)
def test_display_matrices_are_applied_everywhere(kind):
    values, turn = MATRICES[kind]
    plain = encode("mp4", "libx264", num_frames=3)
    tkhd = plain.index(b"tkhd") + 4 + 40
    entries = b"".join(entry.to_bytes(4, signed=True) for entry in matrix(*values))
    data = plain[:tkhd] + entries + plain[tkhd + 36 :]
    expected = turn(decode_video(plain, "mp4", None)[0])
    assert torch.equal(decode_video(data, "mp4", None)[0], expected)
    again, _ = decode_video(recode(data, "mp4", gop=None, size=None), "mp4", None)
    assert again.shape == expected.shape
    error, other = ((again.float() - video.float()).abs().mean() for video in (expected, expected.flip(2)))
    assert error < other / 3


@pytest.mark.parametrize("name", sorted(VIDEO_FORMATS))
@pytest.mark.parametrize("suffix", ["mp4", "mov", "webm", "mkv", "avi"])
def test_the_first_bytes_tell_the_format(suffix, name):
    codec = "libvpx" if suffix == "webm" else "libx264"
    data = encode(suffix, codec, num_frames=5)
    every, _ = whole(data)
    assert torch.equal(decode_video(data, name, None)[0], every)


def picture(kind):
    data = io.BytesIO()
    Image.new("RGB", (64, 64)).save(data, kind)
    return data.getvalue()


NO_VIDEOS = {
    "GIF": lambda: picture("GIF"),
    "JPEG": lambda: picture("JPEG"),
    "PNG": lambda: picture("PNG"),
    "WebP": lambda: picture("WEBP"),
    "AVIF": lambda: b"\0\0\0\x1cftypavif" + bytes(64),
    "playlist": lambda: b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
    "Ogg": lambda: b"OggS" + bytes(64),
    "mpegts": lambda: encode("mpegts", "mpeg2video", num_frames=5),
}


@pytest.mark.parametrize("kind", NO_VIDEOS)
def test_what_is_named_a_video_and_is_none_is_refused_by_its_kind(kind):
    for suffix in VIDEO_FORMATS:
        with pytest.raises(ValueError, match=f"no video of its kind: {kind}"):
            decode_video(NO_VIDEOS[kind](), suffix, 16)
