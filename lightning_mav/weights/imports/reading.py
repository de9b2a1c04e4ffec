"""Reads tensors from files of other projects; no code in a file is run."""

import pickle
import shutil
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ...utils.errors import UsageError, first_line
from ...utils.textfile import shortened
from ...utils.torchscript import is_torchscript, read_torchscript

# What torch raises for files that are not pickles of tensors, or are cut off.
UNREADABLE = (
    *(OSError, EOFError, RuntimeError, ValueError, LookupError, TypeError, AttributeError),
    SafetensorError,
)


def read_file(path: Path) -> Any:
    """Returns what a file holds, which may be of safetensors, of ``torch.save`` or a TorchScript archive.

    Except for an archive, tensors stay on the disk until they are used.

    Raises:
        UsageError: If the file is damaged, or is a pickle with more than tensors and plain values.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if is_torchscript(path):
            return read_torchscript(path)
        is_zip = path.open("rb").read(2) == b"PK"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the pickle protocol; torch refuses what it cannot read
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:
        if "Weights only load failed" in str(error):
            raise UsageError(
                f"{path}: is a pickle of more than tensors; it was refused, and no code in it was run: "
                "fetch the file from its authors again"
            ) from error
        raise _damaged(path, error) from error
    except UNREADABLE as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> UsageError:
    return UsageError(f"{path}: cannot be read ({shortened(first_line(error), 150)}): fetch the file again")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Returns the tensors of a file by name, in fp32; from its ``state_dict``, if it has one.

    Raises:
        UsageError: If the file holds anything else, or cannot be read, see ``read_file``.
    """
    content = read_file(path)
    if isinstance(content, dict):
        content = content.get("state_dict", content)
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UsageError(f"{path}: holds no tensors by name: fetch the file from its authors again")
    return {str(name): tensor.float() for name, tensor in content.items()}


KARLO = "name a folder with Karlo's weights, or the --scale for weights of these sizes"


def check_fit(
    what: str,
    path: Path,
    given: Mapping[str, Tensor],
    wanted: Mapping[str, torch.Size],
    remedy: str = KARLO,
) -> None:
    """Refuses tensors if some are missing, left over or of another shape.

    Args:
        what: Name of the network.
        path: File with the tensors.
        given: Tensors by name.
        wanted: Shape that each of them must have.
        remedy: What the user can do, for the message.

    Raises:
        UsageError: If some do not match; the message names the first of each kind.
    """
    shapes = [
        f"{name} is {tuple(given[name].shape)}, not {tuple(shape)}"
        for name, shape in wanted.items()
        if name in given and given[name].shape != shape
    ]
    found = [
        ("missing", sorted(wanted.keys() - given.keys())),
        ("left over", sorted(given.keys() - wanted.keys())),
        ("of another width", shapes),
    ]
    problems = [f"{len(names)} {kind} (first: {names[0]})" for kind, names in found if names]
    if problems:
        raise UsageError(f"{path}: is not {what}: of its tensors, {', '.join(problems)}; {remedy}")


def find_one(folder: Path, patterns: Iterable[str], what: str) -> Path:
    """Returns the file in a folder that matches the first pattern with a match.

    Raises:
        UsageError: If no file matches, or several files match that pattern.
    """
    for pattern in patterns:
        found = sorted(folder.glob(pattern))
        if len(found) > 1:
            raise UsageError(
                f"{folder}: several files may be {what} ({found[0].name}, {found[1].name}): keep one"
            )
        if found:
            return found[0]
    raise UsageError(f"{folder}: no {what}, {' or '.join(patterns)}: fetch the missing file")


def check_room(path: Path, needed: int, what: str) -> None:
    """Refuses to begin if the disk has too little room for files.

    Args:
        path: A file that will be written.
        needed: Bytes of all files together.
        what: Subject and verb for the message, such as "Karlo's weights need".

    Raises:
        UsageError: If the disk has less room.
    """
    place = path.absolute().parent
    while not place.exists():
        place = place.parent
    if (free := shutil.disk_usage(place).free) < needed:
        raise UsageError(
            f"{place}: has {free / 1e9:.1f} GB left, but {what} {needed / 1e9:.1f} GB: make room, or choose "
            "another --out"
        )
