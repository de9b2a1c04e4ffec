"""From shards to members of samples: which files, which members, and what becomes of broken ones."""

import tarfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from glob import glob
from pathlib import Path
from typing import Any, Generic, TypeVar

from rich.progress import track
from webdataset import utils
from webdataset.shardlists import expand_urls
from webdataset.tariterators import group_by_keys, tar_file_expander

from lightning_mav.errors import UsageError

# No shell commands, no unpickling; set here, as WDS_SECURE is read by whoever imports webdataset first.
utils.enforce_security = True

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


class ShardReader(Generic[T]):
    """Reads shards one after the other; skips what is broken, with a warning, and counts it.

    Its methods are stages of a webdataset pipeline.

    Args:
        suffixes: Members to read; the others are passed over unread.
        decode: Turns the members of a sample into what is wanted; whatever it raises is a broken sample.
    """

    def __init__(self, suffixes: Iterable[str], decode: Callable[[Sample], T]) -> None:
        self.suffixes = frozenset(suffixes)
        self.decode = decode
        self.num_skipped = 0
        self.num_read = 0
        self.warned: set[tuple[str, str]] = set()

    def read_all(self, shards: list[str], remedy: str, progress: bool = False) -> Iterator[T]:
        """Goes through shards once, in order, and complains if nothing in them was usable."""
        title = f"Decoding {Path(shards[0]).parent}"
        tracked = track(shards, title, disable=not progress)
        yield from self.decoded(self.samples({"url": shard} for shard in tracked))
        if not self.num_read:
            what = f"{self.num_skipped} samples were skipped" if self.num_skipped else "no sample was found"
            raise UsageError(f"nothing usable in {len(shards)} shards, {shards[0]} ...: {what}; {remedy}")
        if self.num_skipped:
            num = self.num_skipped + self.num_read
            warnings.warn(f"skipped {self.num_skipped} of {num} samples in {shards[0]} ...", stacklevel=2)

    def samples(self, shards: Iterable[Sample]) -> Iterator[Sample]:
        """Yields the wanted members of each sample, undecoded."""
        members = tar_file_expander(self.open(shards), handler=self.skip_shard, select_files=self.is_wanted)
        return group_by_keys(members, handler=self.skip_shard)

    def open(self, shards: Iterable[Sample]) -> Iterator[Sample]:
        """Opens shards as plain files: webdataset's own opener would follow other kinds of addresses."""
        for shard in shards:
            try:
                tarfile.open(shard["url"], "r:").close()  # refuses what is compressed or no tar file at all
                with Path(shard["url"]).open("rb") as stream:
                    yield {"url": shard["url"], "stream": stream}
            except (OSError, tarfile.TarError) as error:
                self._warn("everything", shard["url"], str(error))

    def is_wanted(self, name: str) -> bool:
        """Says whether a member of a shard is to be read."""
        return name.rpartition(".")[2].lower() in self.suffixes

    def skip_shard(self, error: Exception) -> bool:
        """Gives up the rest of a broken shard, and goes on with the next."""
        reason, *_, url = error.args or ("?",)
        self._warn("the rest", str(url), str(reason))
        return True

    def decoded(self, samples: Iterable[Sample]) -> Iterator[T]:
        """Decodes samples."""
        for sample in samples:
            try:
                decoded = self.decode(sample)
            except Exception as error:  # decoders raise whatever they like
                self.num_skipped += 1
                self._warn(sample["__key__"], sample["__url__"], f"{type(error).__name__}: {error}")
                continue
            self.num_read += 1
            yield decoded

    def _warn(self, what: str, shard: str, reason: str) -> None:
        """Warns once: an endless stream meets the same broken sample again and again."""
        if (what, shard) not in self.warned:
            self.warned.add((what, shard))
            warnings.warn(f"skipped {what} in {shard}: {reason}", stacklevel=3)
