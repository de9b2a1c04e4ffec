"""Samples of shards by their number: in which shard each is, and where in the file its members lie."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from typing import Any, TypeVar

from ...utils.console import track
from ...utils.errors import UsageError
from .cache import ShardCache
from .fetched import RemoteShard, Shard, locate
from .index import MAX_MEMBER_BYTES, ShardError, ShardIndex, read_member
from .remote import is_remote

Sample = dict[str, Any]
T = TypeVar("T")
NUM_THREADS = 16  # that wait for servers
MANY = 100  # shards on this machine, whose headers may take a while to read


class Shards:
    """Samples of shards by their number; members are read at the places that the shard's index gives.

    Args:
        paths: The shards, on this machine or elsewhere.
        suffixes: Suffixes of the members to read; other members are not read.
        max_bytes: Largest member to read.
        cache: Where shards from elsewhere are kept; the default folder if None.

    Raises:
        ShardError: If a shard is damaged: this stops training, as the samples after the damage are unknown.
    """

    def __init__(
        self,
        paths: Iterable[str],
        suffixes: Iterable[str],
        max_bytes: int = MAX_MEMBER_BYTES,
        cache: ShardCache | None = None,
    ) -> None:
        self.cache = ShardCache.of() if cache is None else cache
        self.shards = locate_all(list(paths), self.cache)
        self.suffixes = frozenset(suffixes)
        self.max_bytes = max_bytes
        remote = any(isinstance(shard, RemoteShard) for shard in self.shards)
        self.lengths = _each(lambda shard: shard.count(), self.shards, "Counting samples", remote)
        self.ends = list(accumulate(self.lengths))

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def check_room(self, num_samples: int, num_sets: int) -> None:
        """Refuses a cache that is too small for the remote shards that are read at the same time.

        Args:
            num_samples: Samples of neighbouring shards that are shuffled together.
            num_sets: Number of such groups that are read at the same time.

        Raises:
            UsageError: If they would be fetched over and over.
        """
        sizes = [shard.size() for shard in self.shards if isinstance(shard, RemoteShard)]
        mean = sum(sizes) / max(1, len(self))
        num_bytes = min(sum(sizes), num_sets * (num_samples * mean + max(sizes, default=0)))
        self.cache.check_room(num_bytes, "the shards read in turn have")

    def place(self, number: int) -> tuple[Shard, ShardIndex, int]:
        """Returns the shard of a sample, the shard's index and the sample's number in it.

        Raises:
            ShardError: If the shard has been changed so that it has more samples, or fewer.
        """
        which = bisect_right(self.ends, number)
        shard, length = self.shards[which], self.lengths[which]
        index = shard.index()
        if len(index) != length:
            problem = f"it has {len(index)} samples, and had {length} when reading started"
            raise ShardError(f"{shard.name}: {problem}; keep shards unchanged, and start again")
        return shard, index, number - self.ends[which] + length

    def name(self, number: int) -> str:
        """Returns a sample's key and shard, for messages."""
        shard, index, place = self.place(number)
        return f"{index.keys[place]} in {shard.name}"

    def make_each(
        self, make: Callable[[Sample, int], T], numbers: Iterable[int], skip: Callable[[int, Exception], None]
    ) -> Iterator[T]:
        """Yields ``make(sample, number)`` for each sample that can be used.

        Args:
            make: Decodes a sample, given its number; if it raises an error, the sample is skipped.
            numbers: Samples to take.
            skip: Called with the number and the error of each skipped sample.

        Raises:
            UsageError: If ``make`` raises it, or the shard is damaged: these concern more than one sample.
        """
        for number in numbers:
            try:
                made = make(self.read(number), number)
            except UsageError:
                raise
            except Exception as error:  # codecs raise errors of any type
                skip(number, error)
                continue
            yield made

    def read(self, number: int) -> Sample:
        """Returns the wanted members of a sample, by suffix.

        Raises:
            ValueError: If a member is too large, or its checksum differs from that in the index.
        """
        shard, index, place = self.place(number)
        wanted = {suffix: m for suffix, m in index.members[place].items() if suffix in self.suffixes}
        with shard.opened() as path:
            return {suffix: read_member(path, m, self.max_bytes) for suffix, m in wanted.items()}


def find_suffix(sample: Sample, suffixes: Iterable[str]) -> str:
    """Returns the first of some suffixes that a sample has.

    Raises:
        ValueError: If it has none.
    """
    if found := next((suffix for suffix in suffixes if suffix in sample), None):
        return found
    raise ValueError(f"member missing: none ends in {', '.join(suffixes)}")


def locate_all(paths: list[str], cache: ShardCache) -> list[Shard]:
    """Finds shards, see ``locate``; asks servers about many of them at the same time."""
    remote = any(map(is_remote, paths))
    # The headers of a few shards are read quickly.
    kept = cache.indexes if len(paths) >= MANY else None
    return _each(lambda path: locate(path, cache, kept), paths, "Looking for shards", remote)


def _each(function: Callable[[Any], T], items: list[Any], title: str, remote: bool) -> list[T]:
    """Calls a function for each of many shards, with a progress bar; in threads if it waits for servers."""
    if not remote and len(items) < MANY:
        return [*map(function, items)]
    pool = ThreadPoolExecutor(NUM_THREADS if remote else 1)
    try:
        return [*track(pool.map(function, items), title, len(items), transient=True)]
    finally:
        pool.shutdown(cancel_futures=True)  # calls that are left after an error
