"""Checkpoints as files: their errors are the file's own, and reading one never runs code that it holds."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from ..utils.errors import UsageError, first_line


def save_file(checkpoint: dict[str, Any], file: Any) -> None:
    """Saves into an open file; raises the file's own ``OSError``, not torch's error about its archive."""
    failed: list[OSError] = []

    class Writer:
        """The methods of a file that torch needs."""

        def write(self, data: Any) -> int:
            try:
                return file.write(data)
            except OSError as error:
                failed.append(error)
                raise

        def flush(self) -> None:
            file.flush()

    try:
        torch.save(checkpoint, Writer())  # type: ignore[arg-type]
    except (OSError, RuntimeError):
        if failed:
            raise failed[0] from None
        raise


def load_file(path: Path) -> dict[str, Any]:
    """Reads a file without running any code that a pickle may hold.

    Raises:
        UnpicklingError: If it holds more than tensors and plain values.
        BadZipFile: If it is damaged.
        OSError: If the system does not let it be read.
    """
    with no_other_errors():
        with path.open("rb") as file:
            if file.read(1) == pickle.PROTO:
                raise pickle.UnpicklingError
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():
                raise zipfile.BadZipFile(f"bad checksum of {damaged}")
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


class no_other_errors:  # noqa: N801 - it is used like a function
    """Turns what a damaged file may raise, which is anything, into ``BadZipFile``."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        known = (MemoryError, zipfile.BadZipFile, pickle.UnpicklingError)
        if not isinstance(error, Exception) or isinstance(error, known):
            return
        if isinstance(error, OSError) and error.filename is not None:
            return
        raise zipfile.BadZipFile(first_line(error)) from error


def runs_code(path: Path, remedy: str) -> UsageError:
    """Returns the error for a file that is a pickle of more than tensors and plain values."""
    return UsageError(
        f"{path}: is a pickle of more than tensors and plain values, which could run code when it is "
        f"read; no checkpoint of this project is: {remedy}"
    )
