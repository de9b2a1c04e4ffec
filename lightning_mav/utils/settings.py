"""Settings of a command: a dataclass, a YAML file with its values, and overrides."""

import dataclasses
import sys
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from .errors import UsageError, first_line
from .textfile import read_text, shortened

T = TypeVar("T")

MAX_DEPTH = 50  # of lists and mappings in each other; OmegaConf gives up at about a hundred
# Errors of PyYAML and OmegaConf for values that they cannot read; YAML tags can cause any of these.
UNREADABLE = (
    *(yaml.YAMLError, OmegaConfBaseException, RecursionError, OSError, ValueError, TypeError),
    *(LookupError, ArithmeticError, AttributeError),
)


def parse_yaml(text: str, path: Path) -> Any:
    """Parses YAML with OmegaConf; values that refer to others are not resolved.

    Args:
        text: The YAML. Duplicate keys, aliases that contain themselves and too many aliases are refused.
        path: The file that it is from, for the error.

    Raises:
        UsageError: If it is no YAML, or nested too deeply.
    """
    try:
        content = OmegaConf.load(StringIO(text))
        if _depth(OmegaConf.to_container(content)) > MAX_DEPTH:
            raise RecursionError
    except RecursionError as error:
        raise UsageError(f"{path}: is nested too deeply: keep to {MAX_DEPTH} levels") from error
    except UNREADABLE as error:
        problem = str(error) or type(error).__name__
        raise UsageError(f"{path}: is no YAML ({shortened(' '.join(problem.split()), 400)})") from error
    return content


def read_yaml(path: Path, remedy: str = "name a YAML file") -> Any:
    """Reads a YAML file; raises as ``read_text`` and ``parse_yaml`` do."""
    return parse_yaml(read_text(path, remedy), path)


def _depth(value: Any) -> int:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, items), default=0) if isinstance(value, dict | list) else 0


def read_settings(kind: type[T], path: Path, **overrides: Any) -> T:
    """Reads a dataclass from a YAML file.

    Args:
        kind: The dataclass; its ``__post_init__`` may refuse values with a ``ValueError``.
        path: The file.
        overrides: Values that take the place of the file's.

    Raises:
        UsageError: If a key or a value is wrong, or the file cannot be read.
    """
    where, content = str(path), read_yaml(path)
    try:
        if not isinstance(content, DictConfig):
            raise ValueError("it must be lines of KEY: VALUE")
        merged = OmegaConf.merge(OmegaConf.structured(kind), content)
        if overrides:
            where += f" with other {', '.join(overrides)}"
        settings = OmegaConf.to_object(OmegaConf.merge(merged, overrides))
    except OverflowError as error:
        given = {**content, **overrides}.items()
        keys = [
            str(key) for key, value in given if isinstance(value, int) and abs(value) > sys.float_info.max
        ]
        raise UsageError(f"{where}: {', '.join(keys)}: a number of that many digits is too large") from error
    except (OmegaConfBaseException, OSError, ValueError, TypeError) as error:
        key = getattr(error, "full_key", None)
        names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
        message = f"{where}: {f'{key}: ' if key else ''}{shortened(first_line(error), 400)}"
        if key and "." not in key and key not in names:
            message += f"; keys are {', '.join(names)}"
        raise UsageError(message) from error
    assert isinstance(settings, kind)
    return settings
