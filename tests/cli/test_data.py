"""A folder becomes the same shards whoever packs it, whatever happens meanwhile; what is broken is found."""

import io
import json
import os
import tarfile
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image

from helpers.data_command import fails, mav
from lightning_mav.data.codecs.decode import decode_image, decode_video
from lightning_mav.data.codecs.probe import frame_times, probe_video, read_frames
from lightning_mav.data.codecs.recode import recode
from lightning_mav.data.shards.index import index_path, load_index, read_member, scan_shard
from lightning_mav.data.shards.pack import PackSettings, plan
from lightning_mav.data.shards.sources import Source, find_sources
from lightning_mav.datamodules import ImageTextShards, VideoShards

# Times of frames in 1/1000 s: phones and screen recorders vary them like this.
TICKS = np.cumsum([0, *[20, 55, 33, 41] * 7])


def clip(ticks=TICKS, width=50, height=34, form="matroska", gop=250, level=0, degrees=0, clock=1000):
    """A video with frames at given times, which turns brighter from left to right and frame to frame."""
    data = io.BytesIO()
    with av.open(
        data, "w", format=form, container_options={"video_track_timescale": str(clock)}
    ) as container:
        stream = container.add_stream("libx264", options={"preset": "ultrafast", "crf": "10", "bf": "2"})
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = width, height, "yuv420p", gop
        if degrees:
            stream.set_display_rotation(degrees)
        stream.time_base = stream.codec_context.time_base = Fraction(1, clock)
        stream.codec_context.thread_count = 1
        for number, tick in enumerate(ticks):
            ramp = np.linspace(level, level + 100, width) + 3 * number
            pixels = np.broadcast_to(ramp[None, :, None], (height, width, 3)).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts, frame.time_base = int(tick), Fraction(1, clock)
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode(None))
    return data.getvalue()


def picture(value, size=(20, 10), form="PNG"):
    data = io.BytesIO()
    Image.fromarray(np.full((size[1], size[0], 3), value, np.uint8)).save(data, form)
    return data.getvalue()


@pytest.fixture(scope="session")
def clip_bytes():
    return [clip(level=10 * number) for number in range(5)]


@pytest.fixture
def footage(tmp_path, clip_bytes):
    """Seven videos, five of them whole, with words beside them that belong in no shard."""
    folder = tmp_path / "footage"
    (folder / "b").mkdir(parents=True)
    for number, data in enumerate(clip_bytes):
        (folder / ("b" if number % 2 else "") / f"{number}.mkv").write_bytes(data)
    (folder / "0.txt").write_text("secret words")
    (folder / "captions.tsv").write_text("1.mkv\tsecret words\n")
    (folder / "short.MP4").write_bytes(clip(range(0, 300, 30), form="mp4"))
    (folder / "b" / "torn.mkv").write_bytes(clip_bytes[0][:50])
    (folder / ".hidden.mkv").write_bytes(clip_bytes[0])
    return folder


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for name, value in (("a.png", 10), ("b.png", 20), ("more/c.png", 30), ("more/e.png", 50)):
        (folder / name).write_bytes(picture(value))
    (folder / "d.jpg").write_bytes(picture(40, form="JPEG"))
    (folder / "f.jpg").write_bytes(picture(60))  # a PNG
    (folder / "a.txt").write_text("a, from its own file\n")
    (folder / "captions.tsv").write_text("file\tcaption\na.png\tother words\nb.png\tb\nmore/c.png\tc\n")
    (folder / "more" / "captions.tsv").write_text("e.png\t\n")
    (folder / "d.txt").write_bytes(b"\xff\xfe")
    (folder / "f.txt").write_text("f")
    return folder


def contents(folder):
    """All files of a folder; of shards, that is all there is to compare."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def samples(folder):
    """Members of all samples in a folder of shards, as they are read in training."""
    found = {}
    for shard in sorted(folder.glob("*.tar")):
        index = load_index(shard)
        for key, members in zip(index.keys, index.members, strict=True):
            found[key] = {suffix: read_member(shard, member) for suffix, member in members.items()}
    return found


def stats(folder):
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("*.stats.json"))]
    reasons = {}
    for one in found:
        for reason, count in one["left_out"].items():
            reasons[reason] = reasons.get(reason, 0) + count
    return sum(one["num_samples"] for one in found), reasons


def complaint(decode, *arguments):
    """What a decoder says of a file; how it says it is its own affair."""
    with pytest.raises(ValueError, match=r"\w") as caught:
        decode(*arguments)
    return str(caught.value).split(":")[0]


def test_videos_are_packed_without_a_word(footage, tmp_path, clip_bytes, capsys):
    out = tmp_path / "out"
    mav("pack", footage, out, "--samples-per-shard", 3, "--workers", 1)
    found = samples(out)
    assert [sorted(sample) for sample in found.values()] == [["json", "mkv"]] * 5
    names = [json.loads(sample["json"])["name"] for sample in found.values()]
    assert names == ["0.mkv", "2.mkv", "4.mkv", "b/1.mkv", "b/3.mkv"]
    for name, sample in zip(names, found.values(), strict=True):
        assert sample["mkv"] == (footage / name).read_bytes()
        meta = json.loads(sample["json"])
        assert (meta["width"], meta["height"], meta["num_frames"]) == (50, 34, 29)
        assert meta["fps"] == pytest.approx(28 / (TICKS[-1] / 1000), abs=1e-2)
        assert meta["duration"] == pytest.approx(29 / meta["fps"], abs=1e-2)
    for data in contents(out).values():
        assert b"secret" not in data
    assert stats(out) == (
        5,
        {"too few frames": 1, complaint(decode_video, clip_bytes[0][:50], "mkv", None): 1},
    )
    assert "5 samples in 3 shards" in capsys.readouterr().out
    for shard in out.glob("*.tar"):
        assert load_index(shard) == scan_shard(shard, checksums=True)
    loader = VideoShards(str(out), image_size=16, batch_size=5)
    assert next(iter(loader.train_dataloader()))["video"].shape == (5, 3, 16, 16, 16)


def test_images_are_packed_with_their_captions(photos, tmp_path):
    out = tmp_path / "out"
    mav("pack", photos, out, "--workers", 1)
    found = samples(out)
    assert [sample["txt"].decode() for sample in found.values()] == ["a, from its own file", "b", "f", "c"]
    for sample, value in zip(found.values(), (10, 20, 60, 30), strict=True):
        assert sorted(sample) == ["json", "png", "txt"]
        assert decode_image(sample["png"], "png", None).unique().tolist() == [value]
        meta = json.loads(sample["json"])
        assert (meta["width"], meta["height"], found[meta["key"]]) == (20, 10, sample)
    assert stats(out) == (4, {"caption is not UTF-8": 1, "no caption": 1})
    assert json.loads((out / "00000.stats.json").read_text())["misnamed"] == {"PNG in .jpg": 1}
    loader = ImageTextShards(str(out), image_size=8, batch_size=3)
    assert set(next(iter(loader.train_dataloader()))["text"]) <= {"a, from its own file", "b", "c", "f"}


def test_packing_again_changes_nothing_and_mends_what_is_gone(footage, tmp_path, capsys):
    out = tmp_path / "out"
    command = ("pack", footage, out, "--samples-per-shard", 2, "--workers", 1)
    mav(*command)
    whole = contents(out)
    assert sorted(whole) == sorted(
        ["pack.json", *(f"{n:05d}.{kind}" for n in range(4) for kind in ("tar", "index.json", "stats.json"))]
    )
    times = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    capsys.readouterr()
    mav(*command)
    assert "nothing to do" in capsys.readouterr().out
    assert times == {path: path.stat().st_mtime_ns for path in out.iterdir()}
    for name in ("00000.tar", "00001.index.json", "00002.stats.json"):
        (out / name).unlink()
        mav(*command)
        assert contents(out) == whole
        changed = [path for path in times if path.stat().st_mtime_ns != times[path]]
        assert {path.name.split(".")[0] for path in changed} == {name.split(".")[0]}
        times = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    (out / "00000.tar").write_bytes(whole["00000.tar"][:-1024])
    (out / "00001.stats.json").write_bytes(whole["00000.stats.json"])  # of as many samples
    mav(*command)
    assert contents(out) == whole
    for damaged in (b"", bytes(50), b"[]", b"3", b"null", whole["00000.stats.json"][:30]):
        (out / "00000.stats.json").write_bytes(damaged)
        mav(*command)
        assert contents(out) == whole


def test_a_killed_run_leaves_nothing_that_counts(footage, tmp_path, monkeypatch):
    out, command = (
        tmp_path / "out",
        ("pack", footage, tmp_path / "out", "--samples-per-shard", 2, "--workers", 1),
    )
    mav(*command)
    whole = contents(out)
    for name in ("00001.tar", "00001.index.json", "00001.stats.json"):
        (out / name).unlink()

    def kill(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("lightning_mav.data.shards.writer.write_index", kill)
    with pytest.raises(SystemExit):
        mav(*command)
    monkeypatch.undo()
    assert not (out / "00001.stats.json").exists()
    left, other = out / ".00001.tar.1a2b3c4d.part", out / ".00001.tar.5e6f7a8b.part"
    left.write_bytes(b"half")
    other.write_bytes(b"of a run that goes on")
    os.utime(left, (0, 0))
    mav(*command)
    assert not left.exists()
    other.unlink()
    assert contents(out) == whole


def test_workers_and_parts_change_no_byte(footage, tmp_path):
    common = ("--samples-per-shard", 2, "--gop", 8)
    mav("pack", footage, tmp_path / "one", *common, "--workers", 1)
    mav("pack", footage, tmp_path / "two", *common, "--workers", 2)
    whole = contents(tmp_path / "one")
    assert contents(tmp_path / "two") == whole
    apart = {}
    for number in (1, 2, 3):
        mav("pack", footage, tmp_path / f"part{number}", *common, "--workers", 1, "--part", f"{number}/3")
        part = contents(tmp_path / f"part{number}")
        assert part.pop("pack.json") == whole["pack.json"]
        assert not apart.keys() & part.keys()
        apart |= part
        mav("pack", footage, tmp_path / "joint", *common, "--workers", 1, "--part", f"{number}/3")
    assert {**apart, "pack.json": whole["pack.json"]} == whole == contents(tmp_path / "joint")


def test_what_goes_where_depends_on_sizes_alone():
    sources = [Source(f"{n}.mp4", None, (size, 0)) for n, size in enumerate([5, 5, 1, 20, 1, 1, 1, 1])]

    def names(**settings):
        return [[int(s.name[0]) for s in shard] for shard in plan(sources, PackSettings("video", **settings))]

    assert names(samples_per_shard=3) == [[0, 1, 2], [3, 4, 5], [6, 7]]
    assert names(max_bytes_per_shard=10) == [[0, 1], [2], [3], [4, 5, 6, 7]]
    assert names(max_bytes_per_shard=10, samples_per_shard=2) == [[0, 1], [2], [3], [4, 5], [6, 7]]
    assert plan([], PackSettings("video")) == []


def test_foreign_folders_are_refused(footage, photos, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    fails(
        "holds files that 'mav data pack' did not write, such as notes.txt",
        "pack",
        photos,
        out,
        capsys=capsys,
    )
    assert contents(out) == {"notes.txt": b"mine"}
    out = tmp_path / "shards"
    mav("pack", photos, out, "--workers", 1)
    whole = contents(out)
    fails("(samples_per_shard differ)", "pack", photos, out, "--samples-per-shard", 7, capsys=capsys)
    fails("kind", "pack", footage, out, capsys=capsys)
    (photos / "a.txt").write_text("other words")
    fails("(files differ): choose another folder", "pack", photos, out, capsys=capsys)
    assert contents(out) == whole
    (tmp_path / "file").write_text("")
    fails("cannot be written", "pack", photos, tmp_path / "file", capsys=capsys)


def test_mistakes_are_one_line(footage, photos, tmp_path, capsys):
    out, empty = tmp_path / "out", tmp_path / "empty"
    empty.mkdir()
    fails("there is no ", "pack", tmp_path / "gone", out, capsys=capsys)
    fails("there is nothing to pack", "pack", empty, out, capsys=capsys)
    fails("holds 7 videos and 6 images: add --kind", "pack", tmp_path, out, capsys=capsys)
    fails("--gop and --size are for videos", "pack", photos, out, "--gop", 5, capsys=capsys)
    fails("must be I/N", "pack", photos, out, "--part", "3/2", capsys=capsys)
    fails("there are no shards", "check", empty, capsys=capsys)
    fails("no command is run", "index", "pipe:cat x.tar", capsys=capsys)
    fails("run this where the shards are", "check", "memory://a/0.tar", capsys=capsys)
    fails("the lowest first", "show", out, "--fps-range", 9, 3, capsys=capsys)
    fails("invalid choice", "unpack", capsys=capsys)
    assert not out.exists()
    (photos / "captions.tsv").write_text("a.png a dog")
    fails("captions.tsv, line 1: there is no tab", "pack", photos, out, capsys=capsys)
    (empty / "x.png").write_bytes(b"?")
    (empty / "x.txt").write_text("x")
    fails("could be used", "pack", empty, out, capsys=capsys)


def test_lists_name_what_to_pack(photos, tmp_path, capsys):
    whole, listed = tmp_path / "whole", tmp_path / "listed"
    names = ["more/c.png", "", "a.png", "./a.png", str(photos / "b.png"), "gone.png"]
    (photos / "list").write_text("\n".join(names))
    mav("pack", photos / "list", listed, "--workers", 1)
    mav("pack", photos, whole, "--workers", 1)

    def captions(out):
        return [sample["txt"].decode() for sample in samples(out).values()]

    assert sorted(captions(listed)) == [caption for caption in captions(whole) if caption != "f"]
    assert stats(listed) == (3, {"no such file": 1})
    (photos / "list").write_text("a.png\nb.doc\n")
    fails("list, line 2: 'b.doc' ends in none of", "pack", photos / "list", tmp_path / "out", capsys=capsys)
    fails("is not UTF-8", "pack", photos / "d.txt", tmp_path / "out", capsys=capsys)


def test_sources_are_sorted_whatever_the_disk_says(footage):
    kind, found = find_sources(footage, None)
    assert kind == "video"
    assert [source.name for source in found] == sorted(source.name for source in found)
    assert {"short.MP4", "b/torn.mkv"} < {source.name for source in found}
    assert not any("hidden" in source.name for source in found)


@pytest.mark.parametrize("size", [None, 16])
@pytest.mark.parametrize("form", ["matroska", "mp4"])
def test_encoding_anew_keeps_frames_and_times(size, form):
    data, suffix = clip(form=form), "mp4" if form == "mp4" else "mkv"
    again = recode(data, suffix, gop=5, size=size)
    times = frame_times(again, "mp4")
    assert torch.equal(times, frame_times(data, suffix))
    np.testing.assert_allclose(times, TICKS / 1000, atol=1e-9)
    with av.open(io.BytesIO(again), format="mp4") as container:
        assert [stream.type for stream in container.streams] == ["video"]
        packets = [packet for packet in container.demux() if packet.size]
        places = [number for number, packet in enumerate(packets) if packet.is_keyframe]
    assert max(np.diff([*places, len(packets)])) <= 5
    facts = probe_video(again, "mp4")
    assert (facts["width"], facts["height"]) == ((50, 34) if size is None else (24, 16))
    before, after = (decode_video(*video, 16)[0].float() for video in ((data, suffix), (again, "mp4")))
    assert (before.mean((1, 2, 3)) - after.mean((1, 2, 3))).abs().max() < 2
    assert (before - after).abs().mean() < 4
    assert recode(data, suffix, gop=5, size=size) == again


@pytest.mark.parametrize("clock", [25, 10_007, 90_000, 1_000_000])
def test_encoding_anew_keeps_any_clock(clock):
    data = clip([n * clock // 25 + n % 2 * (clock > 25) for n in range(20)], form="mp4", clock=clock)
    assert torch.equal(frame_times(recode(data, "mp4", gop=None, size=None), "mp4"), frame_times(data, "mp4"))


def test_encoding_anew_never_enlarges_and_makes_sides_even():
    (frame, *_) = read_frames(recode(clip(height=34), "mkv", gop=None, size=100), "mp4")
    assert (frame.width, frame.height) == (50, 34)
    data = io.BytesIO()
    with av.open(data, "w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 15, 11, "yuv444p"
        for value in range(0, 200, 10):
            frame = av.VideoFrame.from_ndarray(np.full((11, 15, 3), value, np.uint8), format="rgb24")
            container.mux(stream.encode(frame.reformat(format="yuv444p")))
        container.mux(stream.encode(None))
    again = recode(data.getvalue(), "mkv", gop=None, size=None)
    facts = probe_video(again, "mp4")
    assert (facts["width"], facts["height"], facts["num_frames"]) == (14, 10, 20)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_encoding_anew_turns_frames_upright(degrees):
    data = clip(form="mp4", degrees=degrees)
    before, _ = decode_video(data, "mp4", None)
    after, _ = decode_video(recode(data, "mp4", gop=None, size=None), "mp4", None)
    assert before.shape == after.shape == (29, 3, *((34, 50) if degrees == 180 else (50, 34)))
    # The ramp now rises along another axis, or falls along its own.
    assert not torch.equal(before, decode_video(clip(form="mp4"), "mp4", None)[0])
    assert (before.float() - after.float()).abs().mean() < 3
    assert (before.flip(-1, -2).float() - after.float()).abs().mean() > 20
    (frame, *_) = read_frames(recode(data, "mp4", gop=None, size=16), "mp4")
    assert "DISPLAYMATRIX" not in frame.side_data


@pytest.fixture
def shards(footage, tmp_path):
    out = tmp_path / "shards"
    mav("pack", footage, out, "--samples-per-shard", 3, "--workers", 1)
    return out


def test_whole_shards_pass_the_check(shards, capsys):
    capsys.readouterr()
    mav("check", shards, "--decode", "--workers", 1)
    assert "5 samples in 3 shards of 0.1 MB: all whole\n" in capsys.readouterr().out
    for path in shards.glob("*.index.json"):
        path.unlink()
    mav("check", f"{shards}/*.tar", "--workers", 1)
    out = capsys.readouterr().out
    assert "3 shards without an index" in out
    assert "not decoded" in out


def flip(path, offset):
    data = bytearray(path.read_bytes())
    data[offset] ^= 4
    path.write_bytes(data)


def test_check_finds_what_is_broken(shards, capsys):
    whole = contents(shards)
    shard = shards / "00000.tar"
    member = load_index(shard).members[0]["mkv"]
    check = ("check", shards, "--workers", 1)
    flip(shard, member.offset + member.size // 2)
    fails("0 shards and 1 sample broken, of 5 samples in 3 shards", *check, capsys=capsys)
    index_path(shard).unlink()
    mav(*check)  # nothing tells, but the decoder may
    (shards / "00000.index.json").write_bytes(whole["00000.index.json"])
    shard.write_bytes(whole["00000.tar"][:-1024])
    fails("1 shard and 0 samples broken", *check, capsys=capsys)
    shard.write_bytes(whole["00000.tar"])
    flip(shard, 7)
    fails("1 shard and 0 samples broken", *check, capsys=capsys)
    shard.write_bytes(whole["00000.tar"])
    index = json.loads(index_path(shard).read_text())
    index["keys"][0] = "other"
    index_path(shard).write_text(json.dumps(index))
    fails("1 shard and 0 samples broken", *check, capsys=capsys)


def test_check_decodes_everything_if_asked(shards, clip_bytes, capsys):
    def write(members):
        with tarfile.open(shards / "00009.tar", "w") as tar:
            for name, data in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))

    middle = len(clip_bytes[0]) // 2
    damaged = clip_bytes[0][:middle] + bytes(200) + clip_bytes[0][middle + 200 :]
    good = {"a.png": picture(9), "a.txt": b"a", "a.json": b"{}"}
    faults = [{"b.mkv": damaged}, {"b.png": b"?"}, {"b.png": picture(9), "b.txt": b"\xff"}]
    faults += [{"b.png": picture(9), "b.txt": b" "}, {"b.png": picture(9), "b.json": b"{"}, {"b.pkl": b""}]
    for fault in faults:
        write({**good, **fault})
        mav("check", shards, "--workers", 1)
        fails("0 shards and 1 sample broken", "check", shards, "--decode", "--workers", 1, capsys=capsys)


def test_indexes_are_written_where_there_are_none(shards, capsys):
    whole = contents(shards)
    (shards / "00000.index.json").unlink()
    (shards / "00001.index.json").write_text("{}")
    mav("index", shards)
    assert "wrote 2 of 3 indexes; 1 shard had one" in capsys.readouterr().out
    assert contents(shards) == whole
    mav("index", shards)
    assert "wrote 0 of 3 indexes" in capsys.readouterr().out
    (shards / "00000.index.json").unlink()
    flip(shards / "00000.tar", 3)
    fails("1 of 3 shards broken", "index", shards, capsys=capsys)
    assert not (shards / "00000.index.json").exists()


def test_show_draws_what_training_would(shards, photos, tmp_path, capsys):
    capsys.readouterr()
    options = ("--fps-range", 1, 40, "--num-frames", 8, "--num-draws", 30, "--beta", 3, 1)
    mav("show", shards, "--out", tmp_path / "show", *options)
    assert {path.name for path in (tmp_path / "show").iterdir()} == {"contact_sheet.png", "fps.png"}
    assert Image.open(tmp_path / "show" / "contact_sheet.png").height > 5 * 50
    out = capsys.readouterr().out
    assert "150 clips of 8 frames, beta(3, 1) over 1 to 40 fps" in out
    counts = [
        (float(line.split()[0]), int(line.split()[-1])) for line in out.splitlines() if " fps " in line[16:24]
    ]
    assert sum(count for _, count in counts) == 150
    fps = 28 / (TICKS[-1] / 1000)
    assert all(count == 0 for low, count in counts if low > fps * 1.2 or low < 8 / 28 * fps - 3)
    mav("pack", photos, tmp_path / "images", "--workers", 1)
    mav("show", tmp_path / "images", "--out", tmp_path / "photos-shown")
    assert [path.name for path in (tmp_path / "photos-shown").iterdir()] == ["contact_sheet.png"]
