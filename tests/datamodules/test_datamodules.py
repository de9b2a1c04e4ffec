"""Readers yield what the shards hold, the frame rates they say, and never a word beside a video."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.shards import assert_same, fit, png, take, write_shard
from lightning_mav.data.codecs.decode import decode_image, decode_video
from lightning_mav.data.codecs.encode import encode_mp4
from lightning_mav.data.shards.reader import Shards
from lightning_mav.datamodules import ImageTextShards, MicroImages, MicroVideos, MixedShards, VideoShards
from lightning_mav.datamodules.batches import MIN_COUNTED
from lightning_mav.datamodules.clips import ClipSampler
from lightning_mav.datamodules.metadata_filter import MetadataFilter
from lightning_mav.utils.errors import UsageError
from lightning_mav.worlds.micro.shards import write_videos


def clock(num_frames=60, fps=30):
    """A video whose frame k is of brightness 4k."""
    frames = torch.arange(num_frames, dtype=torch.uint8)[:, None, None, None] * 4
    return encode_mp4(frames.expand(-1, 16, 16, 3).contiguous(), fps)


def read_clock(video):
    """Which frames of the clock are in a clip (3, F, H, W)."""
    return ((video.mean(dim=(0, 2, 3)) + 1) * 127.5 / 4).round()


@pytest.fixture
def clock_shards(tmp_path):
    """Videos with everything beside them that must not be read."""
    sample = {"mp4": clock(), "txt": "a caption", "json": {"caption": "a caption", "fps": 7}, "pkl": b"x"}
    write_shard(tmp_path / "000000.tar", [sample] * 3)
    return str(tmp_path)


@pytest.mark.parametrize("cache", [False, True])
def test_images_with_captions(micro_world, cache, tmp_path):
    settings = {"image_size": 16, "batch_size": 5, "cache": cache, "cache_dir": str(tmp_path)}
    batches = take(ImageTextShards(str(micro_world / "images"), **settings))
    for batch in batches:
        assert batch.keys() == {"image", "text"}
        assert batch["image"].shape == (5, 3, 16, 16)
        assert -1 <= batch["image"].min() < batch["image"].max() <= 1
        assert all(" " in text for text in batch["text"])
    assert_same(batches, take(ImageTextShards(str(micro_world / "images"), **settings)))
    others = take(ImageTextShards(str(micro_world / "images"), **settings, seed=1))
    assert not torch.equal(batches[0]["image"], others[0]["image"])
    silent = ImageTextShards(str(micro_world / "images"), **settings, with_text=False)
    assert take(silent, 1)[0].keys() == {"image"}
    assert "txt" not in silent.suffixes


@pytest.mark.parametrize("cache", [False, True])
def test_clips(micro_world, cache, tmp_path):
    settings = {"image_size": 16, "batch_size": 4, "cache": cache, "cache_dir": str(tmp_path)}
    batches = take(VideoShards(f"{micro_world}/videos/{{000000..000000}}.tar", **settings))
    for batch in batches:
        assert batch.keys() == {"video", "fps"}
        assert batch["video"].shape == (4, 3, 16, 16, 16)
        assert batch["fps"].dtype == torch.float32
        assert batch["fps"].min() >= 15 / 2 - 0.5
        assert batch["fps"].max() <= 30.01
    assert_same(batches, take(VideoShards(f"{micro_world}/videos/*.tar", **settings)))


def test_stored_pixels_are_streamed_pixels(micro_world, tmp_path, monkeypatch):
    """Every stored image and clip is one that streaming shows too."""
    url, common = str(micro_world / "images"), {"image_size": 16, "batch_size": 24}
    (stored,) = take(ImageTextShards(url, cache=True, cache_dir=str(tmp_path), **common), 1)
    seen = {}
    for batch in take(ImageTextShards(url, **common), 6):
        seen.update((image.numpy().tobytes(), text) for image, text in zip(*batch.values(), strict=True))
    assert len({image.numpy().tobytes() for image in stored["image"]}) == 24
    for image, text in zip(stored["image"], stored["text"], strict=True):
        assert seen[image.numpy().tobytes()] == text
    # 15 frames of 15: there is one clip of each video, so both ways show the same.
    monkeypatch.setattr("lightning_mav.worlds.micro.samples.VIDEO_FPS", (30,))
    write_videos(tmp_path / "videos", num_videos=6, video_size=32, seconds=0.5, progress=False)
    url, common = str(tmp_path / "videos"), {"image_size": 16, "batch_size": 6, "num_frames": 15}
    (stored,) = take(VideoShards(url, cache=True, cache_dir=str(tmp_path), **common), 1)
    streamed = {v.numpy().tobytes() for batch in take(VideoShards(url, **common), 8) for v in batch["video"]}
    assert {video.numpy().tobytes() for video in stored["video"]} == streamed


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize("even_spacing", [False, True])
def test_frame_rates_are_true(clock_shards, cache, even_spacing):
    settings = {"image_size": 16, "num_frames": 8, "batch_size": 16, "cache": cache}
    datamodule = VideoShards(clock_shards, fps_range=(1, 30), even_spacing=even_spacing, **settings)
    rates = set()
    for batch in take(datamodule, 2):
        assert batch.keys() == {"video", "fps"}
        for video, fps in zip(batch["video"], batch["fps"], strict=True):
            steps = read_clock(video).diff()
            assert steps.min() >= 1
            assert steps.max() - steps.min() <= (0 if even_spacing else 1)
            assert 30 / steps.mean() == pytest.approx(float(fps), rel=1e-3)
            rates.add(round(float(fps), 2))
    assert len(rates) >= 3
    assert min(rates) >= 30 * 7 / 59 - 0.01


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize("even_spacing", [False, True])
@pytest.mark.parametrize("start", ["first", "random"])
def test_clips_start_where_they_should(clock_shards, cache, even_spacing, start):
    settings = {"image_size": 16, "num_frames": 8, "batch_size": 16, "cache": cache, "start": start}
    datamodule = VideoShards(clock_shards, fps_range=(8, 30), even_spacing=even_spacing, **settings)
    (batch,) = take(datamodule, 1)
    starts = {round(float(read_clock(video)[0])) for video in batch["video"]}
    assert starts == {0} if start == "first" else len(starts) > 3


def test_unknown_start_is_refused():
    with pytest.raises(ValueError, match=r"start must be one of .*'first'.*, got 'last'"):
        ClipSampler(16, start="last")


def test_no_member_but_the_video_is_read(clock_shards):
    datamodule = VideoShards(clock_shards, image_size=16)
    shards = Shards([f"{clock_shards}/000000.tar"], datamodule.suffixes)
    assert [set(shards.read(number)) for number in range(len(shards))] == [{"mp4"}] * 3


def test_clip_sampler_follows_its_beta_distribution():
    times = torch.arange(3000, dtype=torch.double) / 30
    high_then_low = ClipSampler(16, beta=(8.0, 1.0), final_beta=(1.0, 8.0), beta_batches=10)
    rng = np.random.default_rng(0)
    early, middle, late = (
        np.mean([high_then_low(times, rng, batch)[1] for _ in range(300)]) for batch in (0, 5, 99)
    )
    assert early > 26 > 20 > middle > 11 > 5.5 > late
    with pytest.raises(ValueError, match="too few frames: 15 of the 16"):
        high_then_low(times[:15], rng)
    with pytest.raises(ValueError, match="num_frames=1"):
        ClipSampler(1)


def test_only_wanted_frames_are_read_and_they_are_the_right_ones():
    every, _ = decode_video(clock(), "mp4", None)
    some, times = decode_video(clock(), "mp4", None, lambda times: torch.tensor([35, 40, 41]))
    assert torch.equal(some, every[[35, 40, 41]])
    torch.testing.assert_close(times, torch.tensor([35, 40, 41], dtype=torch.double) / 30, atol=1e-4, rtol=0)


def test_images_are_cut_square_and_averaged():
    wide = np.zeros((4, 8, 3), np.uint8)
    wide[:, 2:4], wide[0, 4] = 100, 200
    data = io.BytesIO()
    Image.fromarray(wide).save(data, "PNG")
    expected = torch.tensor([[100, 50], [100, 0]], dtype=torch.uint8)
    assert torch.equal(decode_image(data.getvalue(), "png", 2)[0], expected)
    with pytest.raises(ValueError, match="8x4 pixels are fewer than the 5x5"):
        decode_image(data.getvalue(), "png", 5)


@pytest.mark.parametrize("cache", [False, True])
def test_crops(micro_world, cache, tmp_path):
    settings = {"cache": cache, "cache_dir": str(tmp_path), "batch_size": 8}
    (batch,) = take(ImageTextShards(str(micro_world / "images"), image_size=48, crop_size=20, **settings), 1)
    assert batch["image"].shape == (8, 3, 20, 20)
    (batch,) = take(VideoShards(str(micro_world / "videos"), image_size=32, crop_size=20, **settings), 1)
    assert batch["video"].shape == (8, 3, 16, 20, 20)


@pytest.mark.parametrize("cache", [False, True])
def test_every_sample_comes_once_before_any_comes_again(micro_world, cache, tmp_path):
    settings = {"image_size": 16, "batch_size": 8, "cache": cache, "cache_dir": str(tmp_path)}
    texts = [batch["image"] for batch in take(ImageTextShards(str(micro_world / "images"), **settings), 6)]
    for epoch in (texts[:3], texts[3:]):
        assert len({image.numpy().tobytes() for batch in epoch for image in batch}) == 24
    assert not torch.equal(torch.cat(texts[:3]), torch.cat(texts[3:]))


@pytest.mark.parametrize("cache", [False, True])
def test_any_number_of_ranks_sees_the_same_samples_together(micro_world, cache, tmp_path, monkeypatch):
    settings = {"image_size": 16, "cache": cache, "cache_dir": str(tmp_path)}
    url = str(micro_world / "videos")
    alone = take(VideoShards(url, batch_size=4, **settings), 3)
    parts = []
    for rank in range(2):
        datamodule = VideoShards(url, batch_size=2, **settings)
        monkeypatch.setattr(datamodule, "rank_and_world_size", lambda rank=rank: (rank, 2))
        parts.append(take(datamodule, 3))
    joined = [{k: torch.cat([a[k], b[k]]) for k in a} for a, b in zip(*parts, strict=True)]
    assert_same(alone, joined)


@pytest.mark.parametrize("cache", [False, True])
def test_workers_change_nothing(micro_world, cache, tmp_path):
    settings = {"image_size": 16, "batch_size": 4, "cache": cache, "cache_dir": str(tmp_path)}
    alone = take(VideoShards(str(micro_world / "videos"), **settings), 5)
    assert_same(alone, take(VideoShards(str(micro_world / "videos"), num_workers=2, **settings), 5))


def test_second_run_reads_the_store_alone(micro_world, tmp_path, monkeypatch):
    settings = {"image_size": 16, "batch_size": 4, "cache": True, "cache_dir": str(tmp_path)}
    first = VideoShards(str(micro_world / "videos"), max_samples=3, **settings)
    first.prepare_data()
    assert len(list(tmp_path.iterdir())) == 2
    second = VideoShards(str(micro_world / "videos"), max_samples=3, **settings)
    monkeypatch.setattr(second, "decode", None)
    assert_same(take(first), take(second))


@pytest.mark.parametrize("suffix", [".npz", ".u8"])
@pytest.mark.parametrize("left", ["nothing", "half", "zeros", "no file", "words"])
def test_half_a_store_is_made_anew(tmp_path, suffix, left):
    write_shard(tmp_path / "000000.tar", [{"png": png(50), "txt": "fifty"}] * 3)
    settings = {"image_size": 8, "batch_size": 3, "cache": True, "cache_dir": str(tmp_path / "cache")}
    whole = take(ImageTextShards(str(tmp_path), **settings), 1)
    (path,) = (tmp_path / "cache").glob(f"*{suffix}")
    data = path.read_bytes()
    path.write_bytes(
        {"half": data[: len(data) // 2], "zeros": bytes(len(data) + 1), "words": b"?"}.get(left, b"")
    )
    if left == "no file":
        path.unlink()
    assert_same(take(ImageTextShards(str(tmp_path), **settings), 1), whole)
    assert path.read_bytes() == data or suffix == ".npz"


def test_store_has_a_limit(micro_world, tmp_path, monkeypatch):
    monkeypatch.setattr("lightning_mav.datamodules.store.MAX_BYTES", 3 * 60 * 3 * 16 * 16)
    settings = {"image_size": 16, "cache": True, "cache_dir": str(tmp_path)}
    with pytest.raises(UsageError, match="set max_samples=2"):
        VideoShards(str(micro_world / "videos"), **settings).prepare_data()
    assert not list(tmp_path.iterdir())


BROKEN = [
    ({"png": png(60)[:40], "txt": "cut"}, "damaged or truncated image"),
    ({"png": b"", "txt": "empty"}, "no PNG, JPEG or WebP image"),
    ({"txt": "no image"}, "member missing"),
    ({"png": png(70)}, "no caption"),
    ({"png": png(70, size=4), "txt": "too small"}, "too small"),
    ({"png": png(70), "txt": b"\xff"}, "caption is not UTF-8"),
]


def broken_shards(folder, num_good=2):
    good = {"png": png(50), "txt": "fifty"}
    write_shard(folder / "000000.tar", [good, *(sample for sample, _ in BROKEN), *[good] * (num_good - 1)])


def test_broken_samples_are_replaced_and_counted_by_reason(tmp_path):
    broken_shards(tmp_path)
    datamodule = ImageTextShards(str(tmp_path), image_size=8, batch_size=8)
    (batch,) = take(datamodule, 1)
    assert batch["text"] == ["fifty"] * 8
    reasons = sorted(reason for _, reason in BROKEN)
    assert sorted(reason for reason in batch["skipped"].values()) == reasons
    (again,) = take(ImageTextShards(str(tmp_path), image_size=8, batch_size=8, num_workers=1), 1)
    assert again["skipped"] == batch["skipped"]


@pytest.mark.filterwarnings("ignore")
def test_passes_are_accounted_for(tmp_path, caplog):
    broken_shards(tmp_path)
    datamodule = ImageTextShards(str(tmp_path), image_size=8, batch_size=3)
    with caplog.at_level("INFO"):
        seen, _ = fit(datamodule, max_steps=6, default_root_dir=tmp_path / "run")
    named = json.loads((tmp_path / "run" / "skipped_images.json").read_text())
    assert named["no caption"] == [f"00004 in {tmp_path / '000000.tar'}"]
    assert sum(map(len, named.values())) == 6, "each once"
    assert datamodule.state_dict()["ledger"]["named"] == named
    assert all(batch.keys() == {"image", "text"} for batch in seen)
    for number in range(2):
        assert datamodule.ledger.num_done[number] == 8
        assert datamodule.ledger.reasons(number).total() == 6
        assert datamodule.ledger.reasons(number)["no caption"] == 1
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith("pass")]
    reasons = {f"1 {reason}" for _, reason in BROKEN}
    for number, line in zip((1, 2), lines, strict=True):
        start, _, listed = line.rstrip(")").partition(" (")
        assert start == f"pass {number} over 8 samples: 2 read, 6 skipped"
        assert {*listed.split("; ")} == reasons


@pytest.mark.parametrize("num_processes", [1, 2])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_store_skips_and_names_broken_samples(tmp_path, monkeypatch, num_processes):
    monkeypatch.setattr("lightning_mav.datamodules.base.num_cores", lambda: num_processes)
    monkeypatch.setattr("lightning_mav.datamodules.read_all.PART_SIZE", 3)
    broken_shards(tmp_path)
    datamodule = ImageTextShards(str(tmp_path), image_size=8, batch_size=8, cache=True)
    with pytest.warns(
        UserWarning, match=r"skipped 00003 in .*000000.tar: ValueError: member missing: none ends in png"
    ):
        (batch,) = take(datamodule, 1)
    assert batch["text"] == ["fifty"] * 8


@pytest.mark.parametrize("num_workers", [0, 1])
def test_reading_stops_when_too_much_is_broken(tmp_path, monkeypatch, num_workers):
    monkeypatch.setattr("lightning_mav.datamodules.batches.MIN_COUNTED", 20)
    broken_shards(tmp_path, num_good=54)
    datamodule = ImageTextShards(str(tmp_path), image_size=8, batch_size=4, num_workers=num_workers)
    with pytest.raises(UsageError, match=r"are broken, more than max_skipped=0.01 of them: .*data check"):
        list(map(datamodule.receive, take(datamodule, 100)))
    take(ImageTextShards(str(tmp_path), image_size=8, batch_size=4, max_skipped=0.2), 50)
    assert MIN_COUNTED == 200


@pytest.mark.parametrize("num_good", [54, 250])  # fewer than are counted, read again and again, and more
def test_limit_of_broken_samples_holds_with_a_store_of_an_earlier_run_too(tmp_path, num_good):
    broken_shards(tmp_path, num_good=num_good)
    reads = {}
    for cache in (False, True):
        for max_skipped in (0.2, 0.01):
            settings = {"image_size": 8, "batch_size": 4, "cache": cache, "max_skipped": max_skipped}
            datamodule = ImageTextShards(str(tmp_path), **settings)
            try:
                datamodule.prepare_data()
                for number, batch in enumerate(datamodule.train_dataloader()):
                    datamodule.receive(batch)
                    if number == 80:
                        break
                reads[cache, max_skipped] = "all"
            except UsageError as error:
                reads[cache, max_skipped] = str(error)
    for cache in (False, True):
        assert reads[cache, 0.2] == "all"
        assert "are broken, more than max_skipped=0.01 of them" in reads[cache, 0.01]


@pytest.mark.parametrize("num_workers", [0, 1, 3])
@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_counts_of_broken_samples_agree(tmp_path, monkeypatch, num_workers, cache):
    monkeypatch.setattr("lightning_mav.datamodules.batches.MIN_COUNTED", 40)
    meta, unwanted = b'{"pwatermark": 0}', b'{"pwatermark": 1}'
    good = {"png": png(50), "txt": "fifty", "json": meta}
    broken = [{**sample, "json": meta} for sample, _ in BROKEN if "png" in sample]
    write_shard(tmp_path / "a.tar", [good, *broken, *[{**good, "json": unwanted}] * 3, good])
    is_broken = [0, *[1] * len(broken), 0, 0, 0, 0]
    urls = "::".join([str(tmp_path / "a.tar")] * 2)  # the same shard twice
    settings = {"cache": cache, "num_workers": num_workers, "keep": MetadataFilter(max_watermark=0.5)}
    datamodule = ImageTextShards(urls, image_size=8, batch_size=3, max_skipped=0.3, **settings)
    with pytest.raises(UsageError) as caught:
        list(map(datamodule.receive, take(datamodule, 400)))
    counts, _, rest = str(caught.value).partition(" samples read are broken, more than max_skipped=0.3")
    num_broken, num_read = map(int, counts.split(" of "))
    reasons = rest.partition(": ")[2].partition("; 'mav")[0].split("; ")
    assert sum(int(reason.split()[0]) for reason in reasons) == num_broken
    assert {reason.partition(" ")[2] for reason in reasons} == {
        why for sample, why in BROKEN if "png" in sample
    }
    if cache:
        assert (num_broken, num_read) == (2 * len(broken), 2 * len(is_broken))
        return
    order, made = datamodule.stream.order, max(1, num_workers)
    true = [
        [is_broken[order(i) % len(is_broken)] for i in range(3 * 200 * made) if i // 3 % made == worker]
        for worker in range(made)
    ]
    assert any(sum(one[:num_read]) == num_broken for one in true)
    assert num_read >= 40


def test_limit_of_broken_samples_holds_for_validation(tmp_path):
    broken_shards(tmp_path, num_good=250)
    datamodule = ImageTextShards(
        str(tmp_path), image_size=8, batch_size=64, val_urls=str(tmp_path), num_val_batches=4
    )
    with pytest.raises(UsageError, match=r"are broken, more than max_skipped=0\.01"):
        datamodule.val_dataloader()


@pytest.mark.parametrize("max_skipped", [-0.1, 1.1, float("nan")])
def test_limit_of_broken_samples_is_a_share(max_skipped, tmp_path):
    with pytest.raises(ValueError, match=r"max_skipped must be (from 0 to 1|a finite number), got"):
        ImageTextShards(str(tmp_path), image_size=8, max_skipped=max_skipped)


def test_images_are_filtered_by_what_their_metadata_says(tmp_path):
    meta = {"punsafe": 0.1, "pwatermark": "0.2", "LANGUAGE": "en", "width": 64, "height": 48}
    changes = [{}, {"punsafe": 0.9}, {"pwatermark": 0.6}, {"LANGUAGE": "de"}, {"height": 30}, {"width": 200}]
    changes += [{"punsafe": None}]
    samples = [{"png": png(i), "txt": str(i), "json": {**meta, **change}} for i, change in enumerate(changes)]
    write_shard(tmp_path / "000000.tar", [*samples, {"png": png(9), "txt": "9", "json": b"{"}])
    limits = {"max_unsafe": 0.5, "max_watermark": 0.5, "languages": ["en"], "min_size": 32, "max_aspect": 3}
    keep = MetadataFilter(**limits)
    (batch,) = take(ImageTextShards(str(tmp_path), image_size=8, batch_size=8, keep=keep), 1)
    assert set(batch["text"]) == {"0"}
    reasons = ["unsafe for work", "watermark", "other language", "too small", "too elongated"]
    reasons += ["no punsafe in the metadata", "bad json"]
    assert sorted(batch["skipped"].values()) == sorted(reasons)
    (batch,) = take(ImageTextShards(str(tmp_path), image_size=8, batch_size=8), 1)
    assert len(set(batch["text"])) == 8


def test_sets_are_mixed_by_weight(tmp_path):
    for name, value in (("a", 10), ("b", 20)):
        (tmp_path / name).mkdir()
        write_shard(tmp_path / name / "000000.tar", [{"png": png(value), "txt": name}] * 5)
    urls = {str(tmp_path / "a"): 3, str(tmp_path / "b"): 1}
    for batch in take(ImageTextShards(urls, image_size=8, batch_size=8), 5):
        assert sorted(batch["text"]) == ["a"] * 6 + ["b"] * 2


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("cache", [False, True])
def test_nothing_usable_is_an_error_and_no_hang(tmp_path, cache):
    datamodule = ImageTextShards(str(tmp_path), image_size=8, cache=cache)
    with pytest.raises(UsageError, match=r"there are no shards \(\*.tar\) in .*mav world"):
        take(datamodule)
    with pytest.raises(UsageError, match=r"there is no shard .*7.tar"):
        take(ImageTextShards(f"{tmp_path}/{{7..8}}.tar", image_size=8, cache=cache))
    write_shard(tmp_path / "000000.tar", [])
    with pytest.raises(UsageError, match="no sample was found"):
        take(datamodule)
    write_shard(tmp_path / "000000.tar", [{"png": b"?", "txt": "?"}] * 3)
    expected = "3 samples were skipped" if cache else "200 samples in a row cannot be used"
    with pytest.raises(UsageError, match=expected):
        take(datamodule)


@pytest.mark.parametrize(
    "wrong",
    [
        {"image_size": None},
        {"image_size": 8, "crop_size": 9},
        {"image_size": 0},
        {"image_size": 8, "batch_size": 0},
        {"image_size": 8, "max_samples": 5},
        {"image_size": None, "crop_size": 4, "cache": True},
    ],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=r"got|must be"):
        ImageTextShards("shards", **wrong)


def test_validation_is_fixed_and_finite(micro_world):
    common = {"image_size": 16, "batch_size": 3, "num_val_batches": 2}
    images = ImageTextShards(str(micro_world / "images"), val_urls=str(micro_world / "images-val"), **common)
    loader = images.val_dataloader()
    assert len(loader) == 2
    assert_same(list(loader), list(loader))
    assert_same(list(loader), list(images.val_dataloader()))
    videos = VideoShards(str(micro_world / "videos"), val_urls=str(micro_world / "videos-val"), **common)
    assert [len(batch["video"]) for batch in videos.val_dataloader()] == [3, 1]
    assert_same(list(videos.val_dataloader()), list(videos.val_dataloader()))


@pytest.mark.filterwarnings("ignore")
def test_micro_world_is_written_on_demand_and_trains_mixed(tmp_path):
    common = {"root": str(tmp_path), "cache": True, "num_val_batches": 1}
    video = MicroVideos(num_videos=3, num_val_videos=2, source_size=16, seconds=1.0, batch_size=2, **common)
    common |= {"batch_size": 3, "with_text": False}
    image = MicroImages(num_images=5, num_val_images=2, source_size=16, **common)
    seen, _ = fit(MixedShards(video, image), max_steps=4, num_sanity_val_steps=1, val_check_interval=4)
    assert len(seen) == 6
    for batch in seen:
        assert batch["video"].keys() == {"video", "fps"}
        assert batch["image"].keys() == {"image"}
    assert seen[1]["video"]["video"].shape == (2, 3, 16, 16, 16)
    assert {path.name for path in tmp_path.iterdir()} == {"images", "images-val", "videos", "videos-val"}
    with pytest.raises(ValueError, match="with_text=False"):
        MixedShards(video, MicroImages(root=str(tmp_path)))


@pytest.mark.filterwarnings("ignore")
def test_later_epochs_go_on_with_new_batches(micro_world, tmp_path):
    settings = {"image_size": 16, "batch_size": 4, "cache": True, "cache_dir": str(tmp_path)}
    seen, _ = fit(
        ImageTextShards(str(micro_world / "images"), **settings), max_epochs=3, limit_train_batches=2
    )
    assert len({image.numpy().tobytes() for batch in seen for image in batch["image"]}) == 24


@pytest.mark.filterwarnings("ignore")
def test_resumed_run_goes_on_with_the_batches_that_come_next(micro_world, tmp_path):
    settings = {"image_size": 16, "batch_size": 4, "cache": True, "cache_dir": str(tmp_path)}

    def reader():
        return VideoShards(str(micro_world / "videos"), beta=(3.0, 1.0), **settings)

    whole, _ = fit(reader(), max_steps=6, accumulate_grad_batches=2)
    first, trainer = fit(reader(), max_steps=2, accumulate_grad_batches=2)
    trainer.save_checkpoint(tmp_path / "two.ckpt")
    rest, _ = fit(reader(), max_steps=6, accumulate_grad_batches=2, ckpt_path=tmp_path / "two.ckpt")
    assert_same(whole, first + rest)


def test_command_line_reaches_every_argument(micro_world):
    from jsonargparse import ArgumentParser
    from lightning import LightningDataModule

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--data", type=LightningDataModule)
    config = {
        "class_path": "lightning_mav.datamodules.MixedShards",
        "init_args": {
            "video": {
                "class_path": "lightning_mav.datamodules.MicroVideos",
                "init_args": {"beta": [3.0, 1.0], "cache": True, "num_frames": 8, "max_samples": 4},
            },
            "image": {
                "class_path": "lightning_mav.datamodules.MicroImages",
                "init_args": {"with_text": False, "batch_size": 7, "num_val_batches": 2, "crop_size": 4},
            },
        },
    }
    args = ["--data", json.dumps(config), "--data.image.num_workers=1", "--data.video.batch_size=3"]
    data = parser.instantiate(parser.parse_args(args)).data
    assert (data.image.batch_size, data.image.num_workers, data.image.crop_size) == (7, 1, 4)
    assert (data.video.batch_size, data.video.choose.num_frames, data.video.max_samples) == (3, 8, 4)
