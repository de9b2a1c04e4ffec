"""Settings of a command: a dataclass, a YAML file that explains its values, and what is given beside it."""

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


def read_settings(kind: type[T], path: Path, **overrides: Any) -> T:
    """Reads a dataclass from a YAML file.

    Args:
        kind: The dataclass; its ``__post_init__`` may refuse values with a ``ValueError``.
        path: The file.
        overrides: Values that take the place of the file's.

    Raises:
        UsageError: If a key or a value is wrong, or the file cannot be read.
    """
    where = str(path)
    try:
        content = OmegaConf.load(StringIO(read_text(path, "name a YAML file")))
        if not isinstance(content, DictConfig):
            raise ValueError("it must be lines of KEY: VALUE")
        merged = OmegaConf.merge(OmegaConf.structured(kind), content)
        if overrides:
            where += f" with other {', '.join(overrides)}"
        settings = OmegaConf.to_object(OmegaConf.merge(merged, overrides))
    except (yaml.YAMLError, RecursionError) as error:
        raise UsageError(f"{path}: is no YAML ({' '.join(str(error).split())})") from error
    except OverflowError as error:
        given = {**content, **overrides}.items()
        keys = [
            str(key) for key, value in given if isinstance(value, int) and abs(value) > sys.float_info.max
        ]
        raise UsageError(f"{where}: {', '.join(keys)}: a number of that many digits is too large") from error
    except (OmegaConfBaseException, OSError, ValueError, TypeError) as error:
        key = getattr(error, "full_key", None)
        message = f"{where}: {f'{key}: ' if key else ''}{shortened(first_line(error), 400)}"
        if key and "." not in key and key not in kind.__annotations__:
            message += f"; keys are {', '.join(kind.__annotations__)}"
        raise UsageError(message) from error
    assert isinstance(settings, kind)
    return settings
