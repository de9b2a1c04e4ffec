"""Shortens the error messages of jsonargparse to one line."""

import difflib
import errno
import importlib
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonargparse
from jsonargparse import ArgumentParser
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from ..utils.errors import UsageError
from ..utils.textfile import read_text

# Errors by which a constructor, or Lightning, refuses a value.
REFUSALS = (ValueError, TypeError, RuntimeError, ArithmeticError, ImportError, MisconfigurationException)
# Errors of a disk or a folder that cannot be written to.
DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
DISK |= {errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG}

_UNKNOWN_OPTION = re.compile(r"[Oo]ption '([\w.]+)' is not accepted")
_UNKNOWN_KEY = re.compile(r"(?:does not accept option '|unrecognized arguments: --)([\w.]+)")
_CLASS_PATH = re.compile(r"class_path '([\w.]+)'")
_LONG_WORD = re.compile(r"\S{200,}")
_OTHERS = (Path(__file__).parent.parent, Path(sys.prefix), Path(sysconfig.get_path("stdlib")))
_NOISE = re.compile(r"^(Does not validate|Subtypes:|Errors:|Given value|Expected a <class 'NoneType'>|$)")


@contextmanager
def utf8_files() -> Iterator[None]:
    """Lets jsonargparse read files as the rest of the program does: YAML in UTF-8, whatever the locale.

    By itself it opens them in the locale's encoding, and its errors about YAML do not name the file.
    """
    from ..utils.settings import parse_yaml

    kind: Any = jsonargparse.Path
    name = "read_text" if hasattr(kind, "read_text") else "get_content"  # its name before version 4.49
    original = getattr(kind, name)

    def read(path: Any, *args: Any) -> str:
        local = Path(str(path.absolute))
        if not local.is_file():
            return original(path, *args)
        text = read_text(local, "name a YAML file")
        parse_yaml(text, local)
        return text

    setattr(kind, name, read)
    try:
        yield
    finally:
        setattr(kind, name, original)


def explain(message: str, keys: list[str]) -> str:
    """Says in one line what is wrong with a configuration; for an unknown key, which keys exist.

    Args:
        message: What the parser says.
        keys: The keys it knows, in dot notation, leaves only.
    """
    match = _UNKNOWN_OPTION.search(message)
    classes = _CLASS_PATH.findall(message[: match.start()]) if match else []
    if match and classes:
        return _unknown(match[1].split(".")[0], classes[-1], _parameters(classes[-1]))
    if match := _UNKNOWN_KEY.search(message):
        *scope, name = match[1].split(".")
        while scope and not _children(keys, scope):
            name = scope.pop()
        return _unknown(name, ".".join(scope) or "the configuration", _children(keys, scope))
    lines = [line.strip(" -") for line in message.split("\n")]
    line = " ".join(line for line in lines if not _NOISE.match(line))
    return _LONG_WORD.sub(lambda word: f"{word[0][:80]}...", line)


def blame(error: BaseException) -> str | None:
    """Describes in one line an error that the user's own code raised, and where; None for other errors."""
    seen: BaseException | None = error
    while seen is not None:
        *_, (frame, line) = [(None, 0), *traceback.walk_tb(seen.__traceback__)]
        path = frame.f_code.co_filename if frame else ""
        if path.endswith(".py") and not any(Path(path).is_relative_to(place) for place in _OTHERS):
            said = " ".join(str(seen).split()) or "it says nothing"
            return f"{path}, line {line}: {type(seen).__name__}: {said}"
        seen = seen.__cause__ or seen.__context__
    return None


def _unknown(key: str, place: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    hint = f", did you mean {close[0]!r}?" if close else ";"
    return f"no key {key!r} in {place}{hint} its keys are {', '.join(known)}"


def _children(keys: list[str], scope: list[str]) -> list[str]:
    """Returns the names one level below a key."""
    prefix = "".join(f"{name}." for name in scope)
    return sorted({key.removeprefix(prefix).split(".")[0] for key in keys if key.startswith(prefix)})


def _parameters(class_path: str) -> list[str]:
    module, _, name = class_path.rpartition(".")
    cls = getattr(importlib.import_module(module), name)
    # Unlike inspect's signature, this follows **kwargs to the base class.
    added = ArgumentParser().add_class_arguments(cls, "x", fail_untyped=False)
    return [key.removeprefix("x.") for key in added]


@contextmanager
def refusals_explained() -> Iterator[None]:
    """Reports a value that a constructor refuses as the user's mistake.

    Raises:
        UsageError: If the block raises what constructors raise of their arguments.
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        if (reason := blame(error)) is not None:
            raise UsageError(reason) from error
        if not isinstance(error, REFUSALS):
            raise
        raise UsageError(explain(str(error) or type(error).__name__, [])) from error
