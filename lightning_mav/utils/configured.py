"""Objects that remember how they were made, so that a weights file can rebuild them."""

import functools
import importlib
import inspect
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from .errors import UsageError, first_line
from .numbers import check_types

ConfigDict = dict[str, Any]

# Modules of this package that export its ``Configured`` classes.
PACKAGE = __name__.split(".")[0]
HOMES = ("clip", "diffusion", "evaluation.features", "models", "nn", "prompts")
# Names more modules, separated by commas, whose classes a config may name.
IMPORT = "MAV_IMPORT"

_own_modules: set[str] = set()


class ForeignClassError(ValueError):
    """A config names a class of a module that nobody has allowed."""


class Configured:
    """Records the constructor's arguments in ``config``: ``{"class_path": ..., "init_args": {...}}``.

    Arguments must be plain values (numbers, strings, lists, dicts, None) or other ``Configured`` objects,
    so that ``config`` can be written as JSON. Classes of this package go by stable names, such as
    ``lightning_mav.Pseudo3DUNet``, which leave the module out; others by module and name. Arguments taken by
    ``**kwargs`` are recorded by name, those taken by ``*args`` under the key ``*args``. Plain
    values must be of the types that the constructor's annotations give (see ``check_types``), else it
    raises ValueError.
    """

    config: ConfigDict

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__ or not hasattr(cls.__init__, "records"):
            cls.__init__ = _recorded(cls.__init__)  # type: ignore[method-assign]


def allow_modules(*names: str) -> None:
    """Imports modules of your own, whose ``Configured`` classes configs may name from then on.

    The environment variable ``MAV_IMPORT`` does the same. Nothing in a file can.

    Raises:
        UsageError: If one cannot be imported.
    """
    for name in names:
        if not all(part.isidentifier() for part in name.split(".")):
            raise UsageError(
                f"cannot import {name or 'nothing'!r}: give the name of a module, such as my_nets for a file "
                "my_nets.py in a folder that PYTHONPATH names"
            )
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:
            missing = isinstance(error, ModuleNotFoundError) and error.name in (name, name.split(".")[0])
            remedy = "it must be installed, or be in a folder that PYTHONPATH names"
            problem = f"cannot import {name} ({type(error).__name__}: {first_line(error)})"
            raise UsageError(f"{problem}: {remedy if missing else 'mend that module'}") from error
        _own_modules.add(name)


def import_own_modules() -> None:
    """Imports the modules that ``--import`` and the environment variable ``MAV_IMPORT`` name.

    Raises:
        UsageError: If one cannot be imported.
    """
    allow_modules(*filter(None, os.environ.get(IMPORT, "").split(",")))


def from_config(config: ConfigDict) -> Any:
    """Rebuilds what ``Configured.config`` describes.

    Raises:
        ForeignClassError: If it names a class of a module that is neither of this package nor allowed: a
            weights file must not be able to run other code.
        ValueError: If it names no class that can be rebuilt.
    """
    cls = _find_class(config["class_path"])
    given = {key: _restored(value) for key, value in config["init_args"].items()}
    signature = inspect.signature(cls.__init__)
    signature = signature.replace(parameters=list(signature.parameters.values())[1:])
    named = {}
    for name, parameter in signature.parameters.items():
        key = f"*{name}" if parameter.kind is parameter.VAR_POSITIONAL else name
        if key in given and parameter.kind is not parameter.VAR_KEYWORD:
            named[name] = given.pop(key)
    if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in signature.parameters.values()):
        given = {key: value for key, value in given.items() if value is not None}  # was off: not missed
        if given:
            raise ValueError(
                f"{cls.__name__} has no {min(given)}: another version of lightning-mav wrote this"
            )
    bound = inspect.BoundArguments(signature, named)  # type: ignore[arg-type]
    return cls(*bound.args, **bound.kwargs, **given)


def check_config(obj: Any) -> None:
    """Checks that an object can be rebuilt from its config, before it is trained.

    The modules of its classes become allowed: whoever made the object has imported them.

    Raises:
        ValueError: If it cannot, naming the class and the reason.
    """
    if not isinstance(obj, Configured):
        raise ValueError(
            f"{_stable_name(type(obj))} does not record its arguments: derive it from Configured"
        )
    for config in reversed(list(_configs(obj.config))):  # inner configs first: they cause the error
        class_path, init_args = config["class_path"], config["init_args"]
        module = class_path.rpartition(".")[0]
        if module.split(".")[0] != PACKAGE:
            if module == "__main__" or module not in sys.modules:
                raise ValueError(f"{class_path} cannot be found again: define it at the top of a module")
            _own_modules.add(module)
        _find_class(class_path)
        for name, value in init_args.items():
            try:
                is_plain = json.loads(json.dumps(value)) == value
            except (TypeError, ValueError):
                is_plain = False
            if not is_plain:
                raise ValueError(
                    f"{class_path} cannot be rebuilt: its argument {name} is no plain value but {value!r}"
                )


def own_modules(config: ConfigDict) -> list[str]:
    """Names the modules outside of this package that have to be allowed to rebuild from a config."""
    modules = {found["class_path"].rpartition(".")[0] for found in _configs(config)}
    return sorted(name for name in modules if name.split(".")[0] != PACKAGE)


def _configs(value: Any) -> Iterator[ConfigDict]:
    """Yields a config and those in its arguments."""
    if isinstance(value, dict):
        if value.keys() == {"class_path", "init_args"}:
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _configs(item)


def _find_class(class_path: str) -> type[Configured]:
    """Finds a class among the exports of ``HOMES``, and imports no module that only the config names.

    Files of version 0.1.0 also name the module of a class of this package; it may have moved since.
    """
    package, *_, name = class_path.split(".")
    if package == PACKAGE:
        modules = map(importlib.import_module, (f"{PACKAGE}.{home}" for home in HOMES))
    else:
        modules = map(_own_module, [class_path])
    for module in modules:
        cls = getattr(module, name, None)
        if isinstance(cls, type) and Configured in cls.__mro__[1:]:
            return cls
    raise ValueError(f"{class_path!r} is not a class that can be rebuilt from a config")


def _own_module(class_path: str) -> Any:
    """Returns the module of a class that is not of this package, if it was allowed."""
    import_own_modules()
    name = class_path.rpartition(".")[0]
    is_allowed = any(name == own or name.startswith(f"{own}.") for own in _own_modules)
    if not is_allowed or name not in sys.modules:
        raise ForeignClassError(
            f"a config may only name classes of {PACKAGE}, got {class_path!r}; if you trust that module, "
            f"say so with --import {name}, {IMPORT}={name} or, in Python, modules=[{name!r}]"
        )
    return sys.modules[name]


def _stable_name(cls: type) -> str:
    """Names a class so that one of this package can be moved within it."""
    is_own = cls.__module__.split(".")[0] == PACKAGE
    return f"{PACKAGE if is_own else cls.__module__}.{cls.__qualname__}"


def _recorded(init: Callable[..., None]) -> Callable[..., None]:
    signature = inspect.signature(init)

    @functools.wraps(init)
    def wrapper(self: Configured, *args: Any, **kwargs: Any) -> None:
        bound = signature.bind(self, *args, **kwargs)
        check_types(init, bound.arguments)
        if "config" not in self.__dict__:  # else a subclass's constructor has recorded it
            bound.apply_defaults()
            init_args: dict[str, Any] = {}
            for name, parameter in list(signature.parameters.items())[1:]:
                value = _plain(bound.arguments[name])
                if parameter.kind is parameter.VAR_KEYWORD:
                    init_args |= value
                elif parameter.kind is not parameter.VAR_POSITIONAL:
                    init_args[name] = value
                elif value:
                    init_args[f"*{name}"] = value  # a name that no keyword can have
            self.__dict__["config"] = {"class_path": _stable_name(type(self)), "init_args": init_args}
        init(self, *args, **kwargs)

    wrapper.records = True  # type: ignore[attr-defined]
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
