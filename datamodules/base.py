"""What every reader of shards has in common: streaming, or sampling from decoded pixels, and validation."""

import signal
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_mav.data.shards.cache import ShardCache
from lightning_mav.data.shards.index import MAX_MEMBER_BYTES
from lightning_mav.data.shards.reader import Sample, Shards, locate_all
from lightning_mav.data.shards.remote import is_remote
from lightning_mav.data.shards.urls import check_urls, expand_shards
from lightning_mav.datamodules.batches import (
    Batch,
    Batches,
    FixedBatches,
    Plan,
    Tally,
)
from lightning_mav.datamodules.order import GROUP_SIZE, MixedOrder, Order, check_weights
from lightning_mav.datamodules.read_all import read_all
from lightning_mav.datamodules.resumable import Resumable
from lightning_mav.datamodules.store import FrameStore, Stored, has_store, read_store, store_path, write_store
from lightning_mav.utils.errors import UsageError
from lightning_mav.utils.numbers import MAX_COUNT, MAX_SEED, Checked, check_number
from lightning_mav.utils.paths import expanded
from lightning_mav.utils.threads import num_cores

VALIDATION = 2**32  # added to the seed of training


class ShardsDataModule(Resumable, Checked):
    """Reads an endless stream of batches from shards. Seed and position decide which sample comes next.

    So a resumed run continues exactly where it stopped, with any number of workers. The number of ranks may
    change too, as long as batch_size times ranks stays the same.

    With ``cache``, the shards are decoded once, to uint8 pixels in a file beside them. Batches are sampled
    from that file, so that nothing is decoded during training.

    Args:
        urls: Shards to train on: a folder, a pattern or braces, here or elsewhere (``s3://``); or several of
            these with weights: ``{data/web: 3, data/film: 1}`` takes three of four from the first.
        batch_size: Samples per batch and device.
        image_size: Height and width of pictures, cut square and shrunk; their own if None.
        crop_size: Height and width of a random crop from that, one for a whole clip; None for none.
        val_urls: Shards to validate on; none if None.
        num_val_batches: Batches to validate on; always the same ones.
        seed: Decides the order of samples and whatever is drawn for them.
        num_workers: Reading processes per device.
        max_skipped: Share of samples that may be broken; checked once 200 were read.
        cache: Whether to decode everything once, beforehand; only for one set of shards.
        cache_dir: Folder of decoded pixels and fetched shards. If None, pixels lie in a hidden folder beside
            the shards, and fetched shards in the folder that ``MAV_CACHE`` names, or in ``outputs/cache``.
        cache_gib: Most GiB of fetched shards; the least recently used are deleted. None means no limit.
        max_samples: Samples to decode, from the start of the shards; only with ``cache``.
    """

    suffixes: frozenset[str]
    remedy: str
    max_member_bytes = MAX_MEMBER_BYTES

    def __init__(
        self,
        urls: str | dict[str, Any],
        *,
        batch_size: int,
        image_size: int | None,
        crop_size: int | None = None,
        val_urls: str | None = None,
        num_val_batches: int = 4,
        seed: int = 0,
        num_workers: int = 0,
        max_skipped: float = 0.01,
        cache: bool = False,
        cache_dir: str | None = None,
        cache_gib: float | None = None,
        max_samples: int | None = None,
    ) -> None:
        super().__init__()
        check_number("batch_size", batch_size, 1, MAX_COUNT)
        check_number("num_val_batches", num_val_batches, 1)
        check_number("seed", seed, 0, MAX_SEED)
        check_number("num_workers", num_workers, 0, 1000)
        check_number("max_skipped", max_skipped, 0, 1)
        if max_samples is not None and (max_samples < 1 or not cache):
            raise ValueError(f"max_samples is a positive number and goes with cache, got {max_samples=}")
        if cache and not isinstance(urls, str):
            raise ValueError(f"several sets of shards are streamed: set cache=false, got {urls=}")
        check_sizes(image_size, crop_size, cache)
        self.image_size = image_size
        self.crop_size = crop_size
        self.weights = {urls: 1} if isinstance(urls, str) else check_weights(urls)
        for url in self.weights:
            check_urls(url)
        self.val_urls = None if val_urls is None else check_urls(val_urls)
        self.batch_size = batch_size
        self.num_val_batches = num_val_batches
        self.seed = seed
        self.num_workers = num_workers
        self.max_skipped = max_skipped
        self.cache = cache
        self.cache_dir = cache_dir
        self.fetched = ShardCache.of(cache_dir, cache_gib)
        self.max_samples = max_samples

    def __getstate__(self) -> dict[str, Any]:
        """Returns the state that reading processes are given: without the trainer, which they do not need."""
        return {**self.__dict__, "trainer": None, "stream": None}

    def decode(self, sample: Sample) -> dict[str, Any]:
        """Decodes all of a sample for the store: ``frames``, and ``times`` or ``text``."""
        raise NotImplementedError

    def example(self, sample: Sample, rng: np.random.Generator, batch: int) -> dict[str, Any]:
        """Makes one training example, with pixels still in uint8, from the members of a sample."""
        raise NotImplementedError

    def stored_example(self, stored: Stored, rng: np.random.Generator, batch: int) -> dict[str, Any]:
        """Makes one training example from a decoded sample."""
        raise NotImplementedError

    def collate(self, examples: list[dict[str, Any]]) -> Batch:
        """Makes a batch from examples."""
        raise NotImplementedError

    def store_settings(self) -> dict[str, Any]:
        """Returns all settings that the contents of the store depend on."""
        raise NotImplementedError

    def prepare_data(self) -> None:
        """Decodes the shards into the store, if ``cache`` is set and the store does not exist yet."""
        if self.cache:
            self._write_store()

    def train_dataloader(self) -> DataLoader:
        """Returns an endless stream of batches; a resumed run continues with the next one."""
        accumulate = 1 if self.trainer is None else self.trainer.accumulate_grad_batches
        rank, world_size = self.rank_and_world_size()
        plan = Plan(
            self.batch_size,
            self.seed,
            rank,
            world_size,
            first_sample=self.num_consumed(),
            first_batch=0 if self.trainer is None else self.trainer.global_step * accumulate,
            max_skipped=self.max_skipped,
        )
        batches = self.batches(plan)
        self.follow(plan, batches)
        return DataLoader(
            batches,
            batch_size=None,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            worker_init_fn=leave_signals,
            pin_memory=torch.cuda.is_available(),
        )

    def batches(self, plan: Plan) -> Batches:
        """Returns the stream of batches that a plan describes."""
        if self.cache:
            store: FrameStore = read_store(self._write_store())
            order = Order([len(store)], self.seed)
            store.tally.check(self.max_skipped)
            return Batches(store.read, self.stored_example, self.collate, order, plan, store.tally)
        sets = [expand_shards(url, self.remedy) for url in self.weights]
        everything = self._open([path for paths in sets for path in paths])
        everything.check_room(GROUP_SIZE, len(sets))
        lengths, orders = iter(everything.lengths), list[Order]()
        for url, paths in zip(self.weights, sets, strict=True):
            own = list(islice(lengths, len(paths)))
            if not any(own):
                raise UsageError(f"no sample was found in {len(paths)} shards, {url}; {self.remedy}")
            orders.append(Order(own, self.seed + len(orders)))
        mixed = MixedOrder(orders, list(self.weights.values()), self.seed)
        return Batches(everything.read, self.example, self.collate, mixed, plan, name=everything.name)

    def val_dataloader(self) -> DataLoader | list[DataLoader]:
        """Returns a few batches that are the same in every run; no loader without ``val_urls``."""
        if self.val_urls is None:
            return []
        rank, world_size = self.rank_and_world_size()
        shards = self._open(expand_shards(self.val_urls, self.remedy))

        def example(sample: Sample, number: int) -> dict[str, Any]:
            rng = np.random.default_rng([self.seed + VALIDATION, number])
            return self.example(sample, rng, number // self.batch_size)

        num = self.num_val_batches * self.batch_size * world_size
        tally = Tally()
        examples = list(islice(read_all(shards, example, self.remedy, tally=tally), num))
        tally.check(self.max_skipped)
        num_each = max(1, len(examples) // world_size)  # the same on each rank, or some would wait for ever
        mine = (examples * world_size)[rank * num_each : (rank + 1) * num_each]
        batches = [mine[i : i + self.batch_size] for i in range(0, num_each, self.batch_size)]
        return DataLoader(FixedBatches([self.collate(batch) for batch in batches]), batch_size=None)

    def _open(self, paths: list[str]) -> Shards:
        return Shards(paths, self.suffixes, self.max_member_bytes, self.fetched)

    def _write_store(self) -> Path:
        (urls,) = self.weights
        paths = expand_shards(urls, self.remedy)
        beside = self.fetched.folder if is_remote(paths[0]) else Path(paths[0]).parent / ".cache"
        settings = {**self.store_settings(), "max_samples": self.max_samples}
        path = store_path(
            locate_all(paths, self.fetched),
            settings,
            Path(expanded(self.cache_dir) if self.cache_dir else beside),
        )
        if not has_store(path):
            title = f"Decoding {paths[0].rpartition('/')[0]}"
            tally = Tally()
            samples = read_all(self._open(paths), self.decode_arrays, self.remedy, title, num_cores(), tally)
            write_store(path, islice(samples, self.max_samples), tally)
        return path

    def decode_arrays(self, sample: Sample, _: int) -> dict[str, Any]:
        """Decodes a sample in a process of its own, where its number is not needed.

        As arrays: processes pass tensors to each other by open files, whose number is limited.
        """
        made = self.decode(sample)
        return {key: value.numpy() if isinstance(value, Tensor) else value for key, value in made.items()}


def check_sizes(image_size: int | None, crop_size: int | None, cache: bool) -> None:
    """Refuses sizes that cannot be batched, stored or cropped."""
    if image_size is None and (crop_size is None or cache):
        raise ValueError(f"image_size=None needs crop_size and cache=False, got {crop_size=} and {cache=}")
    if min(size for size in (image_size, crop_size, 1) if size is not None) < 1:
        raise ValueError(f"sizes are positive, got {image_size=} and {crop_size=}")
    if image_size is not None and crop_size is not None and crop_size > image_size:
        raise ValueError(f"a crop fits into the image, got {crop_size=} and {image_size=}")


def leave_signals(worker: int) -> None:
    """Keeps a reading process alive after a signal that stops training, which still finishes its step.

    If the process does not end by itself, the trainer ends it with a second SIGTERM.
    """
    for signum in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(signum, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))
