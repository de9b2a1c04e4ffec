"""Reads the tensors of a TorchScript archive, such as OpenAI's CLIP; the program in it is not run."""

import pickle
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile, is_zipfile

import torch
from torch import Tensor
from torch._utils import _rebuild_tensor_v2

STORAGES = {  # types of numbers, by the names that pickles of torch give them
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "BoolStorage": torch.bool,
}


class _Node:
    """Stands for a module, whatever its class: its attributes are all that is kept."""

    def __setstate__(self, state: Any) -> None:
        self.__dict__.update(state if isinstance(state, dict) else {})


class _Unpickler(pickle.Unpickler):
    """Makes tensors and modules without code; any other class is refused."""

    def __init__(self, archive: ZipFile, folder: str) -> None:
        super().__init__(archive.open(f"{folder}/data.pkl"), encoding="utf-8")
        self.archive = archive
        self.folder = folder
        self.storages: dict[str, torch.UntypedStorage] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Returns what stands for a class of the archive."""
        if module.split(".")[0] == "__torch__":
            return _Node
        known = {
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor_v2,
            ("collections", "OrderedDict"): OrderedDict,
        }
        if module == "torch" and name in STORAGES:
            return name
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"Weights only load failed: {module}.{name}")
        return known[module, name]

    def persistent_load(self, pid: Any) -> torch.TypedStorage:
        """Returns the numbers of a tensor, which have a file of their own in the archive."""
        _, kind, key, _, count = pid
        if key not in self.storages:
            data = self.archive.read(f"{self.folder}/data/{key}")
            if len(data) < count * STORAGES[kind].itemsize:
                raise ValueError(f"tensor {key} is cut short")
            self.storages[key] = torch.frombuffer(bytearray(data), dtype=torch.uint8).untyped_storage()
        return torch.TypedStorage(wrap_storage=self.storages[key], dtype=STORAGES[kind], _internal=True)


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive, by the same test as in ``torch.load``."""
    if not (path.is_file() and is_zipfile(path)):
        return False
    try:
        with ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (BadZipFile, OSError):
        return False


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """Returns all tensors of an archive by name, as they are stored.

    Raises:
        pickle.UnpicklingError: If it holds other objects than modules and tensors; no code is run.
        ValueError: If it is damaged; also ``KeyError`` and others, as of any damaged pickle.
    """
    try:
        with ZipFile(path) as archive:
            folder = next(
                name.rpartition("/")[0] for name in archive.namelist() if name.endswith("/data.pkl")
            )
            return dict(_tensors(_Unpickler(archive, folder).load()))
    except (BadZipFile, StopIteration) as error:
        raise ValueError(str(error) or "it has no data.pkl") from error


def _tensors(node: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    for name, value in vars(node).items():
        if isinstance(value, Tensor):
            yield prefix + name, value
        elif isinstance(value, _Node):
            yield from _tensors(value, f"{prefix}{name}.")
