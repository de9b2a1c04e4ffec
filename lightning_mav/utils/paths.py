"""Paths as users write them, hidden files, files that are never half written, and locks."""

import errno
import fcntl
import glob
import os
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath
from typing import IO

from .errors import UsageError

# Files that systems add, besides names that begin with a dot: macOS, Windows, and the servers of QNAP
# and Synology.
JUNK = {
    "__macosx", "icon\r", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin",
    "system volume information", "@eadir", "#recycle", "@recycle", "lost+found",
}  # fmt: skip
STALE_SECONDS = 3600  # older unfinished files are those of killed processes


def expanded(path: str) -> str:
    """Expands ``~`` and variables such as ``$HOME``, unless a file or folder has that literal name."""
    places = [path, *map(str, PurePath(path).parents)]
    if any(os.path.lexists(place) for place in places if place[:1] == "~" or "$" in place):
        return path
    return os.path.expandvars(os.path.expanduser(path))


def is_hidden(path: str) -> bool:
    """Tells whether a path, below a folder or in an archive, has a part that begins with a dot, or is junk.

    The ``._NAME`` that macOS leaves beside every ``NAME`` on foreign disks is such a file.
    """
    parts = path.split("/")
    return any((part[:1] == "." and part not in (".", "..")) or part.lower() in JUNK for part in parts)


def visible(folder: Path, pattern: str = "*") -> list[Path]:
    """Lists what is in a folder and matches a pattern, in order, without hidden files."""
    found = folder.glob(pattern)
    return sorted(path for path in found if not is_hidden(path.relative_to(folder).as_posix()))


@contextmanager
def replacing(path: Path, *, sync: bool = False, unless: Callable[[], bool] | None = None) -> Iterator[Path]:
    """Yields an unfinished file to write, which takes the place of ``path`` when the block ends.

    So readers find the old file or the new one, and never half of one. If the block raises, the old file
    stays. Several processes may do this at once: the last one wins.

    Args:
        path: File to write; its folder must be there.
        sync: Whether the content must be on disk first, so that a loss of power leaves one of the two whole.
        unless: Asked when the block ends; if it returns True, the old file stays.
    """
    remove_stale(path.parent, f".{glob.escape(path.name)}.*.part")
    # In the same folder: a file can be renamed at once only within its file system.
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        yield part
        if sync:
            with part.open("rb") as file:
                os.fsync(file.fileno())
        if unless is None or not unless():
            os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def remove_stale(folder: Path, pattern: str) -> None:
    """Removes unfinished files and folders that killed processes left in a folder: those that are old."""
    for left in folder.glob(pattern):
        with suppress(FileNotFoundError):  # another process removes it, too
            if time.time() - left.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink()


_claimed: dict[tuple[int, int], IO[str]] = {}  # files claimed by this process, which its own locks do not see


def claim(path: Path, remedy: str) -> IO[str]:
    """Locks a file for this process and writes the process ID into it; creates the file if it is missing.

    The lock lasts until the file is closed or the process ends, even if it is killed. A lock of ``flock``
    would last as long as any process that was forked from this one.

    Args:
        path: The file, in the folder that no other run may write to.
        remedy: What to do if another run has locked it.

    Returns:
        The file, to be closed.

    Raises:
        UsageError: If it is taken, saying by which process.
        OSError: If the file cannot be written, or its file system has no locks.
    """
    if path.exists():
        status = path.stat()
        held = _claimed.get((status.st_dev, status.st_ino))
        if held is not None and not held.closed:  # opening and closing it again would lose the lock
            raise _taken(path, f"{os.getpid()}, which is this one", remedy)
    file = path.open("a+", encoding="utf-8", errors="replace")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        holder = file.readline().strip() or "unknown"
        file.close()
        if error.errno in (errno.EACCES, errno.EAGAIN):
            raise _taken(path, holder, remedy) from None
        raise OSError(error.errno, error.strerror, str(path)) from error
    file.truncate(0)
    file.write(f"{os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    status = os.fstat(file.fileno())
    _claimed[status.st_dev, status.st_ino] = file
    return file


def _taken(path: Path, holder: str, remedy: str) -> UsageError:
    return UsageError(f"{path.parent}: another run is writing there (process {holder}); {remedy}")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lets one process at a time change a folder: stages may be trained side by side, for one."""
    handle = os.open(folder, os.O_RDONLY)
    try:  # by flock: a folder cannot be opened for writing, which the lock of `claim` needs
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
