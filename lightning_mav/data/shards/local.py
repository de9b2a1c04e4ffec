"""Shards on this machine."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ...utils.errors import UsageError
from .index import (
    ShardError,
    ShardIndex,
    count_samples,
    index_path,
    load_index,
    read_index,
    scan_shard,
    write_index,
)

State = tuple[int, int]  # size, and time of the last change


@dataclass(frozen=True)
class LocalShard:
    """A shard on this machine.

    Args:
        name: Its path.
        kept: Folder for its index if there is none beside the shard, so that its headers are read only once.
            If None, they are read each time.
    """

    name: str
    kept: Path | None = None

    def size(self) -> int:
        """Returns its size in bytes."""
        return self._state()[0]

    def identity(self) -> list[object]:
        """Returns values that differ for every other shard, and for every other version of this one."""
        return [Path(self.name).name, *self._state()]

    def count(self) -> int:
        """Returns the number of samples, from the first bytes of an index if there is one."""
        state = self._state()
        for path in filter(None, (index_path(Path(self.name)), _kept_index(self, state))):
            count = count_samples(path, state[0])
            if count is not None:
                return count
        return len(self.index())

    def index(self) -> ShardIndex:
        """Returns where its members lie."""
        return _local_index(self, self._state())

    @contextmanager
    def opened(self) -> Iterator[Path]:
        """Yields the file."""
        yield Path(self.name)

    def _state(self) -> State:
        try:
            stat = Path(self.name).stat()
        except OSError as error:
            raise ShardError(f"cannot read {self.name}: {error.strerror}; has it been moved?") from error
        return stat.st_size, stat.st_mtime_ns


# Training reads from a few shards at a time, see Order.
@lru_cache(maxsize=64)
def _local_index(shard: LocalShard, state: State) -> ShardIndex:
    path, kept = Path(shard.name), _kept_index(shard, state)
    if kept is None or index_path(path).exists():
        return load_index(path)
    with suppress(ShardError):
        return read_index(kept, path)
    index = scan_shard(path, checksums=False)
    with suppress(OSError, UsageError):  # training can do without it
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_index(index, kept)
    return index


def _kept_index(shard: LocalShard, state: State) -> Path | None:
    return shard.kept and shard.kept / f"{key_of(os.path.abspath(shard.name), *state)}.index.json"


def key_of(*parts: object) -> str:
    """Returns 32 hex digits that depend on all parts and nothing else."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
