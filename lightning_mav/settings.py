"""Settings of a command: a dataclass, a YAML file that explains its values, and what is given beside it."""

from pathlib import Path
from typing import Any, TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from .errors import UsageError

T = TypeVar("T")


def read_settings(kind: type[T], path: Path, **overrides: Any) -> T:
    """Reads a dataclass from a YAML file.

    Args:
        kind: The dataclass; its ``__post_init__`` may refuse values with a ``ValueError``.
        path: The file.
        overrides: Values that take the place of the file's; those that are None are left out.

    Raises:
        UsageError: If a key or a value is wrong, or the file cannot be read.
    """
    given = {key: value for key, value in overrides.items() if value is not None}
    try:
        merged = OmegaConf.merge(OmegaConf.structured(kind), OmegaConf.load(path), given)
        settings = OmegaConf.to_object(merged)
    except OSError as error:
        raise UsageError(f"{path}: cannot read the settings ({error.strerror})") from error
    except (OmegaConfBaseException, ValueError) as error:
        key = getattr(error, "full_key", None)
        message = f"{path}: {f'{key}: ' if key else ''}{str(error).splitlines()[0]}"
        raise UsageError(f"{message}; keys are {', '.join(kind.__annotations__)}") from error
    assert isinstance(settings, kind)
    return settings
