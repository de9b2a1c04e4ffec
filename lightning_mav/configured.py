"""Objects that remember how they were made, so that a weights file can rebuild them."""

import functools
import importlib
import inspect
from collections.abc import Callable
from typing import Any

ConfigDict = dict[str, Any]


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
        ValueError: If it names anything but a ``Configured`` class of this package: a weights file must
            not be able to run other code.
    """
    module_name, _, name = config["class_path"].rpartition(".")
    if module_name.split(".")[0] != __package__:
        raise ValueError(f"a config may only name classes of {__package__}, got {config['class_path']!r}")
    cls = getattr(importlib.import_module(module_name), name, None)
    if not (isinstance(cls, type) and issubclass(cls, Configured)):
        raise ValueError(f"{config['class_path']!r} is not a class that can be rebuilt from a config")
    return cls(**{key: _restored(value) for key, value in config["init_args"].items()})


def _recorded(init: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(init)
    def wrapper(self: Configured, *args: Any, **kwargs: Any) -> None:
        if "config" not in self.__dict__:  # else: called by the constructor of a subclass, which has recorded
            bound = inspect.signature(init).bind(self, *args, **kwargs)
            bound.apply_defaults()
            init_args = {key: _plain(value) for key, value in list(bound.arguments.items())[1:]}
            cls = type(self)
            self.__dict__["config"] = {
                "class_path": f"{cls.__module__}.{cls.__qualname__}",
                "init_args": init_args,
            }
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
