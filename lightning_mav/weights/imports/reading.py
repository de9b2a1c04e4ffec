"""Reads the tensors of files of others; no code in a file is run."""

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

# What torch raises for files that are no pickles of tensors, or only a part of one.
UNREADABLE = (
    *(OSError, EOFError, RuntimeError, ValueError, LookupError, TypeError, AttributeError),
    SafetensorError,
)


def read_file(path: Path) -> Any:
    """Returns what a file holds: one of safetensors, of ``torch.save``, or a TorchScript archive.

    Tensors stay on the disk until they are used, but for those of an archive.

    Raises:
        UsageError: If it is damaged, or a pickle of more than tensors and plain values.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if is_torchscript(path):
            return read_torchscript(path)
        is_zip = path.open("rb").read(2) == b"PK"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a pickle's protocol; what torch cannot read it refuses
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
    """Returns the tensors of a file by name, those of its ``state_dict`` if it has one, in fp32.

    Raises:
        UsageError: If it holds anything else, or as ``read_file``.
    """
    content = read_file(path)
    if isinstance(content, dict):
        content = content.get("state_dict", content)
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UsageError(f"{path}: holds no tensors by name: fetch the file from its authors again")
    return {str(name): tensor.float() for name, tensor in content.items()}


KARLO = "name a folder with Karlo's weights, or the --scale that they have the sizes of"


def check_fit(
    what: str,
    path: Path,
    given: Mapping[str, Tensor],
    wanted: Mapping[str, torch.Size],
    remedy: str = KARLO,
) -> None:
    """Refuses tensors of which some are missing, left over or of another shape.

    Args:
        what: Name of the network.
        path: File that the tensors are from.
        given: Tensors by name.
        wanted: Shape that each of them must have.
        remedy: What to do about it.

    Raises:
        UsageError: If they are others, naming the first of each kind.
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
    """Returns the file of a folder that matches the first pattern that any matches.

    Raises:
        UsageError: If none does, or several match the same pattern.
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
    """Refuses to begin if files would not fit.

    Args:
        path: A file that will be written.
        needed: Bytes of all of them.
        what: What they are, for the message: "Karlo's weights need".

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
