"""The data sets behind the loaders: they make batches, so loaders do not batch."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

Batch = dict[str, Any]


class Examples:
    """Makes examples of samples, each with random numbers of its own, and counts the batches they fill.

    Args:
        make: Makes an example of a sample, given random numbers and the number of its batch.
        seed: Seed of the random numbers.
        batch_size: Examples per batch.
        first_batch: Number of the first batch.
    """

    def __init__(self, make: Callable, seed: tuple[int, ...], batch_size: int, first_batch: int = 0) -> None:
        self.make = make
        self.seed = seed
        self.batch_size = batch_size
        self.first_batch = first_batch
        self.num_made = 0

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        """Makes an example of a sample."""
        info = get_worker_info()
        worker, num_workers = (info.id, info.num_workers) if info else (0, 1)
        rng = np.random.default_rng([*self.seed, worker, self.num_made])
        example = self.make(sample, rng, self.first_batch + self.num_made * num_workers // self.batch_size)
        self.num_made += 1
        return example


class StoredBatches(IterableDataset):
    """Batches of stored samples: batch ``k`` is a function of seed, rank and ``k``, whoever makes it.

    Args:
        gather: Makes a batch, given indices of samples, random numbers and the number of the batch.
        num_samples: Samples in the store.
        batch_size: Samples per batch and rank.
        seed_rank_world: Seed, rank and number of ranks.
        first_batch: Number of the first batch.
    """

    def __init__(
        self,
        gather: Callable[[Tensor, np.random.Generator, int], Batch],
        num_samples: int,
        batch_size: int,
        seed_rank_world: tuple[int, int, int],
        first_batch: int,
    ) -> None:
        self.gather = gather
        self.num_samples = num_samples
        self.batch_size = batch_size
        self.seed, self.rank, self.world_size = seed_rank_world
        self.first_batch = first_batch
        self.num_made = 0
        self.order: tuple[int, np.ndarray] = (-1, np.empty(0))

    def indices(self, batch: int) -> Tensor:
        """Returns which samples are in a batch: all come once before any comes again."""
        first = (batch * self.world_size + self.rank) * self.batch_size
        drawn = []
        for epoch in range(first // self.num_samples, (first + self.batch_size - 1) // self.num_samples + 1):
            if self.order[0] != epoch:
                self.order = epoch, np.random.default_rng([self.seed, epoch]).permutation(self.num_samples)
            start = first - epoch * self.num_samples
            drawn.append(self.order[1][max(0, start) : max(0, start + self.batch_size)])
        return torch.from_numpy(np.concatenate(drawn))

    def __iter__(self) -> Iterator[Batch]:
        info = get_worker_info()
        worker, num_workers = (info.id, info.num_workers) if info else (0, 1)
        while True:
            batch = self.first_batch + self.num_made * num_workers + worker
            self.num_made += 1
            yield self.gather(
                self.indices(batch), np.random.default_rng([self.seed, self.rank, batch]), batch
            )


class FixedBatches(IterableDataset):
    """Batches made beforehand; iterable, so that Lightning does not share them out a second time."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self.batches = list(batches)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)
