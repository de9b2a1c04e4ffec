"""How ``torch.distributed.checkpoint`` reads and writes here: it runs no code, and names a full disk."""

import io
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.filesystem import FileSystem
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata

INDEX = ".metadata"
BLOCK = 2**24
NAMES = {  # all that an index of tensors is made of, beside types of numbers
    "torch.distributed.checkpoint.metadata": (
        "Metadata",
        "TensorStorageMetadata",
        "TensorProperties",
        "ChunkStorageMetadata",
        "MetadataIndex",
        "StorageMeta",
        "_MEM_FORMAT_ENCODING",
    ),
    "torch.distributed.checkpoint.filesystem": ("_StorageInfo",),
    "torch.serialization": ("_get_layout",),
    "torch": ("Size",),
    "pathlib": ("PosixPath",),
    "pathlib._local": ("PosixPath",),
}


class Reader(dcp.FileSystemReader):
    """Torch's reader, but that it runs no code: an index holds tensors, and names no other classes."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """Reads the index.

        Raises:
            UnpicklingError: If it holds anything else.
        """
        with (Path(self.path) / INDEX).open("rb") as file:
            index = _Unpickler(file).load()
        if not isinstance(index, Metadata) or any(
            not isinstance(entry, TensorStorageMetadata) for entry in index.state_dict_metadata.values()
        ):
            raise pickle.UnpicklingError("no index of tensors")
        return index


class Writer(dcp.FileSystemWriter):
    """Torch's writer, but that it raises a file's own ``OSError``, not one about torch's archive.

    Args:
        path: Folder; what is written is on disk when a call ends.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, sync_files=True)
        self.fs = self.files = _Files()

    def write_data(self, *args: Any, **kwargs: Any) -> Any:
        """Writes the tensors of this process."""
        try:
            return super().write_data(*args, **kwargs)
        except (OSError, RuntimeError):
            if self.files.failed:
                raise self.files.failed[0] from None
            raise


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        known = name in NAMES.get(module, ())
        if not known and not (module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)):
            raise pickle.UnpicklingError(f"{module}.{name}")
        return super().find_class(module, name)


class _Files(FileSystem):
    """Files that remember why they could not be written."""

    def __init__(self) -> None:
        self.failed: list[OSError] = []

    @contextmanager
    def create_stream(self, path: Any, mode: str) -> Iterator[Any]:
        if "w" not in mode:
            with super().create_stream(path, mode) as stream:
                yield stream
            return
        raw = _Raw(path, "w")
        raw.failed = self.failed
        with io.BufferedWriter(raw, BLOCK) as stream:
            yield stream


class _Raw(io.FileIO):
    failed: list[OSError]

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.failed.append(error)
            raise
