"""Checks of values that users give: that numbers are finite and in range, and that types fit."""

import functools
import hashlib
import inspect
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

from .errors import BadValueError
from .textfile import shortened

T = TypeVar("T")

MAX_SEED = 2**63 - 1  # what torch's generators take
MAX_COUNT = 10**7  # of samples, steps, pixels and the like: beyond what memory holds
MIN_FPS = 0.002  # frames a second; slower videos are stills, and GIF cannot hold them
MAX_FPS = 10**5
MAX_FLOAT = sys.float_info.max
MAX_GUIDANCE = 10**4  # far beyond useful guidance, but numbers stay finite


def in_range(value: Any, low: float, high: float = math.inf) -> bool:
    """Whether a value is a finite number from ``low`` to ``high``; NaN, truth values and texts are not."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    # Not math.isfinite: it fails for whole numbers beyond 1e308.
    return low <= value <= high and value != math.inf


def range_text(low: float, high: float = math.inf) -> str:
    """Describes a range: ``from 1 to 30``, or ``at least 1, at most 10000000``."""
    if high <= 1000:
        return f"from {low} to {high}"
    return f"at least {low}" + (f", at most {high}" if high < math.inf else "")


def check_number(name: str, value: Any, low: float, high: float = math.inf) -> None:
    """Refuses what is not a finite number from ``low`` to ``high``.

    Raises:
        ValueError: If it is not, naming it.
    """
    if not in_range(value, low, high):
        raise BadValueError(f"{name} must be {range_text(low, high)}, got {shortened(repr(value))}")


def check_whole(name: str, value: Any, low: int, high: float = math.inf) -> None:
    """Refuses what is not a whole number from ``low`` to ``high``.

    Raises:
        ValueError: If it is not, naming it.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadValueError(f"{name} must be a whole number, got {shortened(repr(value))}")
    check_number(name, value, low, high)


def subsample(values: Sequence[T], num: int | None) -> list[T]:
    """Returns ``num`` evenly spaced values; all if None, or if there are no more than that."""
    if num is None or num >= len(values):
        return list(values)
    return [values[i * len(values) // num] for i in range(num)]


def seed_from(*parts: Any) -> int:
    """Derives a seed, 0 to 2**63 - 1, from numbers and texts; different parts give different seeds."""
    text = "\n".join(map(str, parts))
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") >> 1


# Name of each plain type, singular and plural.
_WORDS = {
    int: ("a whole number", "whole numbers"),
    float: ("a finite number", "finite numbers"),
    bool: ("true or false", "true or false"),
    str: ("a text", "texts"),
    NoneType: ("None", "None"),
}


class Checked:
    """Refuses arguments of the constructors of its subclasses, see ``check_types``."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            cls.__init__ = _checked(cls.__init__)  # type: ignore[method-assign]


def _checked(init: Callable[..., None]) -> Callable[..., None]:
    signature = inspect.signature(init)

    @functools.wraps(init)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> None:
        check_types(init, signature.bind(self, *args, **kwargs).arguments)
        init(self, *args, **kwargs)

    return wrapper


def check_types(function: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    """Refuses arguments whose plain type differs from a function's annotations.

    It checks numbers, truth values, texts and lists of them: a truth value is not a whole number, a text is
    not a number, nor is NaN, which would pass every range check. Other values are not checked.

    Raises:
        ValueError: If one is of another type, naming it.
    """
    hints = _hints(function)
    for name, value in arguments.items():
        if name in hints and not _fits(value, hints[name]):
            raise BadValueError(f"{name} must be {_words(hints[name])}, got {shortened(repr(value))}")


@functools.cache
def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Returns the annotations of a function's parameters, but for ``*args`` and ``**kwargs``."""
    various = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    return {each.name: each.annotation for each in parameters if each.kind not in various}


def _fits(value: Any, hint: Any) -> bool:
    if get_origin(hint) in (Union, UnionType):
        return any(_is_of(value, each) for each in get_args(hint))
    if get_origin(hint) in (list, tuple, Sequence):
        items = get_args(hint)
        if get_origin(hint) is not tuple or items[-1] is Ellipsis:
            items = items[:1] * len(value) if isinstance(value, list | tuple) else ()
        return isinstance(value, list | tuple) and len(value) == len(items) and all(map(_fits, value, items))
    if hint is str:
        return isinstance(value, str | os.PathLike)
    if hint is float:
        return in_range(value, -MAX_FLOAT, MAX_FLOAT)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint) if hint in (bool, NoneType) else True


def _is_of(value: Any, hint: Any) -> bool:
    """Whether a value is of one of several types, which need not be plain ones."""
    kind = get_origin(hint) or hint
    is_other = isinstance(kind, type) and kind not in (int, float, bool, str, list, tuple, Sequence)
    return isinstance(value, kind) if is_other else _fits(value, hint)


def _words(hint: Any) -> str:
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(_words(each) for each in get_args(hint))
    if get_origin(hint) is Mapping:
        return f"a dict with {_WORDS[get_args(hint)[1]][1]}"
    if get_origin(hint) in (list, tuple, Sequence):
        item = get_args(hint)[0]
        many = get_origin(hint) is not tuple or get_args(hint)[-1] is Ellipsis
        length = "" if many else f"{len(get_args(hint))} "
        return f"a list of {length}{_WORDS[item][1] if item in _WORDS else item}"
    return _WORDS[hint][0] if hint in _WORDS else str(hint)
