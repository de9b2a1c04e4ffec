"""The order of samples: it depends on the seed and the position alone, so a run can resume at any position.

A position counts the samples that all ranks together have been given since the start of training.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import numpy as np

GROUP_SIZE = 20_000  # samples shuffled together: those of shards that follow each other in a pass

MAX_WEIGHT = 1_000_000  # of a set in one round over all sets


class Order:
    """Shuffles samples anew in each epoch: shards first, then the samples of neighbouring shards.

    So a reader needs only a few shards at a time, and no permutation is longer than a group, however many
    samples there are.

    Args:
        lengths: Samples in each shard.
        seed: Decides the order.
        group_size: Least number of samples in a group; a group consists of whole shards.

    Raises:
        ValueError: If there are no samples.
    """

    def __init__(self, lengths: Sequence[int], seed: int, group_size: int = GROUP_SIZE) -> None:
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.starts = np.concatenate([[0], self.lengths.cumsum()])
        self.seed = seed
        self.group_size = group_size
        if not len(self):
            raise ValueError("there are no samples to put into an order")
        self.epoch = -1
        self.group = -1

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __call__(self, position: int) -> int:
        """Returns the number of the sample at a position; samples are counted through the shards."""
        epoch, place = divmod(position, len(self))
        if epoch != self.epoch:
            self._start_epoch(epoch)
        group = bisect_right(self.bounds, place) - 1
        if group != self.group:
            self._start_group(group)
        return int(self.samples[place - self.bounds[group]])

    def _start_epoch(self, epoch: int) -> None:
        """Shuffles the shards for an epoch and divides them into groups."""
        self.epoch, self.group = epoch, -1
        self.shards = np.random.default_rng([self.seed, epoch]).permutation(len(self.lengths))
        ends = self.lengths[self.shards].cumsum()
        cuts = [0]  # counted in shards
        self.bounds = [0]  # the same, counted in samples
        for number, end in enumerate(ends.tolist(), start=1):
            if end - self.bounds[-1] >= self.group_size or (number == len(ends) and end > self.bounds[-1]):
                cuts.append(number)
                self.bounds.append(end)
        self.cuts = cuts

    def _start_group(self, group: int) -> None:
        """Shuffles the samples of a group."""
        self.group = group
        shards = self.shards[self.cuts[group] : self.cuts[group + 1]]
        samples = np.concatenate([np.arange(self.starts[shard], self.starts[shard + 1]) for shard in shards])
        self.samples = np.random.default_rng([self.seed, self.epoch, group]).permutation(samples)


class MixedOrder:
    """Draws from several sets in rounds, with a fixed number of samples of each set in every round.

    Args:
        orders: Order of each set; a set that is used up begins its next epoch, independently of the others.
        weights: Samples of each set in a round; 3 and 1 mean three quarters and one quarter.
        seed: Decides the order within each round.

    Raises:
        ValueError: If a weight is not positive.
    """

    def __init__(self, orders: Sequence[Order], weights: Sequence[int], seed: int) -> None:
        if min(weights) < 1:
            raise ValueError(f"weights are positive whole numbers, got {list(weights)}")
        self.orders = list(orders)
        self.weights = list(weights)
        self.turns = np.repeat(np.arange(len(weights)), weights)
        self.firsts = np.concatenate([[0], np.cumsum([len(order) for order in orders])])
        self.seed = seed

    def __len__(self) -> int:
        return int(self.firsts[-1])

    def __call__(self, position: int) -> int:
        """Returns the number of the sample at a position; samples are counted through the sets."""
        block, place = divmod(position, len(self.turns))
        turns = np.random.default_rng([self.seed, block]).permutation(self.turns)
        chosen = int(turns[place])
        own = block * self.weights[chosen] + int((turns[:place] == chosen).sum())
        return int(self.firsts[chosen]) + self.orders[chosen](own)


def check_weights(urls: dict[str, Any]) -> dict[str, int]:
    """Checks that the weights of sets of shards are positive whole numbers, and returns them."""
    if not urls:
        raise ValueError("urls names no set of shards: write {FOLDER: WEIGHT}")
    for url, weight in urls.items():
        is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not is_number or not 1 <= weight <= MAX_WEIGHT or weight != int(weight):
            problem = f"weights are whole numbers from 1 to {MAX_WEIGHT}, got {weight!r} for {url!r}"
            raise ValueError(f"urls: {problem}; write 3 and 1 for three quarters and one quarter")
    return {str(url): int(weight) for url, weight in urls.items()}
