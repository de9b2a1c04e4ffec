"""Weights files: safetensors that say what they hold, and whether they still hold it.

The header carries the module's ``config``, so that it is rebuilt without any YAML, a record of its
``training`` and a ``digest`` of the file. The same module always gives the same file. ``SHA256SUMS`` beside
the files has their checksums.
"""

import errno
import hashlib
import json
import os
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
from ..utils.paths import expanded, locked
from ..utils.textfile import read_lines, shortened, write_text

CHECKSUMS = "SHA256SUMS"
SHIPPED = Path(__file__).parent
OUTPUTS = Path("outputs")

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}

# Stands where the digest will be while the digest is computed.
_NO_DIGEST = "0" * 64

Select = Callable[[ConfigDict, dict[str, Tensor]], tuple[ConfigDict, dict[str, Tensor]]]


def sha256(path: Path) -> str:
    """Returns the checksum of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_weights(
    module: nn.Module, path: Path | str, *, training: dict[str, Any] | None = None, dtype: str = "fp16"
) -> Path:
    """Writes a ``Configured`` module to ``path`` and its checksum into ``SHA256SUMS`` beside it.

    Warns if rounding changes a tensor by more than a hundredth of its norm: its numbers are then too small
    for the type.

    Args:
        module: Module to save.
        path: File to write; its folder is made.
        training: What to record of the training, as plain values.
        dtype: How floats are stored: ``fp16``, ``bf16`` or ``fp32``. They are always loaded as fp32.

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
    given = module.state_dict()
    tensors = {name: _stored(name, tensor, dtype) for name, tensor in given.items()}
    _warn_of_rounding(tensors, given, dtype)
    metadata = {
        "config": json.dumps(module.config),
        "digest": _NO_DIGEST,
        "training": json.dumps(training or {}),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    try:
        save_file(tensors, temporary, metadata=metadata)
        _seal(temporary)
        temporary.chmod(0o644)  # safetensors makes it readable to its owner alone
        digest = sha256(temporary)
        with locked(path.parent):
            os.replace(temporary, path)
            _write_checksum(path, digest)
    except SafetensorError as error:  # what it makes of an OSError
        raise OSError(errno.EIO, str(error), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _stored(name: str, tensor: Tensor, dtype: str) -> Tensor:
    """Copies a tensor as it is stored: by itself, contiguous, on the CPU, floats in ``dtype``."""
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
        UsageError: If the file is missing, is no weights file, or differs from its checksum: that in
            ``SHA256SUMS``, or else the digest in its header, which files of earlier versions lack.
    """
    path = Path(path)
    allow_modules(*modules)
    with _opened(path) as (file, metadata):
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        config = json.loads(metadata["config"])
        if select is not None:
            config, tensors = select(config, tensors)
        with _one_thread():
            module = from_config(config)
            module.load_state_dict(tensors)  # copies into single precision
    return module.eval()


def read_training(path: Path | str) -> dict[str, Any]:
    """Returns what ``save_weights`` recorded of the training.

    Raises:
        UsageError: As ``load_weights``.
    """
    with _opened(Path(path)) as (_, metadata):
        return json.loads(metadata.get("training", "{}"))


def has_digest(path: Path | str) -> bool:
    """Checks a weights file by what there is to check it by, and returns whether its header has a digest.

    Raises:
        UsageError: As ``load_weights``.
    """
    with _opened(Path(path)) as (_, metadata):
        return "digest" in metadata


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, dict[str, str]]]:
    """Opens a weights file that is whole: yields the safetensors file and the metadata of its header."""
    if not path.is_file():
        raise UsageError(f"no weights at {path}: train them with `{_command(path)}`")
    try:
        expected = read_checksums(path.parent).get(path.name)
        if expected is not None and sha256(path) != expected:
            raise ValueError(f"it differs from its checksum in {CHECKSUMS}")
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if "config" not in metadata:
                raise ValueError("its header has no config")
            if expected is None:
                _check_digest(path, metadata)
            yield file, metadata
    except ForeignClassError as error:
        raise UsageError(f"{path}: {error}") from error
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise UsageError(_corrupt(path, shortened(first_line(error), 200))) from error


def find_weights(name: str, scale: str = "micro") -> Path:
    """Returns the file of a trained module: your own in ``outputs/<scale>/weights``, else the shipped one.

    Args:
        name: Module, e.g. ``decoder`` or ``micro/decoder``, or the path of a ``.safetensors`` file, which is
            returned as it is.
        scale: Scale of the module, unless the name gives it.

    Raises:
        UsageError: If there is none, naming the command that makes it.
    """
    if name.endswith(".safetensors"):
        return Path(expanded(name))
    if "/" in name:
        scale, name = name.split("/", 1)
    own = OUTPUTS / scale / "weights" / f"{name}.safetensors"
    shipped = SHIPPED / scale / own.name
    # What is trained on images first is shipped once, as it was after the videos.
    fallback = shipped.with_stem(name.removesuffix("_image"))
    for path in (own, shipped, fallback):
        if path.is_file():
            return path
    raise UsageError(f"no weights at {own}: train them with `{_command(own)}`")


def _seal(path: Path) -> None:
    """Sorts the header of a new file, whose order would be random, and puts the file's digest into it."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        text = json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        content = text.encode().ljust(size)  # the format pads with spaces, too
        assert len(content) == size, "the same JSON in another order must be as long"
        file.seek(8)
        file.write(content)
        file.flush()
        digest = _digest(path, _NO_DIGEST)
        file.seek(8)
        file.write(content.replace(_digest_entry(_NO_DIGEST), _digest_entry(digest)))


def _digest(path: Path, recorded: str) -> str:
    """Returns the SHA-256 of a file in which zeros stand for the digest that its header records."""
    with path.open("rb") as file:
        size = file.read(8)
        header = file.read(int.from_bytes(size, "little"))
        start = hashlib.sha256(size + header.replace(_digest_entry(recorded), _digest_entry(_NO_DIGEST)))
        return hashlib.file_digest(file, lambda: start).hexdigest()


def _digest_entry(digest: str) -> bytes:
    return f'"digest":"{digest}"'.encode()


def _check_digest(path: Path, metadata: dict[str, str]) -> None:
    """Compares a file with the digest in its header, unless it was written before there was one."""
    # A damaged "digest" must not make it a file of an earlier version.
    if unknown := metadata.keys() - {"config", "digest", "training"}:
        raise ValueError(f"its header has an unknown entry {min(unknown)!r}")
    if "digest" in metadata and _digest(path, metadata["digest"]) != metadata["digest"]:
        raise ValueError("it differs from the digest in its header")


@contextmanager
def _one_thread() -> Iterator[None]:
    """Computes in one thread: a module has thousands of small tensors, over which threads wait in vain."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


def _command(path: Path) -> str:
    """Returns the command that makes a weights file, as far as its path tells."""
    name = path.stem
    stage, phase = name.removesuffix("_image"), "image" if name.endswith("_image") else "video"
    command = f"make train-stage STAGE={stage}"
    if stage in stages() and len(stages()[stage].phases) > 1:
        command += f" PHASE={phase}"
    if path.parent.name == "weights":  # outputs/SCALE/weights
        command += f" SCALE={path.parent.parent.name}"
    return command


def _corrupt(path: Path, reason: str) -> str:
    return f"{path} is not usable ({reason}): fetch it again or train it with `{_command(path)}`"


def read_checksums(folder: Path) -> dict[str, str]:
    """Returns the checksums in a folder's ``SHA256SUMS`` by name of the file; none without it."""
    path = folder / CHECKSUMS
    lines = read_lines(path, "fetch it again, or remove it") if path.is_file() else []
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def _write_checksum(path: Path, digest: str) -> None:
    checksums = read_checksums(path.parent) | {path.name: digest}
    text = "".join(f"{digest}  {name}\n" for name, digest in sorted(checksums.items()))
    temporary = path.parent / f".{CHECKSUMS}.tmp"
    write_text(temporary, text)
    os.replace(temporary, path.parent / CHECKSUMS)
