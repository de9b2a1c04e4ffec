"""Objects that remember how they were made, so that a weights file can rebuild them."""

import functools
import importlib
import inspect
import sys
from collections.abc import Callable
from typing import Any

ConfigDict = dict[str, Any]

# Modules of this package that export its ``Configured`` classes.
HOMES = ("clip", "diffusion", "features", "models", "nn")


class Configured:
    """Records the constructor's arguments in ``config``: ``{"class_path": ..., "init_args": {...}}``.

    Arguments must be plain values (numbers, strings, lists, dicts, None) or other ``Configured`` objects,
    so that ``config`` can be written as JSON and is also what a YAML layer would say.
    """

    config: ConfigDict

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            cls.__init__ = _recorded(cls.__init__)  # type: ignore[method-assign]


def from_config(config: ConfigDict) -> Any:
    """Rebuilds what ``Configured.config`` describes.

    Raises:
        ValueError: If it names anything but a public ``Configured`` class of this package: a weights file
            must not be able to run other code.
    """
    cls = _find_class(config["class_path"])
    return cls(**{key: _restored(value) for key, value in config["init_args"].items()})


def _find_class(class_path: str) -> type[Configured]:
    """Finds a class by its name in what ``HOMES`` export, and imports no module that only the config names.

    Where in this package the class was when it was recorded does not matter: it may have been moved since.
    """
    package, *path, name = class_path.split(".")
    if package != __package__:
        raise ValueError(f"a config may only name classes of {__package__}, got {class_path!r}")
    for home in sorted(HOMES, key=lambda home: [home] != path[:1]):  # first where it says that the class is
        cls = getattr(importlib.import_module(f"{package}.{home}"), name, None)
        if isinstance(cls, type) and Configured in cls.__mro__[1:]:
            return cls
    raise ValueError(f"{class_path!r} is not a class that can be rebuilt from a config")


def _public_path(cls: type) -> str:
    """Names a class by the package that exports it, so that it can be moved within the package."""
    package = cls.__module__
    while package := package.rpartition(".")[0]:
        module = sys.modules.get(package)
        if cls.__name__ in getattr(module, "__all__", ()) and getattr(module, cls.__name__, None) is cls:
            return f"{package}.{cls.__name__}"
    return f"{cls.__module__}.{cls.__qualname__}"


def _recorded(init: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(init)
    def wrapper(self: Configured, *args: Any, **kwargs: Any) -> None:
        if "config" not in self.__dict__:  # else: called by the constructor of a subclass, which has recorded
            bound = inspect.signature(init).bind(self, *args, **kwargs)
            bound.apply_defaults()
            init_args = {key: _plain(value) for key, value in list(bound.arguments.items())[1:]}
            self.__dict__["config"] = {"class_path": _public_path(type(self)), "init_args": init_args}
        init(self, *args, **kwargs)

    return wrapper


def _plain(value: Any) -> Any:
    if isinstance(value, Configured):
        return value.config
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _restored(value: Any) -> Any:
    if isinstance(value, dict) and value.keys() == {"class_path", "init_args"}:
        return from_config(value)
    if isinstance(value, dict):
        return {key: _restored(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_restored(item) for item in value]
    return value
