"""Contents of the micro-world's shards: appearances, captions, and the members of each sample."""

import hashlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...data.codecs.encode import encode_mp4, encode_png
from ...data.codecs.pixels import to_frames
from . import world

VIDEO_FPS = (24, 25, 30)  # with one rate, taking every n-th frame would give only few rates to learn


@dataclass
class Images:
    """Draws images by their number; can be pickled, so that other processes can draw them too."""

    scenes: world.Scenes
    size: int
    texts: list[str]

    def __call__(self, index: int) -> dict[str, Any]:
        """Returns the members of an image: PNG, caption and metadata."""
        png = encode_png(to_frames(world.rasterise(_scene(self.scenes, index), self.size)[0])[0])
        text, digest = self.texts[index], hashlib.sha256(png).hexdigest()
        return {"png": png, "txt": text, "json": {"caption": text, **_meta(self.size), "sha256": digest}}


@dataclass
class Videos:
    """Draws videos by their number."""

    scenes: world.Scenes
    size: int
    rates: Tensor
    seconds: float

    def __call__(self, index: int) -> dict[str, Any]:
        """Returns the members of a video: MP4 and metadata, which do not say what it shows."""
        fps = int(self.rates[index])
        num_frames = round(self.seconds * fps)
        pixels = to_frames(world.rasterise(_scene(self.scenes, index, num_frames), self.size)[0])
        meta = {**_meta(self.size), "fps": fps, "duration": num_frames / fps}
        return {"mp4": encode_mp4(pixels, fps), "json": meta}


def sample_appearances(pool: Tensor, num: int, generator: torch.Generator) -> Tensor:
    """Returns ``num`` appearances: the whole pool in random order, then again in a new order, and so on."""
    rounds = -(-num // len(pool))
    order = torch.cat([torch.randperm(len(pool), generator=generator) for _ in range(max(1, rounds))])
    return pool[order[:num]]


def sample_fps(num: int, generator: torch.Generator) -> Tensor:
    """Draws the frame rate of each video, ``(num,)``."""
    return torch.tensor(VIDEO_FPS)[torch.randint(len(VIDEO_FPS), (num,), generator=generator)]


def sample_caption(appearance: Tensor, generator: torch.Generator) -> str:
    """Describes an appearance: three in five times in full, otherwise in one of the shorter ways."""
    in_full, which = torch.rand(2, generator=generator).tolist()
    shorter = world.captions(appearance)
    return world.caption(appearance) if in_full < 0.6 else shorter[int(which * len(shorter))]


def _meta(size: int) -> dict[str, Any]:
    return {"status": "success", "error_message": None, "width": size, "height": size}


def _scene(scenes: world.Scenes, index: int, num_frames: int = 1) -> world.Scenes:
    return world.Scenes(scenes.appearances[index : index + 1], scenes.places[index : index + 1, :num_frames])
