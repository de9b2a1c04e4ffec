"""Captioned images as img2dataset writes them: ``KEY.jpg|png|webp KEY.txt KEY.json``."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_mav.data.codecs.decode import IMAGE_FORMATS, decode_image
from lightning_mav.data.codecs.images import MAX_IMAGE_BYTES
from lightning_mav.data.codecs.pixels import from_uint8
from lightning_mav.data.shards.reader import Sample, find_suffix
from lightning_mav.datamodules.base import Batch, ShardsDataModule
from lightning_mav.datamodules.metadata_filter import MetadataFilter
from lightning_mav.datamodules.store import Stored
from lightning_mav.utils.textfile import decode_caption


class ImageTextShards(ShardsDataModule):
    """Reads images, with or without their captions: ``image (B, 3, H, W)`` in [-1, 1] and ``text``.

    Args:
        urls: Shards to train on, see ``ShardsDataModule``.
        with_text: Whether to read captions; if not, the members that hold them are not opened.
        keep: Filter that chooses images by their metadata; None takes all.
        batch_size: Images per batch and device.
        kwargs: See ``ShardsDataModule``.
    """

    kind = "image"
    remedy = "make them with 'mav data pack' or img2dataset, or with 'mav world' or 'mav world emoji'"
    max_member_bytes = MAX_IMAGE_BYTES

    def __init__(
        self,
        urls: str | dict[str, Any],
        *,
        with_text: bool = True,
        keep: MetadataFilter | None = None,
        batch_size: int = 64,
        **kwargs: Any,
    ) -> None:
        super().__init__(urls, batch_size=batch_size, **kwargs)
        self.with_text = with_text
        self.keep = keep
        self.suffixes = frozenset(IMAGE_FORMATS) | ({"txt"} if with_text else set())
        self.suffixes |= {"json"} if keep else set()

    def decode(self, sample: Sample) -> dict[str, Any]:
        """Decodes an image ``(1, 3, size, size)`` and its caption."""
        if self.keep is not None:
            self.keep(sample.get("json", b""))
        suffix = find_suffix(sample, IMAGE_FORMATS)
        decoded: dict[str, Any] = {"frames": decode_image(sample[suffix], suffix, self.image_size)[None]}
        if self.with_text:
            decoded["text"] = decode_caption(sample.get("txt", b""))
        return decoded

    def example(self, sample: Sample, rng: np.random.Generator, batch: int) -> dict[str, Any]:
        """Decodes an image and takes a random crop."""
        decoded = self.decode(sample)
        decoded["frames"] = crop(decoded["frames"], self.crop_size, rng)
        return decoded

    def stored_example(self, stored: Stored, rng: np.random.Generator, batch: int) -> dict[str, Any]:
        """Takes a random crop of a decoded image."""
        return {**stored, "frames": crop(stored["frames"], self.crop_size, rng)}

    def collate(self, examples: list[dict[str, Any]]) -> Batch:
        """Stacks images."""
        image = from_uint8(torch.cat([example["frames"] for example in examples]))
        if not self.with_text:
            return {"image": image}
        return {"image": image, "text": [example["text"] for example in examples]}

    def store_settings(self) -> dict[str, Any]:
        """Returns all settings that the contents of the store depend on."""
        settings = {"kind": self.kind, "image_size": self.image_size, "with_text": self.with_text}
        return settings if self.keep is None else {**settings, "keep": vars(self.keep)}


def crop(frames: Tensor, crop_size: int | None, rng: np.random.Generator) -> Tensor:
    """Takes the same random crop of all ``(..., H, W)`` frames."""
    if crop_size is None:
        return frames
    height, width = frames.shape[-2:]
    if min(height, width) < crop_size:
        raise ValueError(f"too small: {width}x{height} pixels of the {crop_size}x{crop_size} wanted")
    top, left = int(rng.integers(height - crop_size + 1)), int(rng.integers(width - crop_size + 1))
    return frames[..., top : top + crop_size, left : left + crop_size]
