"""The data sets behind the loaders: they make batches, so loaders do not batch."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from lightning_mav.datamodules.ledger import describe
from lightning_mav.datamodules.metadata_filter import Filtered
from lightning_mav.utils.errors import UsageError, reason_of

Batch = dict[str, Any]

SKIPPED = "skipped"  # key of a batch: the positions whose samples could not be used, with the reasons
FAILED = "failed"  # key of what is sent instead of a batch: the message of an error in a reading process
MAX_ATTEMPTS = 200  # samples tried for one position; a filter may refuse most of them
MIN_COUNTED = 200  # samples to read before the share of broken ones is compared with max_skipped


@dataclass
class Tally:
    """Counts of the samples that were read, and of those that could not be used.

    Args:
        num_read: Number of samples read.
        broken: Number of broken samples by reason, without those that a filter refused.
        filtered: Number of samples that a filter refused, by reason.
    """

    num_read: int = 0
    broken: Counter[str] = field(default_factory=Counter)
    filtered: Counter[str] = field(default_factory=Counter)

    @property
    def reasons(self) -> Counter[str]:
        """Number of samples that could not be used, by reason."""
        return self.broken + self.filtered

    def skip(self, reason: str, *, broken: bool) -> None:
        """Counts a sample that cannot be used; it has already been counted as read."""
        (self.broken if broken else self.filtered)[reason] += 1

    def check(self, max_skipped: float, *, all_read: bool = False) -> None:
        """Checks the share of broken samples.

        Args:
            max_skipped: Largest share allowed.
            all_read: Whether every sample of the data has been read; then even a few are enough to judge.

        Raises:
            UsageError: If the share is too large, and all samples or at least ``MIN_COUNTED`` were read.
        """
        num_broken = self.broken.total()
        if (all_read or self.num_read >= MIN_COUNTED) and num_broken > max_skipped * self.num_read:
            raise UsageError(
                f"{num_broken} of {self.num_read} samples read are broken, more than "
                f"max_skipped={max_skipped:g} of them: {describe(self.broken)}; 'mav data check --decode' "
                "names them"
            )


@dataclass
class Plan:
    """Where a stream of batches starts, and how ranks share it.

    Batch ``k`` of rank ``r`` holds ``batch_size`` positions from ``first_sample + (k * world_size + r) *
    batch_size`` on. As long as world_size * batch_size is constant, all ranks together see the same samples.

    Args:
        batch_size: Samples per batch and rank.
        seed: Decides, together with a sample's position, all random numbers drawn for it.
        rank: Rank of this process.
        world_size: Number of ranks.
        first_sample: Position that training continues from, counted over all ranks.
        first_batch: Number of batches before that.
        max_skipped: Share of broken samples at which reading stops.
    """

    batch_size: int
    seed: int
    rank: int = 0
    world_size: int = 1
    first_sample: int = 0
    first_batch: int = 0
    max_skipped: float = 0.01

    def positions(self, number: int) -> range:
        """Returns the positions of this rank's batch with a number, counted from ``first_batch``."""
        first = self.first_sample + (number * self.world_size + self.rank) * self.batch_size
        return range(first, first + self.batch_size)


class Batches(IterableDataset):
    """An endless stream of batches; each depends on the seed and its positions, not on the process.

    A sample that cannot be used is replaced by another, drawn by random numbers that depend on the position.
    The batch lists such positions under ``skipped`` as ``{position: reason}``.

    Args:
        read: Returns the sample with a number.
        make: Makes an example from a sample, given a random generator and the number of its batch.
        collate: Makes a batch from examples.
        order: Returns the number of the sample at a position; has a length.
        plan: Where the stream stands.
        decoded: Counts from decoding the samples beforehand; None if they are decoded while training.
        name: Returns the name of the sample with a number.
    """

    def __init__(
        self,
        read: Callable[[int], Any],
        make: Callable[[Any, np.random.Generator, int], dict[str, Any]],
        collate: Callable[[list[dict[str, Any]]], Batch],
        order: Callable[[int], int],
        plan: Plan,
        decoded: Tally | None = None,
        name: Callable[[int], str] = str,
    ) -> None:
        self.read = read
        self.make = make
        self.collate = collate
        self.order = order
        self.plan = plan
        self.name = name
        self.num_made = 0
        self.decoded = decoded
        self.tally = Tally()

    def __iter__(self) -> Iterator[Batch]:
        info = get_worker_info()
        worker, num_workers = (info.id, info.num_workers) if info else (0, 1)
        while True:
            number = self.num_made * num_workers + worker
            self.num_made += 1
            try:
                yield self.batch(number)
            except UsageError as error:
                if info is None:
                    raise
                yield {FAILED: str(error)}  # raised by the receiver: a loader would add a traceback
                return

    def batch(self, number: int) -> Batch:
        """Makes the batch with a number, counted from the start of the plan."""
        examples, skipped = [], {}
        for position in self.plan.positions(number):
            example, reason = self.example(position, self.plan.first_batch + number)
            examples.append(example)
            if reason is not None:
                skipped[position] = reason
        batch = self.collate(examples)
        return {**batch, SKIPPED: skipped} if skipped else batch

    def example(self, position: int, batch: int) -> tuple[dict[str, Any], str | None]:
        """Returns the example for a position, and why the sample there was replaced (None if it was not)."""
        number, reasons = self.order(position), list[str]()
        self._count_read()  # once: replacements do not count
        for attempt in range(MAX_ATTEMPTS):
            rng = np.random.default_rng([self.plan.seed, position, attempt])
            try:
                return self.make(self.read(number), rng, batch), reasons[0] if reasons else None
            except UsageError:
                raise
            except Exception as error:  # decoders raise all kinds of errors
                reasons.append(reason_of(error))
                if attempt == 0:
                    self.tally.skip(reasons[0], broken=not isinstance(error, Filtered))
                    self.tally.check(self.plan.max_skipped)
            number = int(rng.integers(len(self.order)))  # type: ignore[arg-type]
        raise UsageError(f"{MAX_ATTEMPTS} samples in a row cannot be used: {describe(Counter(reasons))}")

    def _count_read(self) -> None:
        self.tally.num_read += 1
        if self.decoded is not None and self.tally.num_read == MIN_COUNTED:
            # The store may hold few samples, read many times; without a store this many reads are enough.
            self.decoded.check(self.plan.max_skipped, all_read=True)


class FixedBatches(IterableDataset):
    """Batches made beforehand; iterable, so that Lightning does not split them among ranks again."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self.batches = list(batches)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)
