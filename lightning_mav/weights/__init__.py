"""Weights files: safetensors that describe their content and can be checked for damage.

The header carries the module's ``config``, so that it is rebuilt without any YAML, a record of its
``training`` and a ``digest`` of the file. The same module always gives the same file. ``SHA256SUMS`` beside
the files has their checksums.
"""

import errno
import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..stage_table import stages
from ..utils.configured import ConfigDict, Configured, ForeignClassError, allow_modules, from_config
from ..utils.errors import UsageError, first_line
from ..utils.paths import locked, replacing
from ..utils.precision import one_thread
from ..utils.textfile import shortened
from .digest import CHECKSUMS, NO_DIGEST, check_digest, read_checksums, seal, sha256, write_checksum
from .places import OUTPUTS, SHIPPED, command_of, find_weights, weights_files

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}

__all__ = [
    "CHECKSUMS",
    "DTYPES",
    "OUTPUTS",
    "SHIPPED",
    "Select",
    "find_weights",
    "has_digest",
    "load_stage",
    "load_weights",
    "read_checksums",
    "read_config",
    "read_training",
    "remove_weights",
    "save_weights",
    "sha256",
    "weights_files",
]

Select = Callable[[ConfigDict, dict[str, Tensor]], tuple[ConfigDict, dict[str, Tensor]]]


def save_weights(
    module: nn.Module,
    path: Path | str,
    *,
    training: dict[str, Any] | None = None,
    dtype: str = "fp16",
    tensors: dict[str, Tensor] | None = None,
) -> Path:
    """Writes a ``Configured`` module to ``path`` and its checksum into ``SHA256SUMS`` beside it.

    Warns if rounding changes a tensor by more than a hundredth of its norm: its numbers are then too small
    for the type.

    Args:
        module: Module to save.
        path: File to write; its folder is made.
        training: What to record of the training, as plain values.
        dtype: How floats are stored: ``fp16``, ``bf16`` or ``fp32``. They are always loaded as fp32.
        tensors: The module's state, if the module itself holds only a part of it.

    Raises:
        TypeError: If the module does not record its config.
        ValueError: If ``dtype`` is none of these, or cannot hold a number of the module.
        OSError: If the file cannot be written.

    Examples:
        >>> from lightning_mav.diffusion import GaussianDiffusion
        >>> path = save_weights(GaussianDiffusion(prediction="v"), "v.safetensors", training={"step": 3})
        >>> load_weights(path).prediction, read_training(path)
        ('v', {'step': 3})
    """
    if not isinstance(module, Configured):
        raise TypeError(f"{type(module).__name__} does not record its config")
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    path = Path(path)
    given = module.state_dict() if tensors is None else tensors
    stored = {name: _stored(name, tensor, dtype) for name, tensor in given.items()}
    _warn_of_rounding(stored, given, dtype)
    metadata = {
        "config": json.dumps(module.config),
        "digest": NO_DIGEST,
        "training": json.dumps(training or {}),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with locked(path.parent):
            with replacing(path) as part:
                save_file(stored, part, metadata=metadata)
                seal(part)
                part.chmod(0o644)  # safetensors makes it readable to its owner alone
            write_checksum(path, sha256(path))
    except SafetensorError as error:  # safetensors turns an OSError into this
        raise OSError(errno.EIO, str(error), str(path)) from error
    return path


def remove_weights(path: Path) -> None:
    """Removes a weights file, if it is there, and its checksum.

    Raises:
        OSError: If it cannot be removed.
    """
    with locked(path.parent):
        path.unlink(missing_ok=True)
        if path.name in read_checksums(path.parent):
            write_checksum(path, None)


def _stored(name: str, tensor: Tensor, dtype: str) -> Tensor:
    """Copies a tensor for storage: contiguous, on the CPU, floats in ``dtype``."""
    given = tensor.detach().cpu()
    if not given.is_floating_point():
        return given.clone(memory_format=torch.contiguous_format)
    stored = given.to(DTYPES[dtype], copy=True).contiguous()
    if (stored.isinf() & ~given.isinf()).any():
        raise ValueError(
            f"{name} has numbers up to {given.abs().max():.3g}, more than {dtype} can hold "
            f"({torch.finfo(DTYPES[dtype]).max:.3g}): store it as bf16 or fp32"
        )
    return stored


def _warn_of_rounding(tensors: dict[str, Tensor], given: dict[str, Tensor], dtype: str) -> None:
    def norm(tensor: Tensor) -> float:
        return torch.linalg.vector_norm(tensor, dtype=torch.float64).item()

    changes = {
        name: norm(tensor.float() - given[name].detach().cpu().float()) / max(norm(given[name]), 1e-300)
        for name, tensor in tensors.items()
        if tensor.is_floating_point()
    }
    changed = [name for name, change in changes.items() if change > 0.01]
    if changed:
        worst = max(changed, key=changes.__getitem__)
        warnings.warn(
            f"{len(changed)} tensors hold numbers too small for {dtype}: it changes {worst} by "
            f"{changes[worst]:.1%}; fp32 or bf16 would keep them",
            stacklevel=3,
        )


def load_weights(path: Path | str, select: Select | None = None, *, modules: Sequence[str] = ()) -> Any:
    """Rebuilds the module of a weights file, in single precision and evaluation mode.

    Args:
        path: Weights file.
        select: Picks a part of the module: maps config and tensors to those of the part.
        modules: Modules of your own whose classes the file may name, see ``allow_modules``.

    Raises:
        UsageError: If the file is missing, is no weights file, holds NaN, or differs from its checksum: that
            in ``SHA256SUMS``, or else the digest in its header, which files of earlier versions lack.
    """
    path = Path(path)
    allow_modules(*modules)
    with _opened(path) as (file, metadata):
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        # The maximum is NaN if one number is, and is found 30 times as fast as asking each number.
        if bad := [name for name, tensor in tensors.items() if tensor.numel() and tensor.amax().isnan()]:
            raise ValueError(f"{bad[0]} holds NaN")
        config = json.loads(metadata["config"])
        if select is not None:
            config, tensors = select(config, tensors)
        with one_thread():  # a module has thousands of small tensors, which more threads only slow down
            module = from_config(config)
            module.load_state_dict(tensors)  # copies into single precision
    return module.eval()


def load_stage(name: str, path: Path | str, select: Select | None = None) -> Any:
    """Rebuilds a stage by ``load_weights``, and refuses a file that holds another one.

    Raises:
        UsageError: If it does, or as ``load_weights``.
    """
    module, expected = load_weights(path, select), stages()[name].model_class()
    if not isinstance(module, expected):
        raise UsageError(f"{path}: holds a {type(module).__name__}; put a {expected.__name__} there")
    return module


def read_training(path: Path | str) -> dict[str, Any]:
    """Returns what ``save_weights`` recorded of the training.

    Raises:
        UsageError: As ``load_weights``.
    """
    with _opened(Path(path)) as (_, metadata):
        return json.loads(metadata.get("training", "{}"))


def read_config(path: Path | str) -> ConfigDict:
    """Returns the config of the module that a weights file holds.

    Raises:
        UsageError: As ``load_weights``.
    """
    with _opened(Path(path)) as (_, metadata):
        return json.loads(metadata["config"])


def has_digest(path: Path | str) -> bool:
    """Checks a weights file by its checksum or digest, and returns whether its header has a digest.

    Raises:
        UsageError: As ``load_weights``.
    """
    with _opened(Path(path)) as (_, metadata):
        return "digest" in metadata


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, dict[str, str]]]:
    """Opens a weights file after checking it: yields the safetensors file and the metadata of its header."""
    if not path.is_file():
        raise UsageError(f"no weights at {path}: make them with `{command_of(path)}`")
    try:
        expected = read_checksums(path.parent).get(path.name)
        if expected is not None and sha256(path) != expected:
            raise ValueError(f"it differs from its checksum in {CHECKSUMS}")
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if "config" not in metadata:
                raise ValueError("its header has no config")
            if expected is None:
                check_digest(path, metadata)
            yield file, metadata
    except ForeignClassError as error:
        raise UsageError(f"{path}: {error}") from error
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        reason, remedy = shortened(first_line(error), 200), f"make it with `{command_of(path)}`"
        raise UsageError(f"{path} is not usable ({reason}): fetch it again or {remedy}") from error
