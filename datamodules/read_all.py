"""Reads all samples of shards once, in order: to decode them beforehand, and to validate."""

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from lightning.pytorch.utilities import rank_zero_info

from lightning_mav.data.shards.parallel import map_in_order
from lightning_mav.data.shards.reader import Sample, Shards
from lightning_mav.datamodules.batches import Tally
from lightning_mav.datamodules.ledger import describe
from lightning_mav.datamodules.metadata_filter import Filtered
from lightning_mav.utils.console import track
from lightning_mav.utils.errors import UsageError, reason_of

PART_SIZE = 32  # samples that a process handles at a time


def read_all(
    shards: Shards,
    make: Callable[[Sample, int], dict[str, Any]],
    remedy: str,
    progress: str | None = None,
    num_workers: int = 1,
    tally: Tally | None = None,
) -> Iterator[dict[str, Any]]:
    """Applies ``make`` to all samples in order; skips broken ones, with a warning.

    Args:
        shards: Shards to read.
        make: Function of a sample and its number.
        remedy: What to do if no sample is usable, for the error.
        progress: Title of a progress bar.
        num_workers: Processes that call ``make``, some samples ahead.
        tally: Counts the samples read and skipped.

    Raises:
        UsageError: If no sample is usable, or a shard is damaged.
    """
    num_made = 0
    tally = Tally() if tally is None else tally
    size = 1 if num_workers == 1 else PART_SIZE
    parts = [range(i, min(i + size, len(shards))) for i in range(0, len(shards), size)]
    made_parts = map_in_order(partial(_make_part, shards, make), parts, num_workers)
    for made, unusable in track(made_parts, progress or "", len(parts), show=progress is not None):
        tally.num_read += len(made) + len(unusable)
        for name, reason, problem, broken in unusable:
            tally.skip(reason, broken=broken)
            warnings.warn(f"skipped {name}: {problem}", stacklevel=2)
        num_made += len(made)
        yield from made
    where = f"{len(shards.shards)} shards, {shards.shards[0].name} ..."
    skipped = tally.reasons
    if not num_made:
        what = f"{skipped.total()} samples were skipped" if skipped else "no sample was found"
        raise UsageError(f"nothing usable in {where}: {what} ({describe(skipped)}); {remedy}")
    if skipped:
        num, reasons = skipped.total(), describe(skipped)
        rank_zero_info(f"skipped {num} of {len(shards)} samples in {where}: {reasons}")


def _make_part(
    shards: Shards, make: Callable[[Sample, int], dict[str, Any]], numbers: range
) -> tuple[list[dict[str, Any]], list[tuple[str, str, str, bool]]]:
    """Applies ``make`` to some samples; also returns, for those skipped, name, reason and if they are broken.

    Reasons are text, since the errors of some codecs cannot be passed to another process.
    """
    unusable = []

    def skip(number: int, error: Exception) -> None:
        broken = not isinstance(error, Filtered)
        problem = f"{type(error).__name__}: {error}"
        unusable.append((shards.name(number), reason_of(error), problem, broken))

    return list(shards.make_each(make, numbers, skip)), unusable
