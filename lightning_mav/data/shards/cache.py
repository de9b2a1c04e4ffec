"""The folder of fetched shards, which any number of processes share.

Locks are those of the kernel, which end with the process that holds them. Files are written under another
name and then renamed, so that nobody sees a part of one.
"""

import fcntl
import os
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ...utils.errors import UsageError
from ...utils.paths import expanded

VARIABLE, DEFAULT = "MAV_CACHE", "outputs/cache"
FOLDER, KEY = "fetched", re.compile("[0-9a-f]{32}")  # nothing else in the folder is ever touched
GIB = 2**30


@dataclass(frozen=True)
class ShardCache:
    """A folder of fetched shards, each in a folder of its own.

    Args:
        folder: Where it is: on a disk of this machine.
        max_bytes: Largest size of all shards together; the least recently used are removed. None: no limit.
    """

    folder: Path
    max_bytes: int | None = None

    @classmethod
    def of(cls, folder: str | None = None, gib: float | None = None) -> "ShardCache":
        """Makes a cache of ``gib`` GiB in a folder, by default in ``MAV_CACHE`` or else ``outputs/cache``."""
        if gib is not None and gib <= 0:
            raise ValueError(f"cache_gib is positive, got {gib}")
        place = Path(expanded(folder or os.environ.get(VARIABLE) or DEFAULT))
        return cls(place / FOLDER, None if gib is None else int(gib * GIB))

    @property
    def indexes(self) -> Path:
        """Folder for the indexes of local shards that have none beside them."""
        return self.folder.with_name("indexes")

    def check_room(self, num_bytes: float, what: str) -> None:
        """Refuses a limit that is so small that the same shards would be fetched over and over.

        Raises:
            UsageError: If there is no room for ``num_bytes``.
        """
        if self.max_bytes is not None and num_bytes > self.max_bytes:
            size = f"{num_bytes / GIB:.3g} GiB"
            raise UsageError(f"cache_gib={self.max_bytes / GIB:.3g} is too small: {what} {size}; raise it")

    def make_room(self, num_bytes: int) -> None:
        """Removes shards that are not in use until there is room for ``num_bytes`` more."""
        if self.max_bytes is None:
            return
        found = []
        for path in self.folder.glob("*/*.tar"):
            with suppress(FileNotFoundError):  # another process makes room too
                stat = path.stat()
                if KEY.fullmatch(path.parent.name):
                    found.append((stat.st_mtime_ns, stat.st_size, path))
        total = sum(size for _, size, _ in found) + num_bytes
        for _, size, path in sorted(found):
            if total > self.max_bytes and _remove_unused(path):
                total -= size


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Keeps a shard from being removed, and sets the time of its last use.

    Raises:
        FileNotFoundError: If it is not there, or was removed just now.
    """
    file = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(file, fcntl.LOCK_SH)
        if not os.fstat(file).st_nlink:
            raise FileNotFoundError(path)
        with suppress(PermissionError):  # the file of another user
            os.utime(file, ns=(time.time_ns(),) * 2)  # more exact than the kernel's own clock
        yield
    finally:
        os.close(file)


@contextmanager
def fetching(path: Path) -> Iterator[Path]:
    """Yields a path beside ``path`` for the unfinished file; only one process at a time gets one.

    Raises:
        UsageError: If nothing can be written there.
    """
    folder = path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise cannot_write(folder, error) from None
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        for left in folder.glob(".*.part"):  # left behind by processes that were killed
            left.unlink(missing_ok=True)
        try:
            yield part
        finally:
            part.unlink(missing_ok=True)
    finally:
        os.close(file)


def cannot_write(folder: Path, error: OSError) -> UsageError:
    """Makes the error for a folder in which no shards can be kept."""
    problem = f"cannot keep fetched shards in {folder}: {error.strerror or error}"
    return UsageError(f"{problem}; make room, or set cache_dir (or {VARIABLE}) to another folder")


def _remove_unused(path: Path) -> bool:
    """Removes a shard unless a process reads it; returns whether it is gone."""
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(file)
    return True
