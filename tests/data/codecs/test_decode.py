"""Chosen frames are those of full decoding, to the last bit; bad files are refused, each with its reason."""

import contextlib
import io
import resource
import struct
import time

import av
import numpy as np
import pytest
import torch
from PIL import Image

from helpers.damaged import (
    FRAGMENTS,
    SIZE,
    VP9,
    X265,
    audio,
    bomb,
    encode,
    external,
    flip,
    gif,
    large,
    large_image,
    moving,
    patch,
    picture,
)
from lightning_mav.data.codecs import clock, containers, decode, nal, opening, packets, resize
from lightning_mav.data.codecs.decode import decode_image, decode_video
from lightning_mav.datamodules.batches import reason_of


def whole(data):
    """What plain PyAV decodes, as (F, 3, H, W)."""
    with av.open(io.BytesIO(data)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return torch.from_numpy(np.stack(frames)).movedim(-1, 1)


def check_law(data, suffix, num=10):
    """Random frames, in any order and with repeats, and a stretch of them."""
    every, rng = whole(data), np.random.default_rng(0)
    for trial in range(num):
        indices = rng.integers(len(every), size=rng.integers(1, 9))
        if trial % 3 == 0:
            start, stride = rng.integers(len(every) // 2), 1 + trial // 3
            indices = np.arange(start, len(every), stride)[:8]
        frames, times = decode_video(data, suffix, None, lambda times, i=indices: torch.from_numpy(i))
        assert torch.equal(frames, every[indices])
        assert len(times) == len(indices)
    everything, times = decode_video(data, suffix, None)
    assert torch.equal(everything, every)
    assert times[0] == 0
    assert (times.diff() >= 0).all()
    return times


KINDS = {
    "every frame a key frame": ("mp4", "libx264", {"gop": 1}),
    "GOP 5": ("mp4", "libx264", {"gop": 5}),
    "GOP 30": ("mov", "libx264", {"gop": 30}),
    "GOP 250": ("mp4", "libx264", {"gop": 250}),
    "open GOP": ("mp4", "libx264", {"gop": 10, "options": {"x264-params": "open-gop=1"}}),
    "no key frame but the first": (
        "mp4",
        "libx264",
        {"gop": 10, "options": {"x264-params": "intra-refresh=1"}},
    ),
    "many B-frames": ("mkv", "libx264", {"options": {"x264-params": "bframes=8:b-adapt=0:slices=3"}}),
    "strict pyramid": ("mkv", "libx264", {"options": {"x264-params": "bframes=5:b-pyramid=strict"}}),
    "fragments": ("mp4", "libx264", {"gop": 10, "muxing": FRAGMENTS}),
    "interlaced": ("mp4", "libx264", {"options": {"x264-params": "interlaced=1"}}),
    "start codes": ("avi", "libx264", {"gop": 10}),
    "10 bit H.264": ("mp4", "libx264", {"pix_fmt": "yuv420p10le"}),
    "10 bit HEVC": ("mp4", "libx265", {"gop": 10, "pix_fmt": "yuv420p10le", "options": X265}),
    "VP9": ("webm", "libvpx-vp9", {"gop": 10, "options": VP9}),
    "VP8": ("webm", "libvpx", {"gop": 10, "options": VP9}),
    "MPEG-2": ("mov", "mpeg2video", {"gop": 10, "options": {"bf": "2"}}),
    "MPEG-4 in AVI": ("avi", "mpeg4", {"gop": 10, "options": {"bf": "2"}}),
    "MPEG-4 in MP4": ("mp4", "mpeg4", {"gop": 10, "options": {"bf": "2"}}),
    "odd size": ("mkv", "libx264", {"size": (47, 63), "pix_fmt": "yuv444p"}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_chosen_frames_are_those_of_full_decoding(kind, monkeypatch):
    suffix, codec, kwargs = KINDS[kind]
    monkeypatch.setattr(packets.Packets, "frames", None)  # each at the first attempt
    times = check_law(encode(suffix, codec, **kwargs), suffix)
    torch.testing.assert_close(times, torch.arange(60).double() / 30, atol=1e-3, rtol=0)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize("start", [0, 5000])
def test_times_are_the_time_stamps(suffix, start):
    steps = np.random.default_rng(1).integers(5, 90, 60)
    pts = (start + np.cumsum(steps)).tolist()
    times = check_law(encode(suffix, pts=pts), suffix, num=3)
    torch.testing.assert_close(times, (torch.tensor(pts) - pts[0]).double() / 1000, atol=2e-3, rtol=0)


def test_what_an_edit_list_hides_is_not_there():
    data = bytearray(encode(gop=10))
    place = data.index(b"elst") + 16
    (media_time,) = struct.unpack_from(">i", data, place)
    struct.pack_into(">i", data, place, media_time + 7 * 512)
    assert len(check_law(bytes(data), "mp4")) == len(whole(data)) == 53


def test_false_key_frames_do_no_harm():
    for codec, options in (("libx264", {}), ("libx265", X265)):
        data = encode(codec=codec, gop=20, options=options).replace(b"stss", b"free")  # then all are
        check_law(data, "mp4", num=3)


def test_frames_that_only_help_others_are_not_shown():
    data = encode("webm", "libvpx", num_frames=20, options=VP9)
    with av.open(io.BytesIO(data)) as container:
        packet = [bytes(packet) for packet in container.demux(video=0)][7]
    hidden = packet[0] & ~0x10  # as in the frames that VP8 makes up for reference
    data = patch(data, data.index(packet), "B", hidden)
    assert len(check_law(data, "webm", num=3)) == 19


class Meddling:
    """A container whose packets are tampered with."""

    def __init__(self, container, meddle):
        self.container, self.meddle = container, meddle

    def demux(self, stream):
        for packet in self.container.demux(stream):
            self.meddle(packet)
            yield packet


@pytest.mark.parametrize("missing", ["pts", "both", "none, but all are the same"])
def test_missing_and_equal_time_stamps(monkeypatch, missing):
    def meddle(packet):
        packet.pts = 7 if "same" in missing and packet.size else None
        if missing == "both":
            packet.dts = None

    init = packets.Packets.__init__
    monkeypatch.setattr(
        packets.Packets,
        "__init__",
        lambda self, container, *args: init(self, Meddling(container, meddle), *args),
    )
    options = {"x264-params": "bframes=0"} if "same" in missing else {}
    data = encode(gop=10, options=options)
    check_law(data, "mp4", num=3)


@pytest.fixture
def decoded(monkeypatch):
    """The spans that were decoded, of all calls."""
    spans, frames = [], packets.Packets._span_frames

    def count(self, span):
        spans.append(span)
        return frames(self, span)

    monkeypatch.setattr(packets.Packets, "_span_frames", count)
    return spans


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_only_what_is_needed_is_decoded(decoded, suffix):
    data = encode(suffix, gop=250, options={"x264-params": "bframes=3:b-adapt=0"})
    decode_video(data, suffix, None, lambda times: torch.tensor([40]))
    (span,) = decoded
    assert len(span) <= 0.6 * 41  # half of the frames are of no use to others


def test_gaps_are_jumped_over(decoded):
    decode_video(encode(gop=10), "mp4", None, lambda times: torch.tensor([51, 12, 13, 12]))
    assert [span[0] for span in decoded] == [10, 50]
    assert sum(map(len, decoded)) < 12


def test_whole_videos_are_decoded_once(decoded):
    decode_video(encode(gop=10), "mp4", None)
    assert [len(span) for span in decoded] == [60] or sum(map(len, decoded)) == 60


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_frames_are_upright(degrees, mirrored):
    def setup(stream):
        stream.set_display_rotation(degrees, hflip=mirrored)

    def turn(frames):
        frames = torch.rot90(frames, degrees // 90, (2, 3))  # counterclockwise, as FFmpeg counts
        return frames.flip(3) if mirrored else frames

    data, plain = encode(setup=setup, num_frames=3), whole(encode(num_frames=3))
    with av.open(io.BytesIO(data)) as container:  # the matrix as the muxer wrote it
        frame = next(container.decode(video=0))
    assert degrees % 360 == frame.rotation % 360 or mirrored
    expected = turn(plain)
    upright, _ = decode_video(data, "mp4", None)
    assert torch.equal(upright, expected)
    for size in (16, 20):
        small, _ = decode_video(data, "mp4", size)
        turned, _ = decode_video(encode(num_frames=3), "mp4", size)
        assert torch.equal(small, turn(turned))


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p", "yuv420p10le"])
def test_shrunk_frames_are_means_of_the_middle(pix_fmt):
    # FFmpeg places colour between pixels in more than one way; without colour that is no matter.
    data = encode(pix_fmt=pix_fmt, num_frames=5, grey=pix_fmt.endswith("10le"))
    middle = whole(data)[..., 8:56].double()
    exact, _ = decode_video(data, "mp4", 16)
    means = middle.unflatten(2, (16, 3)).unflatten(4, (16, 3)).mean((3, 5))
    assert (exact - means).abs().max() < 0.6  # Pillow's rounding
    close, _ = decode_video(data, "mp4", 20)
    edges = torch.arange(21).double() * 2.4
    pixels = torch.arange(48).double()
    shares = torch.minimum(edges[1:, None], pixels + 1) - torch.maximum(edges[:-1, None], pixels)
    shares = shares.clamp(min=0) / 2.4
    error = close - shares @ middle @ shares.T
    assert error.abs().mean() < 2


def test_one_frame_is_a_video_of_one_frame():
    frames, times = decode_video(encode(num_frames=1), "mp4", 16)
    assert frames.shape == (1, 3, 16, 16)
    assert times.tolist() == [0]


def test_cover_pictures_are_no_video():
    data, picture = io.BytesIO(), next(moving())
    with av.open(data, "w", format="mp4") as container:
        cover = container.add_stream("mjpeg", rate=1, options={})
        cover.height, cover.width, cover.pix_fmt = *SIZE, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuvj420p")
        container.mux(cover.encode(frame))
        container.mux(cover.encode(None))
    with pytest.raises(ValueError, match="no video stream"):
        decode_video(data.getvalue(), "mp4", None)


def index_first(data, folder):
    """The same video with its index before its frames."""
    path = folder / "video.mp4"
    with (
        av.open(io.BytesIO(data)) as source,
        av.open(str(path), "w", options={"movflags": "faststart"}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    return path.read_bytes()


def run_bomb(num_samples):
    data = encode(num_frames=40, muxing=FRAGMENTS)
    return patch(data, data.index(containers.RUN) + 4, ">II", 0, num_samples)


NO_VIDEO, CUT, DAMAGED = "no video of its kind", "truncated video", "damaged video"
BAD_VIDEOS = {
    "empty": (lambda: b"", "mp4", "empty file"),
    "random mp4": (lambda: np.random.default_rng(0).bytes(99999), "mp4", NO_VIDEO),
    "random mkv": (lambda: np.random.default_rng(0).bytes(99999), "mkv", NO_VIDEO),
    "random avi": (lambda: np.random.default_rng(0).bytes(99999), "avi", NO_VIDEO),
    "a page": (lambda: b"<html>not found</html>" * 9, "mp4", NO_VIDEO),
    "a picture": (lambda: picture("JPEG"), "mp4", NO_VIDEO),
    "mp4 without moov": (lambda: (d := encode())[: d.index(b"moov") - 4], "mp4", CUT),
    "mp4 cut in mdat": (lambda: encode()[:3000], "mp4", CUT),
    "mp4 cut in moov": (lambda: encode()[:-300], "mp4", CUT),
    "mkv cut": (lambda: encode("mkv")[:6000], "mkv", CUT),
    "avi cut": (lambda: encode("avi")[:9000], "avi", CUT),
    "audio only": (audio, "mp4", "no video stream"),
    "flipped mp4": (lambda: flip(encode()), "mp4", DAMAGED),
    "flipped mkv": (lambda: flip(encode("mkv")), "mkv", DAMAGED),
    "flipped avi": (lambda: flip(encode("avi"), start=7000), "avi", DAMAGED),
    "gif": (gif, "mp4", NO_VIDEO),
    "concat": (lambda: b"ffconcat version 1.0\nfile /etc/passwd\n", "mp4", NO_VIDEO),
    "m3u8": (lambda: b"#EXTM3U\n#EXTINF:9,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n", "mp4", NO_VIDEO),
    "index bomb": (lambda: bomb(2**31), "mp4", "false index"),
    "bomb of runs": (lambda: run_bomb(2**31), "mp4", "false index"),
    "compressed index": (
        lambda: (d := encode()).replace(d[d.index(b"mvhd") :][:4], b"cmov"),
        "mp4",
        "compressed index",
    ),
    "large": (lambda: large(16000, 12000), "mp4", "empty or too large"),
    "long": (lambda: encode(num_frames=3, pts=[0, 9, 4_000_000]), "mp4", "too long"),
}


@pytest.mark.parametrize("kind", BAD_VIDEOS)
def test_bad_videos_are_refused_with_a_reason(kind):
    make, suffix, reason = BAD_VIDEOS[kind]
    data = make()
    start, memory = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=reason) as error:
        decode_video(data, suffix, 16)
    assert reason_of(error.value) == reason
    assert time.monotonic() - start < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 50_000  # kB


def test_concealed_damage_is_seen():
    with pytest.raises(ValueError, match=r"damaged video: left block unavailable"):
        decode_video(flip(encode(), num=12), "mp4", 16)


def test_cut_video_with_its_index_first_is_refused(tmp_path):
    data = index_first(encode(), tmp_path)
    check_law(data, "mp4", num=2)
    with pytest.raises(ValueError, match="truncated video"):
        decode_video(data[:-500], "mp4", 16)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_any_damage_ends_in_frames_or_a_reason(suffix):
    data, rng = encode(suffix), np.random.default_rng(0)
    start = time.monotonic()
    for _ in range(60):
        broken = bytearray(data)
        for place in rng.integers(len(data), size=rng.integers(1, 20)):
            broken[place] = rng.integers(256)
        if rng.random() < 0.3:
            del broken[rng.integers(len(data)) :]
        with contextlib.suppress(ValueError):  # and nothing else
            frames, times = decode_video(bytes(broken), suffix, 16)
            assert len(frames) == len(times)
    assert time.monotonic() - start < 10


def test_size_in_the_stream_is_no_larger_than_that_in_the_header(monkeypatch):
    monkeypatch.setattr(opening, "MAX_PIXELS", 2000)  # the decoder's; the header passes
    with pytest.raises(ValueError, match="damaged video"):
        decode_video(large(32, 32), "mp4", 16)


def test_frames_are_measured_again(monkeypatch):
    monkeypatch.setattr(resize, "MAX_PIXELS", 2000)
    with pytest.raises(ValueError, match="too large: a picture of 64x48"):
        decode_video(large(32, 32), "mp4", 16)


def test_limits_of_what_is_decoded(monkeypatch):
    data = encode(gop=10)
    monkeypatch.setattr(opening, "MAX_FRAMES", 59)
    with pytest.raises(ValueError, match="too many frames: 60"):
        decode_video(data, "mp4", 16)
    with pytest.raises(ValueError, match="too many frames: 60"):  # its header does not say
        decode_video(encode("mkv"), "mkv", 16)
    monkeypatch.undo()
    monkeypatch.setattr(decode, "MAX_DECODED", 20 * 48 * 64)
    decode_video(data, "mp4", 16, lambda times: torch.arange(15))
    with pytest.raises(ValueError, match="too much to decode"):
        decode_video(data, "mp4", 16)
    monkeypatch.undo()
    monkeypatch.setattr(decode, "MAX_RETURNED", 20 * 48 * 64)
    with pytest.raises(ValueError, match="too much to return"):
        decode_video(data, "mp4", None, lambda times: torch.zeros(21, dtype=torch.long))


def test_work_on_a_video_is_bounded_and_waiting_is_not(monkeypatch):
    data, now, frames = encode(gop=10), [0.0], packets.Packets.sought
    monkeypatch.setattr(clock.time, "thread_time", lambda: now[0])

    def passes(seconds):
        def slow(*args):
            for frame in frames(*args):
                now[0] += seconds
                yield frame

        monkeypatch.setattr(packets.Packets, "sought", slow)

    passes(0.1)  # for 60 frames
    decode_video(data, "mp4", 16)
    passes(0.2)
    with pytest.raises(ValueError, match="too slow: decoding takes more than 10 s") as error:
        decode_video(data, "mp4", 16)
    assert reason_of(error.value) == "too slow"
    decode_video(data, "mp4", 16, max_seconds=13)
    monkeypatch.setattr(packets.Packets, "__init__", packets_that_take(now, 0.2))
    now[0] = 0.0
    with pytest.raises(ValueError, match="too slow"):
        decode_video(data, "mp4", 16, lambda times: torch.zeros(1).long())
    assert now[0] < 11  # not all packets were read


def packets_that_take(now, seconds):
    init = packets.Packets.__init__

    def meddle(packet):
        now[0] += seconds

    return lambda self, container, *args: init(self, Meddling(container, meddle), *args)


def test_no_other_file_is_opened(tmp_path, monkeypatch):
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(encode())
    data = external(secret)
    # With FFmpeg's leave it would be read:
    with av.open(
        io.BytesIO(data), format="mp4", options={"enable_drefs": "1", "use_absolute_path": "1"}
    ) as container:
        assert len(list(container.decode(video=0))) == 60
    with pytest.raises(ValueError, match="no frames"):
        decode_video(data, "mp4", 16)
    leave = {**opening.OPTIONS, "enable_drefs": "1", "use_absolute_path": "1"}
    monkeypatch.setattr(opening, "OPTIONS", leave)
    with pytest.raises(ValueError, match="refers to another file"):
        decode_video(data, "mp4", 16)


def two_pictures(kind):
    first, second = (Image.fromarray(frame) for frame in moving(2))
    data = io.BytesIO()
    first.save(data, kind, save_all=True, append_images=[second], lossless=True)
    return data.getvalue(), np.asarray(first)


@pytest.mark.parametrize("kind", ["WEBP", "PNG"])
def test_an_animation_is_its_first_frame(kind):
    data, first = two_pictures(kind)
    assert torch.equal(decode_image(data, kind.lower(), None), torch.from_numpy(first.copy()).movedim(-1, 0))


BAD_IMAGES = {
    "empty": (lambda: b"", "jpg", "no PNG, JPEG or WebP image"),
    "zeros": (lambda: bytes(5000), "jpg", "no PNG, JPEG or WebP image"),
    "other kind": (gif, "png", "GIF file, no PNG, JPEG or WebP"),
    "half a jpg": (lambda: (d := picture("JPEG"))[: len(d) // 2], "jpg", "damaged or truncated image"),
    "half a png": (lambda: (d := picture("PNG"))[: len(d) // 2], "png", "damaged or truncated image"),
    "half a webp": (lambda: (d := picture("WEBP"))[: len(d) // 2], "webp", "damaged or truncated image"),
    "large": (lambda: large_image(9000), "jpg", "empty or too large"),
    "larger": (lambda: large_image(60000), "jpg", "empty or too large"),
    "small": (lambda: picture("PNG"), "png", "too small"),
}


@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_bad_images_are_refused_with_a_reason(kind):
    make, suffix, reason = BAD_IMAGES[kind]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=reason) as error:
        decode_image(make(), suffix, 50)
    assert reason_of(error.value) == reason
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 50_000


def test_nal_units_are_found_with_lengths_and_with_start_codes():
    def kinds(suffix):
        found = []
        with av.open(io.BytesIO(encode(suffix, num_frames=8))) as container:
            stream = container.streams.video[0]
            length, _ = nal.configuration(stream.codec_context.extradata, "h264")
            for packet in container.demux(stream):
                data = bytes(packet)
                found.append([data[start] & 31 for start, _ in nal.nal_units(data, length)])
        return length, found[:-1]

    (length, in_mp4), (none, in_avi) = kinds("mp4"), kinds("avi")
    assert (length, none) == (4, 0)
    assert [headers[-1] for headers in in_mp4] == [headers[-1] for headers in in_avi] == [5] + [1] * 7


def test_vint():
    assert containers._vint(b"\x81", 0) == (1, 1)
    assert containers._vint(b"\x40\x02", 0) == (2, 2)
    assert containers._vint(b"\x01" + b"\xff" * 7, 0) == (-1, 8)
