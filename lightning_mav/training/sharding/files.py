"""Checkpoints of sharded runs: folders to which each process writes its own part.

``meta.pt`` is a checkpoint as that of a run without sharding, but that tensors without content stand for the
sharded ones. Those are in the other files, in the format of ``torch.distributed.checkpoint``.
"""

import os
import shutil
import uuid
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer
from torch.utils._pytree import keystr, tree_flatten_with_path, tree_unflatten

from ...utils.errors import UsageError
from ...utils.shards import shard
from ..safe_files import load_file, no_other_errors, save_file
from .storage import BLOCK, INDEX, Reader, Writer

META = "meta.pt"


def save_sharded(checkpoint: dict[str, Any], path: Path, strategy: Any) -> None:
    """Writes a checkpoint as a folder, under a temporary name until all of it is on disk.

    All processes call this, and all raise if one cannot write.

    Args:
        checkpoint: Checkpoint with sharded tensors.
        path: Folder, which must be seen by all processes.
        strategy: Strategy, for its ``broadcast``, ``is_global_zero`` and ``global_rank``.

    Raises:
        UsageError: If it cannot be written; earlier checkpoints stay as they were.
    """
    part = path.with_name(strategy.broadcast(f".{path.name}.{uuid.uuid4().hex[:8]}.part"))
    tree, tensors = _split(checkpoint)
    try:
        _together(path, lambda: part.mkdir(parents=True) if strategy.is_global_zero else None)
        _together(path, lambda: _write(tensors, part))
        prefix = f"__{strategy.global_rank}_"
        sums = [own for found in _together(path, lambda: _sums(part, prefix)) for own in found.items()]

        def finish() -> None:
            if strategy.is_global_zero:
                files = dict([*sums, *_sums(part, INDEX).items()])
                with (part / META).open("wb") as file:
                    save_file({"checkpoint": tree, "files": files}, file)
                    file.flush()
                    os.fsync(file.fileno())
                put_in_place(part, path)

        _together(path, finish)
    finally:
        if strategy.is_global_zero:
            shutil.rmtree(part, ignore_errors=True)


def put_in_place(part: Path, path: Path) -> None:
    """Renames a finished file or folder; what has the name already is removed, a folder after that."""
    if not path.is_dir() or path.is_symlink():
        if part.is_dir():
            path.unlink(missing_ok=True)
        os.replace(part, path)
        return
    old = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    os.replace(path, old)
    os.replace(part, path)
    shutil.rmtree(old, ignore_errors=True)


def read_folder(path: Path) -> dict[str, Any]:
    """Checks a folder, and returns its checkpoint; tensors of the meta device stand for the sharded ones.

    Raises:
        UnpicklingError: If it holds more than tensors and plain values.
        BadZipFile: If it is damaged.
        OSError: If the system does not let it be read.
    """
    if not (path / META).is_file():
        raise zipfile.BadZipFile(f"{META} is missing")
    found = load_file(path / META)
    with no_other_errors():
        for name, (size, checksum) in found["files"].items():
            file = path / Path(name).name
            if not file.is_file():
                raise zipfile.BadZipFile(f"{name} is missing")
            if file.stat().st_size != size or _checksum(file) != checksum:
                raise zipfile.BadZipFile(f"bad checksum of {name}")
        Reader(path).read_metadata()
        return found["checkpoint"]


def read_whole(path: Path, only: tuple[str, ...] | None = None) -> dict[str, Any]:
    """Reads a checked folder into the memory of this process, as the checkpoint of a run without sharding.

    Args:
        path: Folder.
        only: Keys of the checkpoint that are wanted; all if None.
    """
    return _fill(path, only, lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype))


def read_sharded(
    path: Path, module: nn.Module | None, optimizers: list[Optimizer], mesh: DeviceMesh
) -> dict[str, Any]:
    """Reads this process's part of a folder, or of the file of a run without sharding.

    The number of processes need not be the one that it was written by.

    Args:
        path: Checkpoint.
        module: Sharded module.
        optimizers: Its optimizers; none if only weights are wanted.
        mesh: Processes.
    """
    assert module is not None
    only = None if optimizers else ("state_dict",)
    if path.is_dir():
        return _fill(path, only, lambda tensor: shard(tensor, mesh))
    checkpoint = load_file(path)
    sharded = {name for name, p in module.named_parameters() if isinstance(p, DTensor)}
    for part in ("state_dict", "current_model_state"):
        tensors = checkpoint.get(part, {})
        checkpoint[part] = {n: shard(t, mesh) if n in sharded else t for n, t in tensors.items()}
    for optimizer, saved in zip(optimizers, checkpoint.get("optimizer_states", []), strict=False):
        params = [p for group in optimizer.param_groups for p in group["params"]]
        for number, state in saved["state"].items():
            p = params[number]
            for key, value in state.items():
                if isinstance(p, DTensor) and isinstance(value, Tensor) and value.shape == p.shape:
                    state[key] = shard(value, mesh)
    return checkpoint


def _split(checkpoint: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Returns a checkpoint with tensors of the meta device for the sharded ones, and those by their place."""
    leaves, spec = tree_flatten_with_path(checkpoint)
    tensors: dict[str, Tensor] = {keystr(place): leaf for place, leaf in leaves if isinstance(leaf, DTensor)}
    rest = [
        torch.empty(leaf.shape, dtype=leaf.dtype, device="meta")
        if isinstance(leaf, DTensor)
        else leaf.detach().cpu()
        if isinstance(leaf, Tensor)
        else leaf
        for _, leaf in leaves
    ]
    return tree_unflatten(rest, spec), tensors


def _fill(path: Path, only: tuple[str, ...] | None, make: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    tree = load_file(path / META)["checkpoint"]
    tree = {key: value for key, value in tree.items() if only is None or key in only}
    leaves, spec = tree_flatten_with_path(tree)
    tensors = {keystr(at): make(leaf) for at, leaf in leaves if isinstance(leaf, Tensor) and leaf.is_meta}
    with warnings.catch_warnings():  # each process reads what it needs, with or without others
        warnings.simplefilter("ignore", UserWarning)
        dcp.load(tensors, storage_reader=Reader(path), no_dist=True)
    return tree_unflatten([tensors.get(keystr(at), leaf) for at, leaf in leaves], spec)


def _write(tensors: dict[str, Tensor], part: Path) -> None:
    try:
        dcp.save(tensors, storage_writer=Writer(part))
    except CheckpointException as error:
        for reason, _ in error.failures.values():
            if isinstance(reason, OSError):
                raise reason from error
        raise


def _together(path: Path, action: Callable[[], Any]) -> list[Any]:
    """Runs something on each process and returns what it returns on all.

    Raises:
        UsageError: On all processes, if one has an ``OSError``.
    """
    reason, found = None, None
    try:
        found = action()
    except OSError as error:
        reason = error.strerror or str(error)
    results: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(results, (reason, found))
    reasons = [reason for reason, _ in results if reason]
    if reasons:
        raise UsageError(
            f"{path}: cannot be written ({reasons[0]}); make room, or name another folder by "
            "--checkpoint.dirpath, and start again: it goes on from the newest checkpoint"
        )
    return [found for _, found in results]


def _sums(folder: Path, prefix: str) -> dict[str, tuple[int, int]]:
    """Returns size and checksum of the files whose names begin with ``prefix``."""
    files = sorted(folder.glob(f"{prefix}*"))
    return {file.name: (file.stat().st_size, _checksum(file)) for file in files}


def _checksum(file: Path) -> int:
    total = 0
    with file.open("rb") as stream:
        while block := stream.read(BLOCK):
            total = zlib.crc32(block, total)
    return total
