"""Shards on other machines, each fetched as a whole when it is first used."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from .cache import ShardCache, cannot_write, fetching, reading
from .index import ShardError, ShardIndex, count_samples, index_path, read_index, scan_shard, write_index
from .local import LocalShard, key_of
from .members import UNKNOWN, Members
from .remote import download, index_url, is_final, is_remote, look_up, redact_url, retry, split_query

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclass(frozen=True)
class RemoteShard:
    """A version of a shard on another machine; all its bytes are checked after the transfer.

    Args:
        url: Where it is.
        num_bytes: Its size.
        path: Where it is put on this machine when it is fetched.
        cache: The cache that ``path`` belongs to.
    """

    url: str
    num_bytes: int
    path: Path
    cache: ShardCache

    @property
    def name(self) -> str:
        """Its url as messages show it."""
        return redact_url(self.url)

    def size(self) -> int:
        """Returns its size in bytes."""
        return self.num_bytes

    def identity(self) -> list[object]:
        """Returns values that differ for every other shard, and for every other version of this one."""
        return [self.url, self.path.parent.name]

    def count(self) -> int:
        """Returns the number of samples; fetches the index for that, or the shard if it has no index."""
        self._fetch_index()
        count = count_samples(index_path(self.path), self.num_bytes)
        return len(self.index()) if count is None else count

    def index(self) -> ShardIndex:
        """Returns where its members lie."""
        self._fetch_index()
        try:
            return _fetched_index(self.path, self.num_bytes)
        except ShardError:  # only part of it is there: the machine may have lost its power
            try:
                index_path(self.path).unlink(missing_ok=True)
            except OSError as error:
                raise cannot_write(self.path.parent, error) from None
            self._fetch_index()
            return _fetched_index(self.path, self.num_bytes)

    @contextmanager
    def opened(self) -> Iterator[Path]:
        """Fetches the shard if necessary; yields the file, which is not removed meanwhile."""
        while True:
            self._fetch()
            try:
                with reading(self.path):
                    yield self.path
                    return
            except FileNotFoundError:  # another process made room just now
                if self.path.exists():
                    raise

    def _has_shard(self) -> bool:
        """Returns whether the whole file is there; if the machine lost its power, it may be only a part."""
        try:
            return self.path.stat().st_size == self.num_bytes
        except OSError:
            return False

    def _fetch_index(self) -> None:
        path = index_path(self.path)
        if path.exists():
            return
        with fetching(path) as part:
            found = path.exists()  # another process fetched it, while this one waited
            if not found and retry(self.url, self._download_index, part):
                os.replace(part, path)
                found = True
        if not found:
            self._fetch()
            if not path.exists():  # the shard was there already
                write_index(scan_shard(self.path, checksums=True), path)

    def _download_index(self, part: Path) -> bool:
        """Fetches the index; returns whether there is one."""
        url = index_url(self.url)
        try:
            _download(url, part)
        except Exception as error:  # each driver has errors of its own
            if is_final(url, error):
                return False
            raise
        try:
            read_index(part, self.path, self.num_bytes)
        except ShardError as error:
            raise ShardError(str(error).replace(str(part), redact_url(url))) from None
        return True

    def _fetch(self) -> None:
        """Fetches the shard, unless it is there."""
        if self._has_shard():
            return
        with fetching(self.path) as part:
            if self._has_shard():  # another process fetched it, while this one waited
                return
            self.cache.check_room(self.num_bytes, f"{self.name} has")
            self.cache.make_room(self.num_bytes)
            found = retry(self.url, self._download_shard, part)
            if not index_path(self.path).exists():
                found.name = self.path.name
                write_index(found, index_path(self.path))
            os.replace(part, self.path)

    def _download_shard(self, part: Path) -> ShardIndex:
        _download(self.url, part)
        num_bytes = part.stat().st_size
        if num_bytes != self.num_bytes:
            problem = f"{num_bytes} bytes arrived of {self.num_bytes}"
            raise ShardError(f"{self.name}: {problem}; see whether it is being written, and start again")
        try:
            found = scan_shard(part, checksums=True)
        except ShardError as error:
            raise ShardError(str(error).replace(str(part), self.name)) from None
        if index_path(self.path).exists():
            problem = _difference(read_index(index_path(self.path), part), found)
            if problem:
                raise ShardError(f"{self.name}{problem}; upload it again, with its index")
        return found


Shard = LocalShard | RemoteShard


def locate(url: str, cache: ShardCache, kept: Path | None = None) -> Shard:
    """Finds a shard. If it is elsewhere, finds out its version and size, but does not fetch it.

    Args:
        url: Its path or url.
        cache: Where to keep the shard if it is elsewhere.
        kept: Where to keep an index of the shard if it is on this machine and has none.

    Raises:
        ShardError: If a shard elsewhere does not exist or cannot be reached.
    """
    if not is_remote(url):
        return LocalShard(url, kept)
    num_bytes, version = look_up(url)
    key = key_of(url, num_bytes, version)
    name = PurePosixPath(split_query(url)[0]).name.removesuffix(".tar") or "shard"
    return RemoteShard(url, num_bytes, cache.folder / key / f"{name}.tar", cache)


@lru_cache(maxsize=64)
def _fetched_index(path: Path, num_bytes: int) -> ShardIndex:
    return read_index(index_path(path), path, num_bytes)


def _download(url: str, part: Path) -> None:
    try:
        download(url, part)
    except OSError as error:
        if error.errno in FULL:
            raise cannot_write(part.parent, error) from None
        raise


def _difference(index: ShardIndex, found: ShardIndex) -> str:
    """Says how an index differs from the contents of its shard; empty if it does not."""
    a, b = index.members, found.members
    assert isinstance(a, Members)
    assert isinstance(b, Members)
    if (index.keys, a.offset, a.size) != (found.keys, b.offset, b.size):
        return ": its members lie elsewhere than its index says"
    for row, crc32 in enumerate(a.crc32):
        if crc32 not in (UNKNOWN, b.crc32[row]):
            return f", byte {a.offset[row]}: crc32 mismatch with its index"
    return ""
