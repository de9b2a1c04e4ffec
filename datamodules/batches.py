"""The data sets behind the loaders: they make batches, so loaders do not batch."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from lightning_mav.datamodules.filters import Filtered
from lightning_mav.datamodules.ledger import describe
from lightning_mav.utils.errors import UsageError, reason_of

Batch = dict[str, Any]

SKIPPED = "skipped"  # key of a batch: what stood at some positions and could not be used
FAILED = "failed"  # key of a batch that is none: the message of an error in a reading process
MAX_ATTEMPTS = 200  # samples tried for one position; most may be filtered
MIN_COUNTED = 200  # samples read before their share of broken ones means anything


@dataclass
class Tally:
    """What became of samples that were read.

    Args:
        num_read: All of them.
        broken: Why some of these were of no use, and how many; but for those that were filtered.
        filtered: The same of those.
    """

    num_read: int = 0
    broken: Counter[str] = field(default_factory=Counter)
    filtered: Counter[str] = field(default_factory=Counter)

    @property
    def reasons(self) -> Counter[str]:
        """Why samples were of no use, and how many."""
        return self.broken + self.filtered

    def skip(self, reason: str, *, broken: bool) -> None:
        """Enters one of no use, which has been counted as read."""
        (self.broken if broken else self.filtered)[reason] += 1

    def check(self, max_skipped: float, *, all_read: bool = False) -> None:
        """Looks at the share of broken ones.

        Args:
            max_skipped: Largest share.
            all_read: Whether all samples there are have been read, however few.

        Raises:
            UsageError: If it is too large, and enough were read for that to mean anything.
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
    """Where a stream of batches stands, and how it is shared out.

    Batch ``k`` of rank ``r`` holds the positions ``first_sample + (k * world_size + r) * batch_size`` and
    following: with a constant product of the two, any number of ranks sees the same samples together.

    Args:
        batch_size: Samples per batch and rank.
        seed: Decides whatever is drawn for a sample, together with its position.
        rank: Rank of this process.
        world_size: Number of ranks.
        first_sample: Position that training goes on from, of all ranks together.
        first_batch: Batches before that.
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
    """Batches without end: each a function of the seed and its positions, whichever process makes it.

    A sample that cannot be used is replaced by another, drawn with numbers of its position's own, and named
    in the batch under ``skipped`` as ``{position: reason}``.

    Args:
        read: Returns the sample of a number.
        make: Makes an example of a sample, given random numbers and the number of its batch.
        collate: Makes a batch of examples.
        order: Returns the number of the sample at a position; has a length.
        plan: Where the stream stands.
        decoded: What became of the samples when they were decoded beforehand, if they were.
        name: Names the sample of a number.
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
                yield {FAILED: str(error)}  # raised where it ends up: a loader would add a traceback
                return

    def batch(self, number: int) -> Batch:
        """Makes the batch of a number, counted from where the plan begins."""
        examples, skipped = [], {}
        for position in self.plan.positions(number):
            example, reason = self.example(position, self.plan.first_batch + number)
            examples.append(example)
            if reason is not None:
                skipped[position] = reason
        batch = self.collate(examples)
        return {**batch, SKIPPED: skipped} if skipped else batch

    def example(self, position: int, batch: int) -> tuple[dict[str, Any], str | None]:
        """Makes the example of a position; the second is why the sample there could not be used."""
        number, reasons = self.order(position), list[str]()
        self._count_read()  # once: only the sample that stands there counts, not those that replace it
        for attempt in range(MAX_ATTEMPTS):
            rng = np.random.default_rng([self.plan.seed, position, attempt])
            try:
                return self.make(self.read(number), rng, batch), reasons[0] if reasons else None
            except UsageError:
                raise
            except Exception as error:  # decoders raise whatever they like
                reasons.append(reason_of(error))
                if attempt == 0:
                    self.tally.skip(reasons[0], broken=not isinstance(error, Filtered))
                    self.tally.check(self.plan.max_skipped)
            number = int(rng.integers(len(self.order)))  # type: ignore[arg-type]
        raise UsageError(f"{MAX_ATTEMPTS} samples in a row are of no use: {describe(Counter(reasons))}")

    def _count_read(self) -> None:
        self.tally.num_read += 1
        if self.decoded is not None and self.tally.num_read == MIN_COUNTED:
            # Few samples, read again and again: as many as this would have been enough without a store.
            self.decoded.check(self.plan.max_skipped, all_read=True)


class FixedBatches(IterableDataset):
    """Batches made beforehand; iterable, so that Lightning does not share them out a second time."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self.batches = list(batches)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)
