"""Valid videos that containers describe wrongly: frames left out, packed, leading, wrong times."""

import io
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from helpers.coded import RATE, copied, encode, packets_of, whole
from helpers.law import OPEN, OPEN_HEVC, X264, check_law
from helpers.places import ROOT
from lightning_mav.data.codecs import containers, opening, packets
from lightning_mav.data.codecs.decode import decode_video
from lightning_mav.data.codecs.opening import open_video
from lightning_mav.data.codecs.probe import check_sample, frame_times
from lightning_mav.data.codecs.recode import ENCODER, recode, set_apart
from lightning_mav.evaluation.protocols.real import read_window

CLIPS = ROOT.parent / "shared" / "clips"
pytestmark = pytest.mark.usefixtures("pixels_as_stored")
MPEG4 = {"b_strategy": "0", "g": "20", "flags": "qscale", "qscale": "2"}


def avi(data, chunks):
    """Puts packets, of which each is bytes and whether it is a key frame, into an AVI file as they are."""
    rows = [(content, place, place, is_key) for place, (content, is_key) in enumerate(chunks)]
    output = io.BytesIO()
    with av.open(io.BytesIO(data)) as source, av.open(output, "w", format="avi") as target:
        template = source.streams.video[0]
        stream = target.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = template.width, template.height, "yuv420p"
        stream.codec_context.codec_tag = "XVID"
        for content, pts, dts, is_key in rows:
            packet = av.Packet(content)
            packet.pts, packet.dts, packet.time_base = pts, dts, Fraction(1, RATE)
            packet.stream, packet.is_keyframe = stream, is_key
            target.mux(packet)
    return output.getvalue()


def kind_of(picture):
    return picture[picture.find(b"\0\0\1\xb6") + 4] >> 6  # 0 I, 1 P, 2 B


def packed_and_plain(bf, **kwargs):
    """The same pictures twice: packed as DivX 5 and XviD do, and one in each chunk."""
    data = encode("avi", "mpeg4", options=MPEG4 | {"bf": str(bf)}, **kwargs)
    pictures = [(content, is_key) for content, _, _, is_key in packets_of(data)]
    mark, stands_for_none = b"\0\0\1\xb2DivX503b1393p", b"\0\0\1\xb6\x51\x7f"
    chunks, rest = [], list(pictures)
    while rest:
        content, is_key = rest.pop(0)
        place = content.find(b"\0\0\1\xb2")
        content = content[:place] + mark + content[place:] if place >= 0 else content
        run = []
        while rest and kind_of(rest[0][0]) == 2:
            run.append(rest.pop(0)[0])
        chunks.append((content + b"".join(run[:1]), is_key))
        chunks += [(picture, False) for picture in run[1:]] + [(stands_for_none, False)] * bool(run)
    return avi(data, chunks), avi(data, pictures)


@pytest.mark.parametrize("bf", [1, 2])
def test_packed_b_frames_are_shown_as_unpacked_ones(bf, monkeypatch):
    monkeypatch.setitem(ENCODER, "x264-params", f"{ENCODER['x264-params']}:{X264}")
    packed, plain = packed_and_plain(bf)
    assert packed != plain
    check_law(packed, "avi")
    (frames, times), (others, other_times) = (decode_video(data, "avi", None) for data in (packed, plain))
    assert torch.equal(frames, others)
    assert torch.equal(times, other_times)
    again, others = (recode(data, "avi", gop=10, size=None) for data in (packed, plain))
    assert torch.equal(decode_video(again, "mp4", None)[0], decode_video(others, "mp4", None)[0])


def test_windows_of_packed_and_unpacked_twins_are_the_same(tmp_path):
    # What FVD of UCF-101 is measured on.
    for name, data in zip(("packed", "plain"), packed_and_plain(2), strict=True):
        (tmp_path / f"{name}.avi").write_bytes(data)
    for seed in range(4):
        packed, plain = (
            read_window(tmp_path / f"{name}.avi", 16, 25.0, seed) for name in ("packed", "plain")
        )
        assert torch.equal(packed, plain)


def not_coded(increment, bits=5):
    code = "01" + "0" + "1" + format(increment, f"0{bits}b") + "1" + "0" + "0"
    code += "1" * (-len(code) % 8)
    return b"\0\0\1\xb6" + bytes(int(code[k : k + 8], 2) for k in range(0, len(code), 8))


@pytest.mark.parametrize("suffix", ["avi", "mp4", "mkv"])
def test_a_frame_that_is_not_coded_leaves_the_last_one(suffix):
    data = encode("avi", "mpeg4", options=MPEG4 | {"bf": "0"})
    rows = [(content, is_key) for content, _, _, is_key in packets_of(data)]
    for place in (7, 8, 20, 33, 40):
        rows.insert(place, (not_coded(place % 25), False))
    left_out = avi(data, rows)
    if suffix != "avi":
        rows = [(content, place, place, is_key) for place, (content, is_key) in enumerate(rows)]
        left_out = copied(left_out, suffix, rows)
    assert check_law(left_out, suffix) == 40
    shown = [k for k in range(45) if k not in (7, 8, 20, 33, 40)]
    times = frame_times(left_out, suffix)
    np.testing.assert_allclose(times, np.array(shown) / RATE, atol=2e-3)
    again = recode(left_out, suffix, gop=10, size=None)
    np.testing.assert_allclose(frame_times(again, "mp4"), times, atol=1e-6)
    check_sample({suffix: left_out})


CUT = {
    "HEVC, a key frame with leading pictures": ("mp4", "libx265", {"x265-params": OPEN_HEVC}),
    "H.264, a recovery point": ("mp4", "libx264", {"x264-params": OPEN}),
    "MPEG-2, open GOP": ("mov", "mpeg2video", {"bf": "2", "g": "12"}),
    "MPEG-4, open GOP": ("mp4", "mpeg4", {"bf": "2", "g": "12"}),
}


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
@pytest.mark.parametrize("kind", CUT)
def test_leading_pictures_of_a_cut_are_not_shown(kind, suffix):
    form, codec, options = CUT[kind]
    data = encode(form, codec, num_frames=60, options=options)
    rows = packets_of(data)
    start = [place for place, row in enumerate(rows) if row[3]][1]
    first = rows[start][2]
    shifted = [(content, pts - first, dts - first, key) for content, pts, dts, key in rows[start:]]
    cut = copied(data, suffix, shifted)
    num = check_law(cut, suffix)
    assert len(shifted) - 3 <= num < len(shifted)
    check_sample({suffix: cut})
    again = recode(cut, suffix, gop=10, size=None)
    np.testing.assert_allclose(frame_times(again, "mp4"), frame_times(cut, suffix), atol=1e-6)


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video", "mpeg4", "libx265"])
def test_a_cut_between_key_frames_begins_where_the_decoder_does(codec):
    params = {"libx264": {"x264-params": f"{X264}:keyint=10"}, "libx265": {"x265-params": OPEN_HEVC}}
    data = encode("mp4", codec, num_frames=50, options=params.get(codec, {"g": "10", "bf": "0"}))
    rows = packets_of(data)[5:]
    first = min(row[2] for row in rows)
    cut = copied(data, "mkv", [(content, pts - first, dts - first, key) for content, pts, dts, key in rows])
    check_law(cut, "mkv")
    found, _ = decode_video(cut, "mkv", None)
    every, _ = whole(data)
    assert torch.equal(found[-38:], every[-38:])


@pytest.mark.parametrize("kind", ["order of decoding", "twice", "at random"])
@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg2video"])
def test_wrong_times_do_not_change_the_order(codec, kind):
    options = {"libx264": {"x264-params": f"{X264}:keyint=10:bframes=3:b-adapt=0"}, "mpeg2video": {"bf": "2"}}
    data = encode("mkv", codec, options=options.get(codec, {"x265-params": OPEN_HEVC}))
    places = np.random.default_rng(0).permutation(40)
    stamp = {
        "order of decoding": lambda place, pts: place * 40,
        "twice": lambda place, pts: pts // 80 * 80,
        "at random": lambda place, pts: int(places[place]) * 40,
    }[kind]
    # Only pictures that are shown after they are decoded can be written.
    rows = [(row[0], row[1], 40 * place - 4000, row[3]) for place, row in enumerate(packets_of(data))]
    wrong = copied(data, "mkv", rows, stamp=stamp)
    every, _ = whole(data)
    for indices in ([3, 17, 18, 30], list(range(40)), [1], [39, 0]):
        frames, _ = decode_video(wrong, "mkv", None, lambda times, i=indices: torch.tensor(i))
        assert torch.equal(frames, every[indices])
    again = recode(wrong, "mkv", gop=10, size=None)
    assert len(frame_times(again, "mp4")) == 40
    assert (frame_times(again, "mp4").diff() > 0).all()


def test_frames_of_the_same_time_are_set_apart():
    assert set_apart([0, 1, 2], 1) == ([0, 1, 2], 1)
    assert set_apart([0, 0, 3, 3, 3, 4], 1) == ([0, 4, 9, 10, 11, 12], 3)


SIZES = [(48, 64), (96, 128), (48, 64), (96, 96)]


def changing(suffix="mkv"):
    """A video whose size changes twice, and then its shape, too."""
    parts = [
        encode("mp4", "libx264", num_frames=8, size=size, options={"x264-params": X264 + ":repeat-headers=1"})
        for size in SIZES
    ]
    rows = []
    for number, part in enumerate(parts):
        rows += [(c, p + 4096 * number, d + 4096 * number, key) for c, p, d, key in packets_of(part)]
    return copied(parts[0], suffix, rows)


@pytest.mark.parametrize("image_size", [16, 20, 48])
def test_sizes_that_change_inside_are_read_and_encoded_anew(image_size):
    data = changing()
    every, _ = decode_video(data, "mkv", image_size)
    assert every.shape == (32, 3, image_size, image_size)
    some, _ = decode_video(data, "mkv", image_size, lambda times: torch.tensor([30, 12, 9, 0]))
    assert torch.equal(some, every[[30, 12, 9, 0]])
    again, _ = decode_video(recode(data, "mkv", gop=None, size=None), "mp4", None)
    assert again.shape == (32, 3, 48, 64)
    smaller, _ = decode_video(recode(data, "mkv", gop=None, size=None), "mp4", image_size)
    assert (smaller.float().mean((1, 2, 3)) - every.float().mean((1, 2, 3)))[:24].abs().max() < 3


def test_the_film_is_the_default_stream_then_the_largest():
    def streams(*sizes, default=None, num=(5, 5, 5)):
        data = io.BytesIO()
        with av.open(data, "w", format="matroska") as container:
            added = []
            for number, size in enumerate(sizes):
                stream = container.add_stream("ffv1", rate=RATE)
                stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
                stream.disposition = av.stream.Disposition.default if number == default else 0
                added.append(stream)
            for number, stream in enumerate(added):
                for index in range(num[number]):
                    pixels = np.full((*sizes[number], 3), 40 * number, np.uint8)
                    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
                    frame.pts, frame.time_base = index, Fraction(1, RATE)
                    container.mux(stream.encode(frame))
            for stream in added:
                container.mux(stream.encode(None))
        frames, _ = decode_video(data.getvalue(), "mkv", None)
        return tuple(frames.shape[2:])

    assert streams((32, 32), (48, 64), (16, 16), default=2) == (16, 16)
    assert streams((32, 32), (48, 64), (16, 16)) == (48, 64)


def quicktime_with_sound(num_samples):
    """A QuickTime file whose sound lists more samples than the file has bytes, as compressed sound may."""
    output = io.BytesIO()
    with av.open(output, "w", format="mov") as container:
        video = container.add_stream("libx264", rate=RATE, options={"x264-params": X264})
        video.height, video.width, video.pix_fmt = 48, 64, "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        for index in range(5):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 9, np.uint8), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            container.mux(video.encode(frame))
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 1600), np.int16), format="s16", layout="mono")
        samples.rate = 8000
        container.mux(sound.encode(samples))
        for stream in (video, sound):
            container.mux(stream.encode(None))
    data = bytearray(output.getvalue())
    place = data.index(containers.SIZES, data.index(b"soun")) + 8
    assert struct.unpack_from(">II", data, place) == (2, 1600)
    struct.pack_into(">II", data, place, 1, num_samples)
    return bytes(data)


def test_tables_of_other_tracks_do_not_count_as_the_videos():
    data = quicktime_with_sound(200_000)
    assert len(data) < 200_000
    containers.check_container(data, "mp4")
    with pytest.raises(ValueError, match="false index"):
        containers.check_container(quicktime_with_sound(2**31), "mp4")


def test_another_track_may_be_longer_than_the_video_may():
    data = bytearray(encode("mp4", "libx264", num_frames=5, options={"x264-params": X264}))
    place = data.index(b"mvhd") + 4 + 16
    struct.pack_into(">I", data, place, 10**8)  # of the whole film, in thousandths of a second
    assert len(decode_video(bytes(data), "mp4", None)[0]) == 5


@pytest.mark.skipif(not CLIPS.is_dir(), reason=f"no real footage in {CLIPS}")
@pytest.mark.parametrize("name", ["odd/cockatoo.mp4", "asl/milk.mkv", "scenes/bikes.mp4", "scenes/nasa.mp4"])
def test_clips_of_real_footage_are_those_of_full_decoding(name, monkeypatch):
    data, suffix = (CLIPS / name).read_bytes(), name[-3:]
    with open_video(data, suffix) as (container, stream):
        index, num_frames = stream.index, len(packets.Packets(container, stream).times)
    monkeypatch.setattr(packets.Packets, "frames", None)  # and no more of it is decoded than needed
    starts = np.random.default_rng(0).integers(num_frames - 8, size=3)
    indices = torch.cat([torch.arange(start, start + 8) for start in starts])
    wanted = set(indices.tolist())
    with av.open(io.BytesIO(data)) as container:
        decoded = list(container.decode(container.streams[index]))
        every = {number: decoded[number].to_ndarray(format="rgb24") for number in wanted}
    assert len(decoded) == num_frames
    frames, _ = decode_video(data, suffix, None, lambda times: indices)
    expected = torch.from_numpy(np.stack([every[number] for number in indices.tolist()]))
    assert torch.equal(frames.movedim(1, -1), expected)


SVT = {"preset": "12", "svtav1-params": "lp=1:keyint=10:sframe-dist=4:sframe-mode=1:pred-struct=1"}


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm"])
def test_bounds_of_the_size_in_av1_are_not_the_size(suffix, monkeypatch):
    """With S-frames the sequence header allows 16384 x 8704, while the frames are small."""
    data = encode(suffix, "libsvtav1", num_frames=30, size=(64, 64), options=SVT)
    with av.open(io.BytesIO(data)) as container:
        extradata = container.streams.video[0].codec_context.extradata
        codec = av.CodecContext.create("libdav1d", "r")
        codec.extradata, codec.options = extradata, {"max_pixels": "67108864"}
        with pytest.raises(av.FFmpegError):
            codec.open()
    assert check_law(data, suffix) == 30
    monkeypatch.setattr(opening, "MAX_PIXELS", 64 * 64 - 1)  # the decoder's; the header passes
    with pytest.raises(ValueError, match="damaged video"):
        decode_video(data, suffix, None)
