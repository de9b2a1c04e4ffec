"""What every reader of shards has in common: streaming, or sampling from decoded pixels, and validation."""

from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
import webdataset as wds
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from .batches import Batch, Examples, FixedBatches, StoredBatches
from .shards import Sample, ShardReader, check_urls, expand_shards
from .store import FrameStore, has_store, read_store, store_path, write_store

VALIDATION = 2**32  # stands where the rank stands in the seeds of training


class ShardsDataModule(LightningDataModule):
    """Reads batches from shards for ever, in an order that the seed decides; each rank sees other samples.

    With ``cache``, the shards are decoded once, to uint8 pixels in a file beside them, and batches are
    sampled from that: no decoding while training, and the same batches for any number of workers.

    Args:
        urls: Shards to train on: a folder, a glob pattern or brace notation.
        batch_size: Samples per batch and device.
        val_urls: Shards to validate on; none if None.
        num_val_batches: Batches to validate on; always the same ones.
        shuffle: Samples held in the shuffle buffer; only when streaming.
        seed: Decides the order of samples and whatever is drawn for them.
        num_workers: Reading processes per device.
        cache: Whether to decode everything once, beforehand.
        cache_dir: Folder of the decoded pixels; a hidden one beside the shards if None.
        max_samples: Samples to decode, from the start of the shards; only with ``cache``.
    """

    suffixes: frozenset[str]
    remedy: str

    def __init__(
        self,
        urls: str,
        *,
        batch_size: int,
        val_urls: str | None = None,
        num_val_batches: int = 4,
        shuffle: int = 1000,
        seed: int = 0,
        num_workers: int = 0,
        cache: bool = False,
        cache_dir: str | None = None,
        max_samples: int | None = None,
    ) -> None:
        super().__init__()
        if batch_size < 1 or num_val_batches < 1 or seed < 0:
            raise ValueError(f"must be positive: {batch_size=}, {num_val_batches=}, {seed=}")
        if max_samples is not None and (max_samples < 1 or not cache):
            raise ValueError(f"max_samples is a positive number and goes with cache, got {max_samples=}")
        self.urls = check_urls(urls)
        self.val_urls = None if val_urls is None else check_urls(val_urls)
        self.batch_size = batch_size
        self.num_val_batches = num_val_batches
        self.shuffle = shuffle
        self.seed = seed
        self.num_workers = num_workers
        self.cache = cache
        self.cache_dir = cache_dir
        self.max_samples = max_samples

    def __getstate__(self) -> dict[str, Any]:
        """Leaves the trainer behind when reading processes are started: they need nothing of it."""
        return {**self.__dict__, "trainer": None}

    def example(self, sample: Sample, rng: np.random.Generator, batch: int) -> dict[str, Any]:
        """Makes one training example, uint8 pixels still, of the members of a sample."""
        raise NotImplementedError

    def decode(self, sample: Sample) -> dict[str, Any]:
        """Decodes all of a sample for the store: ``frames``, and ``times`` or ``text``."""
        raise NotImplementedError

    def gather(self, store: FrameStore, indices: Tensor, rng: np.random.Generator, batch: int) -> Batch:
        """Makes a batch of some samples of the store."""
        raise NotImplementedError

    def collate(self, examples: list[dict[str, Any]]) -> Batch:
        """Makes a batch of examples."""
        raise NotImplementedError

    def store_settings(self) -> dict[str, Any]:
        """Returns whatever decides what is in the store."""
        raise NotImplementedError

    def prepare_data(self) -> None:
        """Decodes the shards once, if that is wanted and has not been done."""
        if self.cache:
            self._write_store(expand_shards(self.urls, self.remedy))

    def train_dataloader(self) -> DataLoader:
        """Returns an endless stream of batches; a resumed run goes on with batches it has not seen."""
        shards = expand_shards(self.urls, self.remedy)
        rank, world_size = self._rank_and_world_size()
        dataset: IterableDataset
        if self.cache:
            store = read_store(self._write_store(shards))
            gather = partial(self.gather, store)
            dataset = StoredBatches(
                gather, len(store), self.batch_size, (self.seed, rank, world_size), self._first_batch()
            )
        else:
            dataset = self.pipeline(shards, rank, self._first_batch())
        return DataLoader(
            dataset,
            batch_size=None,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def val_dataloader(self) -> DataLoader | list[DataLoader]:
        """Returns a few batches that are the same in every run; no loader without ``val_urls``."""
        if self.val_urls is None:
            return []
        rank, world_size = self._rank_and_world_size()
        reader = ShardReader(self.suffixes, Examples(self.example, (self.seed, VALIDATION), self.batch_size))
        num = self.num_val_batches * self.batch_size * world_size
        examples = list(islice(reader.read_all(expand_shards(self.val_urls, self.remedy), self.remedy), num))
        num_each = max(1, len(examples) // world_size)  # the same on each rank, or some would wait for ever
        mine = (examples * world_size)[rank * num_each : (rank + 1) * num_each]
        batches = [mine[i : i + self.batch_size] for i in range(0, num_each, self.batch_size)]
        return DataLoader(FixedBatches([self.collate(batch) for batch in batches]), batch_size=None)

    def pipeline(self, shards: list[str], rank: int, first_batch: int) -> wds.DataPipeline:
        """Shard to batch, one step of the stream a line."""
        seed = int(np.random.SeedSequence([self.seed, rank, first_batch]).generate_state(1)[0])
        reader = ShardReader(self.suffixes, Examples(self.example, (seed,), self.batch_size, first_batch))
        # A stream without one usable sample would search for it for ever.
        next(ShardReader(self.suffixes, reader.decode).read_all(shards, self.remedy))
        return wds.DataPipeline(
            wds.ResampledShards(shards, seed=seed, deterministic=True),
            reader.samples,
            wds.detshuffle(self.shuffle, seed=seed),
            reader.decoded,
            wds.batched(self.batch_size, collation_fn=self.collate, partial=False),
        )

    def _write_store(self, shards: list[str]) -> Any:
        path = store_path(shards, {**self.store_settings(), "max_samples": self.max_samples}, self.cache_dir)
        if not has_store(path):
            reader = ShardReader(self.suffixes, self.decode)
            write_store(path, islice(reader.read_all(shards, self.remedy, progress=True), self.max_samples))
        return path

    def _rank_and_world_size(self) -> tuple[int, int]:
        if self.trainer is not None:
            return self.trainer.global_rank, self.trainer.world_size
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return 0, 1

    def _first_batch(self) -> int:
        return 0 if self.trainer is None else self.trainer.global_step * self.trainer.accumulate_grad_batches
