"""Settings of a command: a dataclass, a YAML file that explains its values, and what is given beside it."""

from pathlib import Path
from typing import Any, TypeVar

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from .errors import UsageError

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
        merged = OmegaConf.merge(OmegaConf.structured(kind), OmegaConf.load(path))
        if overrides:
            where += f" with other {', '.join(overrides)}"
        settings = OmegaConf.to_object(OmegaConf.merge(merged, overrides))
    except OSError as error:
        raise UsageError(f"{path}: cannot read the settings ({error.strerror})") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: is no YAML ({' '.join(str(error).split())})") from error
    except (OmegaConfBaseException, ValueError) as error:
        key = getattr(error, "full_key", None)
        message = f"{where}: {f'{key}: ' if key else ''}{str(error).splitlines()[0]}"
        if key and "." not in key and key not in kind.__annotations__:
            message += f"; keys are {', '.join(kind.__annotations__)}"
        raise UsageError(message) from error
    assert isinstance(settings, kind)
    return settings
