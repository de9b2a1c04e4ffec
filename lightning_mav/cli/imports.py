"""What a command need not import."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def absent(name: str) -> Iterator[None]:
    """Lets ``import name`` fail as if it were not installed, unless it is imported already.

    For packages that import others which they can do without. Only a command may do this, early on: it owns
    the process, and none of its threads is importing that module for better reasons.
    """
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # as the import system documents it
    try:
        yield
    finally:
        del sys.modules[name]
