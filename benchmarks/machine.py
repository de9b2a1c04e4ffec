"""What the figures were measured on: processor, threads, instruction set, GPU."""

import platform
from pathlib import Path

import torch

from lightning_mav.utils.errors import UsageError
from lightning_mav.utils.precision import BF16_UNITS, has_fast_bf16


def device() -> torch.device:
    """The GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def precisions(wanted: list[str] | None = None) -> list[str]:
    """The precisions to measure: fp32, and bf16 where it is not emulated; or those asked for.

    Raises:
        UsageError: If bf16 is asked for where it is emulated, at a thousandth of the speed.
    """
    fast = has_fast_bf16(device())
    if wanted and "bf16" in wanted and not fast:
        raise UsageError(f"--precision bf16: this processor ({instruction_set()}) only emulates it")
    return wanted or (["fp32", "bf16"] if fast else ["fp32"])


def remarks(measured: list[str]) -> list[str]:
    """What a section says about its precisions."""
    if "bf16" in measured:
        return ["In bf16 the forward pass is under autocast."]
    if not has_fast_bf16(device()):
        return [f"bf16 is left out: this processor ({instruction_set()}) only emulates it."]
    return []


def autocast(precision: str) -> torch.autocast:
    """Autocasts to bf16 if ``precision`` says so."""
    return torch.autocast(device().type, dtype=torch.bfloat16, enabled=precision == "bf16")


def describe() -> str:
    """One phrase: processor, threads, instruction set, GPU if any."""
    threads = torch.get_num_threads()
    parts = [cpu_name(), f"{threads} thread{'s' if threads > 1 else ''}", instruction_set()]
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return ", ".join(parts)


def cpu_name() -> str:
    """The processor's model name."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def instruction_set() -> str:
    """The best of the instruction sets that matter to matrix products."""
    fast = (name for unit, name in BF16_UNITS.items() if getattr(torch.cpu, unit, bool)())
    return next(fast, "") or torch.backends.cpu.get_cpu_capability()
