"""The index of a folder that ``torch.distributed.checkpoint`` has written: a pickle, read with care."""

import pickle
from pathlib import Path
from typing import Any

import torch
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata

INDEX = ".metadata"
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


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        known = name in NAMES.get(module, ())
        if not known and not (module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)):
            raise pickle.UnpicklingError(f"{module}.{name}")
        return super().find_class(module, name)
