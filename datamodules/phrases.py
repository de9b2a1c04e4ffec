"""Phrases, and which images of the shards each of them may mean."""

import gzip
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_mav.data.codecs.pixels import from_uint8
from lightning_mav.datamodules.base import Batch
from lightning_mav.datamodules.batches import Batches, Plan
from lightning_mav.datamodules.image_text import ImageTextShards
from lightning_mav.datamodules.order import MAX_WEIGHT, MixedOrder, Order
from lightning_mav.datamodules.store import FrameStore, read_store
from lightning_mav.utils.errors import UsageError, first_line
from lightning_mav.utils.numbers import check_number, in_range
from lightning_mav.utils.paths import expanded
from lightning_mav.utils.textfile import has_surrogates, is_blank

LEAST_SHARE = 1e-30  # beyond the smallest number of 32 bits, shares would become zeros


@dataclass
class Phrases:
    """A file of phrases: gzipped lines of JSON with ``text``, ``images`` and their ``shares``.

    Args:
        texts: Phrases.
        starts: For each phrase, where its images begin in ``images``; then their number, ``(phrases + 1,)``.
        images: Numbers of images, one phrase after another.
        shares: Share of each, positive; those of a phrase add up to about 1.
    """

    texts: list[str]
    starts: np.ndarray
    images: np.ndarray
    shares: np.ndarray

    @classmethod
    def read(cls, path: Path, num_images: int) -> "Phrases":
        """Reads a file.

        Raises:
            UsageError: If it is missing, is no such file, or refers to an image that does not exist.
        """
        remedy = "'mav world emoji --phrases' writes one"
        if not path.exists():
            raise UsageError(f"there is no {path}: {remedy}")
        texts, lengths, images, shares = [], [0], [], []
        try:
            with gzip.open(path, "rt", encoding="utf-8") as lines:
                for number, line in enumerate(lines, 1):
                    text, own_images, own_shares = _parse(line, number, num_images)
                    texts.append(text)
                    lengths.append(len(own_images))
                    images += own_images
                    shares += own_shares
            if not texts:
                raise ValueError("it holds no phrase")
        except (OSError, EOFError, zlib.error, ValueError) as error:
            why = getattr(error, "strerror", None) or first_line(error)
            raise UsageError(f"{path}: is not a usable file of phrases ({why}); {remedy}") from error
        return cls(texts, np.cumsum(lengths), np.array(images, np.int64), np.array(shares, np.float32))

    def __getitem__(self, number: int) -> dict[str, Any]:
        """Returns a phrase: ``text``, and the ``images`` and ``shares`` of its target."""
        part = slice(self.starts[number], self.starts[number + 1])
        return {"text": self.texts[number], "images": self.images[part], "shares": self.shares[part]}


def _parse(line: str, number: int, num_images: int) -> tuple[str, list[int], list[float]]:
    """Returns text, images and shares of a line.

    Raises:
        ValueError: If one of them is missing or makes no sense, with the number of the line.
    """
    try:
        entry = json.loads(line)
        text, images, shares = entry["text"], entry["images"], entry["shares"]
        if not isinstance(text, str) or is_blank(text) or has_surrogates(text):
            raise ValueError("its text is blank, or none")
        if not 0 < len(images) == len(set(images)) == len(shares):
            raise ValueError("not one share for each image, or no image, or one twice")
        if not all(type(image) is int and 0 <= image < num_images for image in images):
            many = f"{num_images} images are read: see max_samples, if it is set"
            raise ValueError(f"an image outside 0 to {num_images - 1}; {many}")
        if not all(in_range(share, LEAST_SHARE, 1) for share in shares):
            raise ValueError("a share that is not above 0 and at most 1")
    except (LookupError, TypeError, RecursionError):
        raise ValueError(f"line {number}: not text, images and shares") from None
    except ValueError as error:
        raise ValueError(f"line {number}: {first_line(error)}") from None
    return text, images, shares


class PhraseShards(ImageTextShards):
    """Reads phrases: ``text``, and ``target (B, N)``, the share of each of the N images that it may mean.

    Args:
        urls: Shards of the images, see ``ShardsDataModule``.
        phrases: File of phrases, see ``Phrases``; it numbers the images in the order of the shards.
        batch_size: Phrases per batch and device.
        kwargs: See ``ShardsDataModule``; ``max_samples`` is the number of images.
    """

    def __init__(self, urls: str, *, phrases: str, batch_size: int = 512, **kwargs: Any) -> None:
        super().__init__(urls, with_text=False, batch_size=batch_size, **kwargs)
        if not phrases:
            raise ValueError("phrases is empty: name a file")
        self.cache = True  # all images are embedded at the start
        self.phrases = phrases

    def images(self) -> Tensor:
        """Returns all images, ``(N, 3, H, W)`` in [-1, 1]."""
        return from_uint8(self.read_images().frames)

    def read_images(self) -> FrameStore:
        """Reads all images into the store.

        Raises:
            UsageError: If one cannot be read.
        """
        store: FrameStore = read_store(self._write_store())
        if broken := store.tally.reasons.total():
            raise UsageError(
                f"{broken} images of {', '.join(self.weights)} cannot be read; none may be missing: the "
                "phrases refer to images by number"
            )
        return store

    def read_phrases(self) -> Phrases:
        """Reads all images into the store, and the phrases that refer to them."""
        self.store = self.read_images()
        return Phrases.read(Path(expanded(self.phrases)), len(self.store))

    def batches(self, plan: Plan) -> Batches:
        """Returns the stream of batches of phrases that a plan describes."""
        phrases = self.read_phrases()
        order = Order([len(phrases.texts)], self.seed)
        return Batches(phrases.__getitem__, self.example, self.collate, order, plan)

    def example(self, sample: dict[str, Any], rng: np.random.Generator, batch: int) -> dict[str, Any]:
        """Returns a phrase as it is: nothing about it is drawn."""
        return sample

    def collate(self, examples: list[dict[str, Any]]) -> Batch:
        """Stacks phrases."""
        target = torch.zeros(len(examples), len(self.store))
        for row, example in zip(target, examples, strict=True):
            row[torch.from_numpy(example["images"])] = torch.from_numpy(example["shares"])
        target /= target.sum(dim=1, keepdim=True)
        return {"text": [example["text"] for example in examples], "target": target}


class PhraseImages(PhraseShards):
    """Reads captions with their images, and phrases with one of the images that each may mean.

    Gives ``text`` and ``image (B, 3, H, W)``. The image of a phrase is drawn by the shares, from those with
    at least half of the largest share: the many small shares say which images are near, not that the phrase
    means them.

    Args:
        urls: Shards of captioned images, see ``ShardsDataModule``.
        phrases: File of phrases, see ``Phrases``.
        captions_per_phrase: How many captions come with each phrase. There are far more phrases than
            captions; without captions the names of the images would be learnt too slowly.
        batch_size: Captions and phrases per batch and device.
        kwargs: See ``PhraseShards``.
    """

    collate = ImageTextShards.collate

    def __init__(
        self,
        urls: str,
        *,
        phrases: str,
        captions_per_phrase: int = 3,
        batch_size: int = 128,
        **kwargs: Any,
    ) -> None:
        super().__init__(urls, phrases=phrases, batch_size=batch_size, **kwargs)
        check_number("captions_per_phrase", captions_per_phrase, 1, MAX_WEIGHT)
        self.captions_per_phrase = captions_per_phrase
        self.with_text = True
        self.suffixes |= {"txt"}

    def batches(self, plan: Plan) -> Batches:
        """Returns the stream of batches of captions and phrases that a plan describes."""
        self.phrase_store = self.read_phrases()
        orders = [Order([len(self.store)], self.seed), Order([len(self.phrase_store.texts)], self.seed + 1)]
        order = MixedOrder(orders, [self.captions_per_phrase, 1], self.seed)
        return Batches(self.read, self.example, self.collate, order, plan)

    def read(self, number: int) -> dict[str, Any]:
        """Returns a caption with its image, or a phrase; phrases are counted after the captions."""
        num = len(self.store)
        return self.store.read(number) if number < num else self.phrase_store[number - num]

    def example(self, sample: dict[str, Any], rng: np.random.Generator, batch: int) -> dict[str, Any]:
        """Draws an image for a phrase."""
        if "shares" in sample:
            shares = np.where(sample["shares"] >= sample["shares"].max() / 2, sample["shares"], 0)
            shares = shares.astype(float) / shares.sum(dtype=float)
            sample = {**self.store.read(int(rng.choice(sample["images"], p=shares))), "text": sample["text"]}
        return sample
