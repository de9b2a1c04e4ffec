"""Paths as people write them, files that are nobody's data, and locks of folders."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath

# What systems put beside people's files, besides names that begin with a dot: macOS, Windows, and the
# servers of QNAP and Synology.
JUNK = {
    "__macosx", "icon\r", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin",
    "system volume information", "@eadir", "#recycle", "@recycle", "lost+found",
}  # fmt: skip


def expanded(path: str) -> str:
    """Puts folders in the place of ``~`` and of variables such as ``$HOME``, unless one is called so."""
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
def locked(folder: Path) -> Iterator[None]:
    """Lets one process at a time change a folder: stages may be trained side by side, for one."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
