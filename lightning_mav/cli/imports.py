"""Keeps modules that a command does not need from being imported."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def absent(name: str) -> Iterator[None]:
    """Lets ``import name`` fail as if it were not installed, unless it is imported already.

    This is for packages that import optional dependencies. Only a command may do this, early on: it owns the
    process, and none of its threads imports that module because it needs it.
    """
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # as the import system documents it
    try:
        yield
    finally:
        del sys.modules[name]
