"""The micro-world's shards look as img2dataset and video2dataset leave them."""

import io
import json
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.reading import parse_caption
from lightning_mav.data.codecs.decode import decode_video
from lightning_mav.utils.errors import UsageError
from lightning_mav.utils.numbers import MAX_SEED
from lightning_mav.worlds import folders
from lightning_mav.worlds.micro import samples, shards, world
from lightning_mav.worlds.micro.shards import write_images, write_videos


def members(path):
    with tarfile.open(path, "r:") as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def test_images_are_laid_out_as_img2dataset_does(micro_world):
    files = members(micro_world / "images" / "000000.tar")
    keys = [f"{index:010d}" for index in range(24)]
    assert list(files) == [f"{key}.{suffix}" for key in keys for suffix in ("json", "png", "txt")]
    for key in keys:
        meta, text = json.loads(files[f"{key}.json"]), files[f"{key}.txt"].decode()
        assert (meta["key"], meta["caption"], meta["status"]) == (key, text, "success")
        image = Image.open(io.BytesIO(files[f"{key}.png"]))
        assert image.size == (meta["width"], meta["height"]) == (48, 48)
        assert {"shape", "colour"} <= parse_caption(text).keys()


def test_videos_are_laid_out_as_video2dataset_does_and_say_nothing(micro_world):
    files = members(micro_world / "videos" / "000000.tar")
    assert list(files) == [f"{index:010d}.{suffix}" for index in range(6) for suffix in ("json", "mp4")]
    words = {word for names in world.ATTRIBUTES.values() for word in names}
    for name, data in files.items():
        if name.endswith(".json"):
            assert not words & set(str(json.loads(data)).replace("'", " ").split())
            assert "caption" not in json.loads(data)
        else:
            frames, times = decode_video(data, "mp4", None)
            fps = json.loads(files[name.replace("mp4", "json")])["fps"]
            assert fps in samples.VIDEO_FPS
            assert frames.shape == (2 * fps, 3, 32, 32)
            torch.testing.assert_close(times, torch.arange(2 * fps).double() / fps, atol=1e-4, rtol=0)


def test_pixels_survive(tmp_path):
    write_images(tmp_path / "images", num_images=4, image_size=32, progress=False)
    write_videos(tmp_path / "videos", num_videos=2, video_size=32, seconds=0.5, progress=False)
    # The same draws, straight from the renderer.
    generator = shards._generator(tmp_path / "images", 0)
    images = world.render_images(samples.sample_appearances(world.ALL, 4, generator), 32, generator)
    generator = shards._generator(tmp_path / "videos", 0)
    appearances, rates = (
        samples.sample_appearances(world.SEEN, 2, generator),
        samples.sample_fps(2, generator),
    )
    videos = world.render_videos(appearances, rates, 15, 32, generator)
    files = members(tmp_path / "images" / "000000.tar")
    for index, image in enumerate(images):
        pixels = np.asarray(Image.open(io.BytesIO(files[f"{index:010d}.png"])))
        assert np.abs(pixels / 127.5 - 1 - image.permute(1, 2, 0).numpy()).max() <= 0.6 / 127.5
    files = members(tmp_path / "videos" / "000000.tar")
    for index, video in enumerate(videos):
        frames, _ = decode_video(files[f"{index:010d}.mp4"], "mp4", None)
        assert len(frames) == round(0.5 * int(rates[index]))
        error = frames.transpose(0, 1) / 127.5 - 1 - video[:, : len(frames)]
        assert error.square().mean() < 4 * 10 ** (-40 / 10)  # 40 dB of a range of 2


def test_no_video_shows_a_held_out_appearance():
    held_out = {tuple(row) for row in world.HELD_OUT.tolist()}
    drawn = samples.sample_appearances(world.SEEN, 2400, torch.Generator().manual_seed(0)).tolist()
    assert len({tuple(row) for row in drawn}) == len(world.SEEN)
    assert not held_out & {tuple(row) for row in drawn}


def test_three_captions_in_five_are_in_full():
    generator = torch.Generator().manual_seed(0)
    texts = [samples.sample_caption(world.ALL[index % 288], generator) for index in range(3000)]
    in_full = sum({"size", "background"} <= parse_caption(text).keys() for text in texts)
    assert in_full / len(texts) == pytest.approx(0.6, abs=0.04)


def test_same_seed_same_bytes_and_other_seed_or_split_other_bytes(tmp_path, micro_world):
    settings = {"num_images": 24, "image_size": 48, "progress": False}
    write_images(tmp_path / "again" / "images", **settings)
    write_images(tmp_path / "again" / "images-val", **settings)
    write_images(tmp_path / "other" / "images", seed=1, **settings)
    first = (micro_world / "images" / "000000.tar").read_bytes()
    assert (tmp_path / "again" / "images" / "000000.tar").read_bytes() == first
    assert (tmp_path / "again" / "images-val" / "000000.tar").read_bytes() != first
    assert (tmp_path / "other" / "images" / "000000.tar").read_bytes() != first
    settings = {"num_videos": 6, "video_size": 32, "seconds": 2.0, "progress": False}
    write_videos(tmp_path / "again" / "videos", **settings)
    again, before = (members(root / "videos" / "000000.tar") for root in (tmp_path / "again", micro_world))
    assert again == before


def test_the_largest_seed_draws_too(tmp_path):
    write_images(tmp_path / "images", num_images=2, image_size=16, seed=MAX_SEED, progress=False)
    assert (tmp_path / "images" / "000000.tar").is_file()


def test_writes_once_and_again_for_other_settings(tmp_path, monkeypatch):
    folder, settings = tmp_path / "images", {"image_size": 16, "progress": False}
    monkeypatch.setattr(shards, "IMAGES_PER_SHARD", 2)
    write_images(folder, num_images=5, **settings)
    assert sorted(path.name for path in folder.iterdir()) == [
        "000000.tar",
        "000001.tar",
        "000002.tar",
        "stats.json",
    ]
    assert "0000020000.png" in members(folder / "000002.tar")
    before = folder.stat().st_ino
    write_images(folder, num_images=5, **settings)
    assert folder.stat().st_ino == before
    monkeypatch.setattr(world, "WORLD_VERSION", world.WORLD_VERSION + 1)
    write_images(folder, num_images=5, **settings)
    assert json.loads((folder / "stats.json").read_text())["world_version"] == world.WORLD_VERSION
    write_images(folder, num_images=3, **settings)
    assert not (folder / "000002.tar").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_any_number_of_processes_writes_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "IMAGES_PER_SHARD", 3)
    monkeypatch.setattr(shards, "VIDEOS_PER_SHARD", 2)
    for num in (1, 2):
        monkeypatch.setattr(folders, "num_cores", lambda num=num: num)
        folder = tmp_path / str(num)
        write_images(folder / "images", num_images=7, image_size=16, progress=False)
        write_videos(folder / "videos", num_videos=3, video_size=16, seconds=0.2, progress=False)
    one, two = (
        {path.relative_to(tmp_path / num): path.read_bytes() for path in (tmp_path / num).glob("*/*.tar")}
        for num in "12"
    )
    assert len(one) == 3 + 2
    assert one == two


def test_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(pixels):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(samples, "encode_png", fail)
    with pytest.raises(UsageError, match=r"images: cannot be written \(No space left"):
        write_images(tmp_path / "images", num_images=3, image_size=16, progress=False)
    assert not list(tmp_path.iterdir())


def test_other_peoples_files_are_not_replaced(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "holiday.jpg").write_bytes(b"")
    with pytest.raises(UsageError, match="choose another folder"):
        write_images(tmp_path / "images", num_images=3, image_size=16, progress=False)
    assert (tmp_path / "images" / "holiday.jpg").exists()
