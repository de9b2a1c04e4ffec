"""Captioned images as img2dataset writes them: ``KEY.jpg|png|webp KEY.txt KEY.json``."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .base import Batch, ShardsDataModule
from .decode import IMAGE_FORMATS, decode_image
from .shards import Sample
from .store import FrameStore


class ImageTextShards(ShardsDataModule):
    """Reads images, with their captions or without: ``image (B, 3, H, W)`` in [-1, 1] and ``text``.

    Args:
        urls: Shards to train on: a folder, a glob pattern or brace notation.
        image_size: Height and width that images are cut square and shrunk to; kept as they are if None.
        crop_size: Height and width of a random part to take of that.
        with_text: Whether to read captions; without, no member that holds one is opened.
        batch_size: Images per batch and device.
        kwargs: See ``ShardsDataModule``.
    """

    remedy = "make them with img2dataset, or with 'mav world' for the micro-world"

    def __init__(
        self,
        urls: str,
        *,
        image_size: int | None,
        crop_size: int | None = None,
        with_text: bool = True,
        batch_size: int = 64,
        **kwargs: Any,
    ) -> None:
        super().__init__(urls, batch_size=batch_size, **kwargs)
        check_sizes(image_size, crop_size, self.cache)
        self.image_size = image_size
        self.crop_size = crop_size
        self.with_text = with_text
        self.suffixes = frozenset(IMAGE_FORMATS) | ({"txt"} if with_text else set())

    def decode(self, sample: Sample) -> dict[str, Any]:
        """Decodes an image ``(1, 3, size, size)`` and its caption."""
        suffix = find_suffix(sample, IMAGE_FORMATS)
        decoded: dict[str, Any] = {"frames": decode_image(sample[suffix], suffix, self.image_size)[None]}
        if self.with_text:
            if not (text := sample.get("txt", b"").decode().strip()):
                raise ValueError("no caption")
            decoded["text"] = text
        return decoded

    def example(self, sample: Sample, rng: np.random.Generator, batch: int) -> dict[str, Any]:
        """Decodes an image and takes a random part of it."""
        decoded = self.decode(sample)
        decoded["frames"] = crop(decoded["frames"], self.crop_size, rng)
        return decoded

    def gather(self, store: FrameStore, indices: Tensor, rng: np.random.Generator, batch: int) -> Batch:
        """Takes images, or random parts of them, out of the store."""
        if self.crop_size is None:
            frames = store.frames[indices]
        else:
            frames = torch.stack([crop(store.frames[index], self.crop_size, rng) for index in indices])
        return self._batch(frames, [store.texts[index] for index in indices] if self.with_text else [])

    def collate(self, examples: list[dict[str, Any]]) -> Batch:
        """Stacks images."""
        frames = torch.cat([example["frames"] for example in examples])
        return self._batch(frames, [example["text"] for example in examples] if self.with_text else [])

    def store_settings(self) -> dict[str, Any]:
        """Returns whatever decides what is in the store."""
        return {"kind": "image", "image_size": self.image_size, "with_text": self.with_text}

    def _batch(self, frames: Tensor, texts: list[str]) -> Batch:
        image = to_float(frames)
        return {"image": image, "text": texts} if self.with_text else {"image": image}


def check_sizes(image_size: int | None, crop_size: int | None, cache: bool) -> None:
    """Refuses sizes that cannot be batched, stored or cut out."""
    if image_size is None and (crop_size is None or cache):
        raise ValueError(f"image_size=None needs crop_size and cache=False, got {crop_size=} and {cache=}")
    if min(size for size in (image_size, crop_size, 1) if size is not None) < 1:
        raise ValueError(f"sizes are positive, got {image_size=} and {crop_size=}")
    if image_size is not None and crop_size is not None and crop_size > image_size:
        raise ValueError(f"a crop fits into the image, got {crop_size=} and {image_size=}")


def find_suffix(sample: Sample, suffixes: dict[str, str]) -> str:
    """Returns the first of the suffixes that a sample has."""
    for suffix in suffixes:
        if suffix in sample:
            return suffix
    raise ValueError(f"no member ends in {', '.join(suffixes)}")


def crop(frames: Tensor, crop_size: int | None, rng: np.random.Generator) -> Tensor:
    """Takes the same random part of all ``(..., H, W)`` frames."""
    if crop_size is None:
        return frames
    height, width = frames.shape[-2:]
    if min(height, width) < crop_size:
        raise ValueError(f"{width}x{height} pixels are fewer than the {crop_size}x{crop_size} wanted")
    top, left = int(rng.integers(height - crop_size + 1)), int(rng.integers(width - crop_size + 1))
    return frames[..., top : top + crop_size, left : left + crop_size]


def to_float(frames: Tensor) -> Tensor:
    """Turns bytes into colours in [-1, 1]."""
    return frames.float().div_(127.5).sub_(1)
