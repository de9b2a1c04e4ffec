"""How torch computes: on which device, in which precision (bf16 where that is fast), in one thread."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor

from .errors import UsageError, first_line

# Private, but torch has no public names for them; absent names count as "no".
BF16_UNITS = {"_is_amx_tile_supported": "AMX", "_is_avx512_bf16_supported": "AVX512-BF16"}
PRECISIONS = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}

_planned: str | None = None  # no ContextVar, which torch's compiler does not follow


def device_type(x: Tensor) -> str:
    """Returns for which type of device layers compute: that of ``x``, or the one that is planned for."""
    return _planned or x.device.type


@contextmanager
def planned_for(device: str) -> Iterator[None]:
    """Lets layers compute meanwhile as they do on another type of device, such as ``cuda``.

    This is for tensors without content, to find out what that device would need.
    """
    global _planned
    before, _planned = _planned, device
    try:
        yield
    finally:
        _planned = before


def usable_device(option: str, name: str | int | torch.device) -> torch.device:
    """Returns the device that an option names.

    Raises:
        UsageError: If this machine has none of that name.
    """
    try:
        probe = torch.zeros(1, device=name)
        probe.item()  # which fails on `meta`, whose tensors hold nothing
        return probe.device
    except (RuntimeError, AssertionError) as error:
        reason = first_line(error)
        raise UsageError(f"{option} {name}: not usable here ({reason}); leave it out or give cpu") from None


def has_fast_bf16(device: torch.device | str) -> bool:
    """Whether the device multiplies bf16 matrices faster than fp32 ones."""
    if _planned is not None:
        return _planned == "cuda"
    kind = torch.device(device).type
    if kind == "cuda":
        # On older GPUs bf16 exists only as a slow emulation.
        return torch.cuda.get_device_capability(device)[0] >= 8
    if kind == "cpu":
        return any(getattr(torch.cpu, unit, bool)() for unit in BF16_UNITS)
    return False


def precision_name(device: torch.device | str) -> str:
    """Returns ``bf16-mixed`` or ``32-true``, as Lightning's ``Trainer(precision=...)`` names them."""
    return "bf16-mixed" if has_fast_bf16(device) else "32-true"


def autocast_context(device: torch.device | str, precision: str | None = None) -> AbstractContextManager:
    """Autocasts to ``precision``, named as by ``precision_name``; None picks it by the device.

    Raises:
        ValueError: If ``precision`` is not one of these names.
    """
    name = precision or precision_name(device)
    if name not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {name!r}")
    dtype = PRECISIONS[name]
    return nullcontext() if dtype is None else torch.autocast(torch.device(device).type, dtype=dtype)


@contextmanager
def one_thread() -> Iterator[None]:
    """Lets torch compute in one thread meanwhile."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)
