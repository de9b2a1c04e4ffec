"""Writes the micro-world as shards: what img2dataset and video2dataset would have left of it.

``images/`` holds ``KEY.png KEY.txt KEY.json`` of every appearance; ``videos/`` holds ``KEY.mp4 KEY.json``,
no word of what they show, and nothing of the appearances that are held out. Names and pixels depend on the
settings and the version of the world alone; ``stats.json`` in each folder records them, so that nothing is
written twice.
"""

import json
import re
import shutil
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import webdataset as wds
from rich.progress import track

from ...data.shards.parallel import map_in_order
from ...utils.errors import UsageError
from ...utils.numbers import check_number
from ...utils.paths import visible
from ...utils.textfile import parse_json, write_text
from ...utils.threads import num_cores
from . import samples, world
from .samples import Images, Videos, sample_appearances, sample_caption, sample_fps

IMAGES_PER_SHARD = 1000
VIDEOS_PER_SHARD = 100
STATS, OWN = "stats.json", re.compile(r"stats\.json|\d{6}\.(tar|index\.json)")  # that are in a folder
SPLITS = ("images", "videos", "images-val", "videos-val")


def write_world(
    root: str | Path,
    *,
    num_images: int = 20_000,
    num_videos: int = 2_400,
    image_size: int = 192,
    video_size: int = 64,
    seconds: float = 5.0,
    seed: int = 0,
    num_val_images: int = 500,
    num_val_videos: int = 192,
    progress: bool = True,
) -> None:
    """Writes training and validation shards of images and videos under ``root``.

    Args:
        root: Folder that receives ``images``, ``videos``, ``images-val`` and ``videos-val``.
        num_images: Captioned images to train on.
        num_videos: Unlabelled videos to train on.
        image_size: Height and width of the images.
        video_size: Height and width of the videos.
        seconds: Length of a video.
        seed: Decides every pixel; the validation splits use other draws of it.
        num_val_images: Captioned images to validate on.
        num_val_videos: Unlabelled videos to validate on.
        progress: Whether to show progress bars.
    """
    root = Path(root)
    for suffix, images, videos in (("", num_images, num_videos), ("-val", num_val_images, num_val_videos)):
        common: dict[str, Any] = {"seed": seed, "progress": progress}
        folder = root / f"images{suffix}"
        write_images(folder, num_images=images, image_size=image_size, **common)
        folder = root / f"videos{suffix}"
        write_videos(folder, num_videos=videos, video_size=video_size, seconds=seconds, **common)


def write_images(
    folder: str | Path, *, num_images: int, image_size: int, seed: int = 0, progress: bool = True
) -> None:
    """Writes captioned images of all appearances, unless ``folder`` holds exactly these already."""
    folder = Path(folder)
    settings = {
        "num_samples": num_images,
        "image_size": image_size,
        "seed": seed,
        "world_version": world.WORLD_VERSION,
    }
    if _holds(folder, settings):
        return
    generator = _generator(folder, seed)
    scenes = world.sample_scenes(sample_appearances(world.ALL, num_images, generator), generator)
    texts = [sample_caption(appearance, generator) for appearance in scenes.appearances]
    _write(folder, settings, Images(scenes, image_size, texts), IMAGES_PER_SHARD, progress)


def write_videos(
    folder: str | Path,
    *,
    num_videos: int,
    video_size: int,
    seconds: float = 5.0,
    seed: int = 0,
    progress: bool = True,
) -> None:
    """Writes unlabelled videos of the seen appearances, unless ``folder`` holds exactly these already."""
    folder = Path(folder)
    settings = {
        "num_samples": num_videos,
        "video_size": video_size,
        "seconds": seconds,
        "fps": list(samples.VIDEO_FPS),
        "seed": seed,
        "world_version": world.WORLD_VERSION,
    }
    check_number("seconds", seconds, 0)
    if round(seconds * min(samples.VIDEO_FPS)) < 2 or video_size % 2:
        raise ValueError(f"a video needs two frames and an even size, got {seconds=} and {video_size=}")
    if _holds(folder, settings):
        return
    generator = _generator(folder, seed)
    appearances = sample_appearances(world.SEEN, num_videos, generator)
    rates = sample_fps(num_videos, generator)
    longest = round(seconds * max(samples.VIDEO_FPS))
    scenes = world.sample_trajectories(appearances, rates, longest, generator)
    _write(folder, settings, Videos(scenes, video_size, rates, seconds), VIDEOS_PER_SHARD, progress)


def _generator(folder: Path, seed: int) -> torch.Generator:
    """Gives each split a randomness of its own."""
    split = SPLITS.index(folder.name) if folder.name in SPLITS else len(SPLITS)
    return torch.Generator().manual_seed((seed * (len(SPLITS) + 1) + split) % 2**64)


def _holds(folder: Path, settings: dict[str, Any]) -> bool:
    try:
        return bool(parse_json((folder / "stats.json").read_bytes()) == settings)
    except (OSError, ValueError):
        return False


def _refuse_others(folder: Path) -> None:
    """Refuses to put shards in the place of what is not the micro-world.

    Raises:
        UsageError: If there is anything else in the folder.
    """
    found = [path.name for path in visible(folder)]
    others = [name for name in found if not OWN.fullmatch(name)]
    try:
        others = others or ([] if "world_version" in json.loads((folder / STATS).read_bytes()) else [STATS])
    except (OSError, ValueError, TypeError):
        others = others or found
    if others:
        what = f"{folder} holds files that 'mav world' did not write, such as {others[0]}"
        raise UsageError(f"{what}: choose another folder")


def _write(
    folder: Path,
    settings: dict[str, Any],
    encode: Callable[[int], dict[str, Any]],
    per_shard: int,
    progress: bool,
) -> None:
    """Fills a folder beside ``folder``, then puts it there in one move: readers never see half of it."""
    _refuse_others(folder)
    new = folder.parent / f".{folder.name}.{uuid.uuid4().hex[:8]}"
    old = new.with_name(new.name + ".old")
    try:
        new.mkdir(parents=True)
        _write_shards(new, encode, settings["num_samples"], per_shard, f"{folder}", progress)
        write_text(new / "stats.json", json.dumps(settings, indent=2) + "\n")
        if _holds(folder, settings):  # another process was faster
            return
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    except OSError as error:
        if not _holds(folder, settings):
            raise UsageError(f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _write_shards(
    folder: Path,
    encode: Callable[[int], dict[str, Any]],
    num: int,
    per_shard: int,
    title: str,
    progress: bool,
) -> None:
    write = partial(_write_shard, folder, encode, per_shard)
    shards = [range(start, min(start + per_shard, num)) for start in range(0, num, per_shard)]
    written = map_in_order(write, shards, num_cores())
    for _ in track(written, f"Writing {title}", total=len(shards), disable=not progress):
        pass


def _write_shard(
    folder: Path, encode: Callable[[int], dict[str, Any]], per_shard: int, numbers: range
) -> None:
    shard = numbers.start // per_shard
    with (folder / f"{shard:06d}.tar").open("wb") as file, wds.TarWriter(file, mtime=0) as tar:
        for number, index in enumerate(numbers):
            key = f"{shard:06d}{number:04d}"
            members = encode(index)
            meta = json.dumps({"url": None, "key": key, **members["json"]}, indent=4)
            tar.write({**members, "json": meta.encode(), "__key__": key})
