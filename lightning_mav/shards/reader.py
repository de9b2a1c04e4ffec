"""From shards to members of samples: which files, which samples, and where in the files they lie."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from glob import glob
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar

from webdataset.shardlists import expand_urls

from ..errors import UsageError
from .index import MAX_MEMBER_BYTES, ShardError, ShardIndex, load_index, read_member

Sample = dict[str, Any]
T = TypeVar("T")


def check_urls(urls: str) -> str:
    """Refuses shards that are not plain local files; nothing is opened yet."""
    if not urls:
        raise ValueError("urls is empty: name a folder of shards, a pattern or a brace expression")
    for url in urls.split("::"):
        if url.startswith("pipe:") or "://" in url:
            raise ValueError(f"shards are local files, got {url!r}; download them first")
    return urls


def expand_shards(urls: str, remedy: str) -> list[str]:
    """Lists the shards that a folder, a glob pattern or a brace expression stands for.

    Args:
        urls: Folder, pattern or brace expression; several are joined by ``::``.
        remedy: What to do if there are none, for the error.
    """
    shards: list[str] = []
    for url in check_urls(urls).split("::"):
        if Path(url).is_dir():
            found = sorted(map(str, Path(url).glob("*.tar")))
        elif any(letter in url for letter in "*?["):
            found = sorted(glob(url))
        else:
            found = expand_urls(url)
        if not found:
            raise UsageError(f"there are no shards (*.tar) in {url}: {remedy}")
        for shard in found:
            if not Path(shard).is_file():
                raise UsageError(f"there is no shard {shard}: {remedy}")
        shards += found
    return shards


class Shards:
    """Samples of shards by their number; members are read from where the shard's index says they lie.

    Args:
        paths: The shards.
        suffixes: Members to read; the others are never touched.
        max_bytes: Largest member to read.

    Raises:
        ShardError: If a shard is damaged: it stops training, as the samples behind the damage are unknown.
    """

    def __init__(
        self, paths: Iterable[str], suffixes: Iterable[str], max_bytes: int = MAX_MEMBER_BYTES
    ) -> None:
        self.paths = list(paths)
        self.suffixes = frozenset(suffixes)
        self.max_bytes = max_bytes
        self.lengths = [len(_index(path)) for path in self.paths]
        self.ends = list(accumulate(self.lengths))

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def place(self, number: int) -> tuple[str, ShardIndex, int]:
        """Returns the shard of a sample, the shard's index and the sample's number in it."""
        shard = bisect_right(self.ends, number)
        path = self.paths[shard]
        return path, _index(path), number - self.ends[shard] + self.lengths[shard]

    def name(self, number: int) -> str:
        """Returns a sample's key and shard, for messages."""
        path, index, place = self.place(number)
        return f"{index.keys[place]} in {path}"

    def make_each(
        self, make: Callable[[Sample, int], T], numbers: Iterable[int], skip: Callable[[int, Exception], None]
    ) -> Iterator[T]:
        """Makes something of samples, one by one.

        Args:
            make: Makes it of a sample and its number; whatever it raises is a sample of no use.
            numbers: Samples to take.
            skip: Is told of each sample of no use, and why.

        Raises:
            UsageError: If ``make`` raises it, or the shard is damaged: more than a sample is at stake.
        """
        for number in numbers:
            try:
                made = make(self.read(number), number)
            except UsageError:
                raise
            except Exception as error:  # codecs raise whatever they like
                skip(number, error)
                continue
            yield made

    def read(self, number: int) -> Sample:
        """Returns the wanted members of a sample, by suffix.

        Raises:
            ValueError: If a member is too large, or its checksum is not that in the index.
        """
        path, index, place = self.place(number)
        wanted = {suffix: m for suffix, m in index.members[place].items() if suffix in self.suffixes}
        return {suffix: read_member(Path(path), m, self.max_bytes) for suffix, m in wanted.items()}


def _index(path: str) -> ShardIndex:
    try:
        stat = Path(path).stat()
    except OSError as error:
        raise ShardError(f"cannot read {path}: {error.strerror}; has it been moved?") from error
    return _load_index(path, (stat.st_size, stat.st_mtime_ns))


@lru_cache(maxsize=64)  # reading keeps to a few shards at a time, see Order
def _load_index(path: str, state: tuple[int, int]) -> ShardIndex:
    return load_index(Path(path))
