"""The matrix of bad inputs, row by row, through the readers that training uses.

A row demands one of three things: that training stops with a line that names the shard, the byte and the
remedy; that the sample is skipped, counted by its reason and always replaced by the same one; or that it just
works. Nothing may hang, run what a file holds, or take memory without bound.

Rows that are no matter of shards are held elsewhere: a checksum of weights that differs in test_weights.py,
configuration of the wrong type or with unknown keys in test_cli.py. More than a hundredth broken, and nothing
that is usable, are in test_datamodules.py, every single bit and every length of a shard in test_index.py.
"""

import bz2
import gzip
import io
import json
import math
import os
import pickle
import resource
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from helpers.damaged import (
    FRAGMENTS,
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
    patch,
    picture,
)
from helpers.shards import assert_same, fit, png, take, write_shard
from helpers.tars import SAMPLES, resealed, write_tar
from lightning_mav.data.codecs import clock
from lightning_mav.data.shards.check import write_missing_index
from lightning_mav.data.shards.index import ShardError, index_path, load_index
from lightning_mav.datamodules import ImageTextShards, VideoShards
from lightning_mav.datamodules.batches import Plan
from lightning_mav.datamodules.clips import ClipSampler
from lightning_mav.datamodules.metadata_filter import MetadataFilter
from lightning_mav.diffusion import GaussianDiffusion, Sampler
from lightning_mav.evaluation.features import MicroVideoNetwork
from lightning_mav.models.sampling import Sampling
from lightning_mav.nn import PriorTransformer, Pseudo3DUNet
from lightning_mav.stages import SRHStage
from lightning_mav.training.checkpoints import read_newest
from lightning_mav.utils.errors import UsageError

pytestmark = pytest.mark.timeout(10, func_only=True)
MEMORY = 100_000  # kB


def memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


# Stop, naming shard, byte and remedy


def whole(folder):
    return write_tar(folder / "whole.tar", SAMPLES).read_bytes()


def claiming(size, folder):
    """A shard whose first header says another size."""
    data = whole(folder)
    return resealed(data[:124] + size + data[136:512]) + data[512:]


def tar_of(folder, *names):
    return write_tar(folder / "whole.tar", [(name, b"") for name in names]).read_bytes()


# The data begins at byte 512, the second header is at 2560 and the end marker at 4096.
STOP = {
    "empty shard": (lambda folder: b"", "byte 0: it is empty"),
    "HTML shard": (lambda folder: b"<!DOCTYPE html><html>404</html>", "byte 0: it is a web page"),
    "compressed shard": (lambda folder: gzip.compress(whole(folder)), "byte 0: it is compressed with gzip"),
    "compressed shard, bzip2": (lambda folder: bz2.compress(whole(folder)), "byte 0: .*bzip2"),
    "gzip bomb": (lambda folder: gzip.compress(bytes(2**26), 1), "byte 0: it is compressed with gzip"),
    "truncated in data": (lambda folder: whole(folder)[:1000], "byte 0: a member claims 700 bytes, but 488"),
    "truncated in header": (lambda folder: whole(folder)[:2700], "byte 2560: a header is cut off"),
    "truncated at boundary": (lambda folder: whole(folder)[:2560], "byte 2560: the file ends here"),
    "truncated in end marker": (lambda folder: whole(folder)[:4608], "byte 4096: the end marker is cut off"),
    "bad header checksum": (
        lambda folder: (d := whole(folder))[:2570] + b"!" + d[2571:],
        "byte 2560: bad header checksum",
    ),
    "oversized claim": (
        lambda folder: claiming(b"77777777777\0", folder),
        "byte 0: a member claims 8589934591",
    ),
    "oversized claim, 1 TB": (
        lambda folder: claiming(b"\x80" + (2**40).to_bytes(11), folder),
        "byte 0: a member claims 1099511627776 bytes",
    ),
    "duplicate member": (lambda folder: tar_of(folder, "0.png", "0.png"), "byte 512: a second '0.png'"),
    "non-contiguous key": (
        lambda folder: tar_of(folder, "0.png", "1.png", "0.txt"),
        "byte 1024: members of '0' with members of others between them",
    ),
}


@pytest.mark.parametrize("row", STOP)
@pytest.mark.parametrize("num_workers", [0, 1])
def test_damaged_shard_stops_training(row, num_workers, tmp_path):
    make, problem = STOP[row]
    data = make(tmp_path)
    (tmp_path / "whole.tar").unlink(missing_ok=True)
    write_shard(tmp_path / "good.tar", [{"png": png(50), "txt": "fifty"}] * 3)
    (tmp_path / "bad.tar").write_bytes(data)
    before = memory()
    with pytest.raises(ShardError, match=rf"bad\.tar, {problem}") as caught:
        take(ImageTextShards(str(tmp_path), image_size=8, batch_size=6, num_workers=num_workers))
    assert str(caught.value).partition("; ")[2]  # the remedy
    assert "\n" not in str(caught.value)
    assert memory() - before < MEMORY


@pytest.mark.parametrize("damage", ["missing", "truncated", "replaced"])
def test_shard_that_is_damaged_while_it_is_read_stops_training(damage, tmp_path):
    write_shard(tmp_path / "0.tar", [{"png": png(i), "txt": str(i)} for i in range(8)])
    write_missing_index(str(tmp_path / "0.tar"))
    batches = iter(ImageTextShards(str(tmp_path), image_size=8, batch_size=4).train_dataloader())
    next(batches)
    if damage == "missing":
        (tmp_path / "0.tar").unlink()
    elif damage == "truncated":
        os.truncate(tmp_path / "0.tar", 1024)
    else:
        write_shard(tmp_path / "0.tar", [{"png": png(9), "txt": "9"}] * 2)
        index_path(tmp_path / "0.tar").unlink()
    with pytest.raises(ShardError, match=r"0\.(tar|index\.json).*; "):
        next(batches)


def test_no_command_is_run(tmp_path):
    for url in ("pipe:touch {}", "data/a.tar::pipe:touch {}", ""):
        with pytest.raises(ValueError, match=r"no command is run|urls is empty"):
            ImageTextShards(url.format(tmp_path / "gone.tar"), image_size=8)
    assert not (tmp_path / "gone.tar").exists()


class Payload:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_pickled_members_are_never_opened(tmp_path):
    payload = pickle.dumps(Payload(tmp_path / "executed"))
    others = dict.fromkeys(("pkl", "pickle", "pth", "npy", "npz", "json"), payload)
    samples = [{"png": png(i), "txt": b"t", **others} for i in range(4)]
    files = [(f"{i}.{suffix}", data) for i, sample in enumerate(samples) for suffix, data in sample.items()]
    write_tar(tmp_path / "0.tar", files)
    (batch,) = take(ImageTextShards(str(tmp_path), image_size=8, batch_size=4), 1)
    assert "skipped" not in batch
    assert not (tmp_path / "executed").exists()
    pickle.loads(payload)  # it would have worked
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize("protocol", [2, None])
def test_pickled_checkpoint_is_refused(protocol, tmp_path):
    payload = pickle.dumps(Payload(tmp_path / "executed"), protocol=protocol)
    with zipfile.ZipFile(tmp_path / "a.ckpt", "w") as archive:
        archive.writestr("archive/data.pkl", payload)
        archive.writestr("archive/version", "3\n")
    with pytest.raises(UsageError, match=r"a\.ckpt: is a pickle .*: delete it"):
        read_newest(tmp_path)
    (tmp_path / "a.ckpt").write_bytes(payload)  # as torch.save wrote them long ago
    with pytest.raises(UsageError, match=r"a\.ckpt: is a pickle .*: delete it"):
        read_newest(tmp_path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_any_world_size_reads_every_position_once(world_size):
    """Batches are counted per device: there is no global batch that a world size could fail to divide."""
    plans = [Plan(4, seed=0, rank=rank, world_size=world_size) for rank in range(world_size)]
    read = [position for number in range(3) for plan in plans for position in plan.positions(number)]
    assert read == list(range(3 * 4 * world_size))


# Skip and count by reason


def jpg():
    return picture("JPEG")


def over_duration():
    return encode(num_frames=20, pts=[*range(19), 4_000_000])


NO_IMAGE, NO_VIDEO = "no PNG, JPEG or WebP image", "no video of its kind"
BAD_IMAGES = {
    "random jpg": ({"jpg": np.random.default_rng(0).bytes(5000)}, NO_IMAGE),
    "half a jpg": ({"jpg": (lambda: (d := jpg())[: len(d) // 2])}, "damaged or truncated image"),
    "zero jpg": ({"jpg": bytes(5000)}, NO_IMAGE),
    "empty jpg": ({"jpg": b""}, NO_IMAGE),
    "missing image": ({"jpg": None}, "member missing"),
    "missing txt": ({"txt": None}, "no caption"),
    "zero txt": ({"txt": b""}, "no caption"),
    "blank txt": ({"txt": b" \n"}, "no caption"),
    "non-UTF-8 txt": ({"txt": b"\xff\xfe"}, "caption is not UTF-8"),
    "bad json": ({"json": b"{"}, "bad json"),
    "json that is no object": ({"json": b"[1]"}, "bad json"),
    "image over the pixel cap": ({"jpg": lambda: large_image(12_000)}, "empty or too large"),
    "image bomb": ({"jpg": None, "png": lambda: bomb_of_pixels(20_000)}, "empty or too large"),
}


def bomb_of_pixels(size):
    """A PNG that takes 1.6 GB of memory and a few kB of disk."""
    data = io.BytesIO()
    Image.new("1", (8, 8)).save(data, "PNG")
    data = patch(data.getvalue(), 16, ">II", size, size)
    return patch(data, 29, ">I", zlib.crc32(data[12:29]))


BAD_VIDEOS = {
    "mp4 empty": (lambda: b"", "empty file"),
    "mp4 random": (lambda: np.random.default_rng(0).bytes(99_999), NO_VIDEO),
    "mp4 truncated": (lambda: encode()[:3000], "truncated video"),
    "mp4 audio-only": (audio, "no video stream"),
    "mp4 moov missing": (lambda: (d := encode())[: d.index(b"moov") - 4], "truncated video"),
    "is_corrupt": (lambda: flip(encode(), num=4), "damaged video"),
    "over size cap": (lambda: large(16_000, 12_000), "empty or too large"),
    "over duration cap": (over_duration, "too long"),
    "fewer frames than needed": (lambda: encode(num_frames=15), "too few frames"),
    "one frame": (lambda: encode(num_frames=1), "too few frames"),
    "index bomb": (lambda: bomb(2**31), "false index"),
    "concat as mp4": (lambda: b"ffconcat version 1.0\nfile /etc/passwd\n", NO_VIDEO),
    "m3u8 as mp4": (lambda: b"#EXTM3U\n#EXTINF:9,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n", NO_VIDEO),
    "gif as mp4": (gif, NO_VIDEO),
    "other file as its frames": (lambda: external("/etc/passwd"), "no frames"),
}


def check_pass(make, reason, caplog, num=8):
    """One sample of eight is of no use: it is replaced, always by the same, and the sums are exact."""
    before = memory()
    first = take(make(), 2)
    assert memory() - before < MEMORY
    (position,) = [position for batch in first for position in batch.get("skipped", {})]
    assert [batch["skipped"][position] for batch in first if "skipped" in batch] == [reason]
    assert_same(first, take(make(), 2))
    assert_same(first, take(make(num_workers=1), 2))
    with caplog.at_level("INFO"):
        datamodule = make()
        fit(datamodule, max_steps=2)
    assert datamodule.ledger.num_done[0] == num
    assert datamodule.ledger.reasons(0) == {reason: 1}
    assert f"pass 1 over {num} samples: {num - 1} read, 1 skipped (1 {reason})" in caplog.text


def value(thing):
    return thing() if callable(thing) else thing


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("row", BAD_IMAGES)
def test_bad_image_is_skipped_and_counted(row, tmp_path, caplog):
    change, reason = BAD_IMAGES[row]
    meta = json.dumps({"width": 64, "height": 48}).encode()
    good = {"jpg": jpg(), "txt": b"words", "json": meta}
    bad = {suffix: value(data) for suffix, data in {**good, **change}.items()}
    write_tar(
        tmp_path / "0.tar",
        [
            (f"{i}.{suffix}", data)
            for i in range(8)
            for suffix, data in (bad if i == 3 else good).items()
            if data is not None
        ],
    )

    def make(**settings):
        keep = MetadataFilter(min_size=8)
        return ImageTextShards(str(tmp_path), image_size=8, batch_size=4, keep=keep, **settings)

    check_pass(make, reason, caplog)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("row", BAD_VIDEOS)
def test_bad_video_is_skipped_and_counted(row, tmp_path, caplog):
    make_bad, reason = BAD_VIDEOS[row]
    good, bad = encode(num_frames=20, gop=5), make_bad()
    write_shard(tmp_path / "0.tar", [{"mp4": bad if i == 3 else good} for i in range(8)])

    def make(**settings):
        return VideoShards(str(tmp_path), image_size=8, batch_size=4, **settings)

    check_pass(make, reason, caplog)


@pytest.mark.filterwarnings("ignore")
def test_crc_mismatch_is_skipped_and_counted(tmp_path, caplog):
    write_shard(tmp_path / "0.tar", [{"png": png(9 * i), "txt": str(i)} for i in range(8)])
    write_missing_index(str(tmp_path / "0.tar"))
    member = load_index(tmp_path / "0.tar").members[3]["txt"]
    data = (tmp_path / "0.tar").read_bytes()
    (tmp_path / "0.tar").write_bytes(data[: member.offset] + b"8" + data[member.offset + 1 :])

    def make(**settings):
        return ImageTextShards(str(tmp_path), image_size=8, batch_size=4, **settings)

    check_pass(make, "crc32 mismatch", caplog)


@pytest.mark.filterwarnings("ignore")
def test_member_over_the_size_cap_is_skipped_and_counted(tmp_path, caplog, monkeypatch):
    samples = [{"png": png(9 * i), "txt": str(i)} for i in range(8)]
    samples[3]["png"] += bytes(2000)
    write_shard(tmp_path / "0.tar", samples)
    monkeypatch.setattr(ImageTextShards, "max_member_bytes", 1500)

    def make(**settings):
        return ImageTextShards(str(tmp_path), image_size=8, batch_size=4, **settings)

    check_pass(make, "too large", caplog)


@pytest.mark.filterwarnings("ignore")
def test_video_over_the_time_cap_is_skipped_and_counted(tmp_path, caplog, monkeypatch):
    good, slow = encode(num_frames=20, gop=5), encode(num_frames=60, gop=1)
    write_shard(tmp_path / "0.tar", [{"mp4": slow if i == 3 else good} for i in range(8)])
    calls, check = [], clock.Clock.check

    def count(self):  # as if each packet took a second, and nothing else any time
        calls.append(self)
        monkeypatch.setattr(clock.time, "thread_time", lambda: calls.count(self))
        self.start = 0
        check(self)

    monkeypatch.setattr(clock.Clock, "check", count)

    def make(**settings):
        return VideoShards(str(tmp_path), image_size=8, batch_size=4, max_seconds=45, **settings)

    check_pass(make, "too slow", caplog)


# Must work


def varying():
    steps = np.random.default_rng(1).integers(5, 90, 40)
    return encode(num_frames=40, pts=np.cumsum(steps).tolist())


WORKS = {
    "VFR": ("mp4", varying),
    "start is not 0": ("mp4", lambda: encode(num_frames=30, pts=[5000 + 33 * i for i in range(30)])),
    "rotation": ("mp4", lambda: encode(num_frames=30, setup=lambda stream: stream.set_display_rotation(90))),
    "odd size": ("mkv", lambda: encode("mkv", size=(47, 63), pix_fmt="yuv444p", num_frames=30)),
    "10 bit HEVC": (
        "mp4",
        lambda: encode(codec="libx265", gop=10, pix_fmt="yuv420p10le", options=X265, num_frames=30),
    ),
    "VP9": ("webm", lambda: encode("webm", "libvpx-vp9", gop=10, options=VP9, num_frames=30)),
    "fragments": ("mp4", lambda: encode(gop=10, muxing=FRAGMENTS, num_frames=30)),
}


@pytest.mark.parametrize("row", WORKS)
def test_unusual_video_works(row, tmp_path):
    suffix, make = WORKS[row]
    write_shard(tmp_path / "0.tar", [{suffix: make()}] * 4)
    (batch,) = take(VideoShards(str(tmp_path), image_size=16, batch_size=4), 1)
    assert batch.keys() == {"video", "fps"}
    assert batch["video"].shape == (4, 3, 16, 16, 16)
    assert batch["video"].std() > 0.1


def test_names_that_lead_elsewhere_are_names_alone(tmp_path):
    folder = tmp_path / "shards"
    folder.mkdir()
    files = []
    for name in ("../../outside", "/absolute", "a/../../b", "c\\d", "~/e", "f\ng"):
        files += [(f"{name}.png", png(9)), (f"{name}.txt", b"words")]
    write_tar(folder / "0.tar", files, tarfile.GNU_FORMAT)
    (batch,) = take(ImageTextShards(str(folder), image_size=8, batch_size=6), 1)
    assert "skipped" not in batch
    assert [path.name for path in tmp_path.rglob("*")] == ["shards", "0.tar"]


# An index that is written anew while shards are read


@pytest.mark.parametrize("change", ["the same", "touched", "removed", "first made"])
def test_rewritten_index_changes_no_batch(change, tmp_path):
    samples = [{"png": png(9 * i), "txt": str(i)} for i in range(8)]
    write_shard(tmp_path / "0.tar", samples)
    path = index_path(tmp_path / "0.tar")

    def batches():
        return iter(ImageTextShards(str(tmp_path), image_size=8, batch_size=4).train_dataloader())

    if change != "first made":
        write_missing_index(str(tmp_path / "0.tar"))
    expected, read = batches(), batches()
    for _ in range(2):
        assert_same([next(expected)], [next(read)])
    content = path.read_bytes() if path.exists() else b""
    path.unlink(missing_ok=True)
    if change == "first made":
        write_missing_index(str(tmp_path / "0.tar"))
    elif change != "removed":
        path.write_bytes(content)
    os.utime(tmp_path / "0.tar")  # so that it is read again
    other = iter(batches())
    for _ in range(2):
        next(other)
    for _ in range(4):
        assert_same([next(other)], [next(read)])


@pytest.mark.parametrize("fewer", [True, False])
def test_shard_with_more_or_fewer_samples_than_before_stops_training(fewer, tmp_path):
    samples = [{"png": png(9 * i), "txt": str(i)} for i in range(8)]
    for folder, num in (("a", 8), ("b", 4 if fewer else 8)):
        (tmp_path / folder).mkdir()
        write_shard(tmp_path / folder / "0.tar", samples[:num] if fewer else [*samples, *samples[:num]])
    write_shard(tmp_path / "a" / "0.tar", samples)
    write_missing_index(str(tmp_path / "a" / "0.tar"))
    batches = iter(ImageTextShards(str(tmp_path / "a"), image_size=8, batch_size=4).train_dataloader())
    next(batches)
    write_missing_index(str(tmp_path / "b" / "0.tar"))
    for name in ("0.tar", "0.index.json"):
        os.replace(tmp_path / "b" / name, tmp_path / "a" / name)
    with pytest.raises(ShardError, match=r"0.tar: it has \d+ samples, and had 8 when reading started; keep"):
        next(batches)


SIZES = {"channels": 8, "channel_mults": [1], "attention_levels": [], "norm_groups": 4}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda v: Pseudo3DUNet(**SIZES | {"channels": v}), "channels must be a whole number"),
        (
            lambda v: Pseudo3DUNet(**SIZES | {"channel_mults": [1, v]}),
            "channel_mults must be a list of whole",
        ),
        (lambda v: Pseudo3DUNet(**SIZES, dropout=v), "dropout must be a finite number"),
        (lambda v: GaussianDiffusion(num_timesteps=v), "num_timesteps must be a whole number"),
        (lambda v: GaussianDiffusion(logit_mean=v), "logit_mean must be a finite number"),
        (lambda v: Sampler(num_steps=v), "num_steps must be a whole number"),
        (lambda v: Sampler(guidance_scale=v), "guidance_scale must be a finite number"),
        (lambda v: MicroVideoNetwork(num_features=v), "num_features must be a whole number"),
        (lambda v: ClipSampler(v), "num_frames must be a whole number"),
        (lambda v: ClipSampler(4, fps_range=(1.0, v)), "fps_range must be a list of 2 finite numbers"),
        (lambda v: ClipSampler(4, beta=(v, 1.0)), "beta must be a list of 2 finite numbers"),
        (lambda v: MetadataFilter(max_unsafe=v), "max_unsafe must be a finite number or None"),
        (lambda v: MetadataFilter(min_size=v), "min_size must be a whole number or None"),
        (lambda v: ImageTextShards("x", image_size=8, batch_size=v), "batch_size must be a whole number"),
        (lambda v: VideoShards("x", image_size=8, max_seconds=v), "max_seconds must be a finite number"),
        (
            lambda v: SRHStage(Pseudo3DUNet(**SIZES), GaussianDiffusion(), Sampler(), lr=v),
            "lr must be a finite",
        ),
    ],
)
@pytest.mark.parametrize("value", [math.nan, math.inf, "0.5", True, [1], None])
def test_constructors_take_finite_numbers_of_their_type(make, message, value):
    if value is None and "None" in message:
        make(value)
        return
    with pytest.raises(ValueError, match=f"^{message}.*, got "):
        make(value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Pseudo3DUNet(**SIZES | {"norm_groups": 0}), "norm_groups must be at least 1, got 0"),
        (lambda: Pseudo3DUNet(**SIZES | {"channel_mults": []}), "length of channel_mults must be at least 1"),
        (lambda: Pseudo3DUNet(**SIZES, cond_channels=-1), "cond_channels must be at least 0, got -1"),
        (lambda: Pseudo3DUNet(**SIZES, dropout=1.5), "dropout must be from 0 to 1, got 1.5"),
        (lambda: Pseudo3DUNet(**SIZES, film=1), "film must be true or false, got 1"),
        (
            lambda: PriorTransformer(8, text_width=8, width=8, num_layers=0, num_heads=2),
            "num_layers must be at",
        ),
        (lambda: ClipSampler(4, fps_range=(1.0, 2.0, 3.0)), "fps_range must be a list of 2 finite numbers"),
        (lambda: MetadataFilter(max_unsafe=1.5), "max_unsafe must be from 0 to 1, got 1.5"),
        (lambda: ImageTextShards("x", image_size=8, seed=2**63), "seed must be at least 0, at most"),
        (
            lambda: SRHStage(Pseudo3DUNet(**SIZES), GaussianDiffusion(), Sampler(), lr=-1.0),
            "lr must be at least 0, got -1.0",
        ),
    ],
)
def test_constructors_know_the_range_of_their_numbers(make, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        make()


def test_whole_numbers_are_numbers_and_tuples_are_lists():
    assert Pseudo3DUNet(**SIZES | {"channel_mults": (1,), "dropout": 0}).in_channels == 3
    assert ClipSampler(4, fps_range=[1, 30]).num_frames == 4
    assert Sampler(guidance_scale=10**400 // 10**399).guidance_scale == 10


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"seed": -1}, "seed must be at least 0"),
        ({"seed": 1.5}, "seed must be a whole number"),
        ({"num_steps": "3"}, "num_steps must be a whole number or"),
        ({"num_steps": {"prior": 0}}, "num_steps must be at least 1"),
        ({"num_steps": {"prior": "3"}}, "num_steps must be a whole number"),
        ({"num_steps": {"prior": 2.5}}, "num_steps must be a whole number"),
        ({"num_steps": {"priors": 2}}, "num_steps must name some of clip, prior,"),
        ({"guidance_scale": {"all": 2}}, "guidance_scale must name some of clip, prior,"),
        ({"guidance_scale": math.nan}, "guidance_scale must be a finite number or"),
        ({"guidance_scale": {"prior": math.nan}}, "guidance_scale must be at least 0"),
    ],
)
def test_sampling_takes_finite_numbers_of_their_type(given, message):
    with pytest.raises(ValueError, match=f"^{message}.*, got "):
        Sampling(**given)
    assert Sampling(num_steps={"prior": 2}, guidance_scale=3).arguments("prior")["num_steps"] == 2
