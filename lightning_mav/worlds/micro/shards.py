"""Writes the micro-world as shards, in the format of img2dataset and video2dataset.

``images/`` holds ``KEY.png KEY.txt KEY.json`` of every appearance. ``videos/`` holds ``KEY.mp4 KEY.json``
without a word on what they show, and only of appearances that are not held out. Names and pixels depend only
on the settings and the version of the world, which ``stats.json`` in each folder records, so that nothing is
written twice.
"""

from pathlib import Path
from typing import Any

import torch

from ...utils.numbers import check_number
from ..folders import holds, write_folder
from . import samples, world
from .samples import Images, Videos, sample_appearances, sample_caption, sample_fps

IMAGES_PER_SHARD = 1000
VIDEOS_PER_SHARD = 100
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
        seed: Decides every pixel; each split makes a generator of its own from it.
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
    if holds(folder, settings):
        return
    generator = _generator(folder, seed)
    scenes = world.sample_scenes(sample_appearances(world.ALL, num_images, generator), generator)
    texts = [sample_caption(appearance, generator) for appearance in scenes.appearances]
    write_folder(folder, settings, Images(scenes, image_size, texts), IMAGES_PER_SHARD, progress)


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
    if holds(folder, settings):
        return
    generator = _generator(folder, seed)
    appearances = sample_appearances(world.SEEN, num_videos, generator)
    rates = sample_fps(num_videos, generator)
    longest = round(seconds * max(samples.VIDEO_FPS))
    scenes = world.sample_trajectories(appearances, rates, longest, generator)
    write_folder(folder, settings, Videos(scenes, video_size, rates, seconds), VIDEOS_PER_SHARD, progress)


def _generator(folder: Path, seed: int) -> torch.Generator:
    """Returns a generator whose seed differs for each split."""
    split = SPLITS.index(folder.name) if folder.name in SPLITS else len(SPLITS)
    return torch.Generator().manual_seed((seed * (len(SPLITS) + 1) + split) % 2**64)
