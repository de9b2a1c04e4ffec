"""Taking turns, what the turns say, and operations per second."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from lightning_mav.utils.errors import UsageError

PROMPT = "a large red ball on a white background"

Times = dict[str, list[float]]  # seconds of each turn, by name


def take_turns(
    calls: Mapping[str, Callable[[], object]],
    turns: int,
    *,
    warmups: int = 1,
    title: str = "",
    clock: Callable[[], float] = time.perf_counter,
) -> Times:
    """Calls A B A B ...; returns the seconds of each call, in which the GPU has finished its work.

    Args:
        calls: What to time, by name, in the order of a turn.
        turns: Calls of each that count.
        warmups: Calls of each before them.
        title: Shown with a progress bar on stderr, if given.
        clock: Returns the time in seconds.
    """
    times: Times = {name: [] for name in calls}
    with progress_bar(shown=bool(title)) as progress:
        task = progress.add_task(title, total=len(calls) * (warmups + turns))
        for turn in range(warmups + turns):
            for name, call in calls.items():
                progress.update(task, description=f"{title}: {name}")
                synchronize()
                start = clock()
                call()
                synchronize()
                if turn >= warmups:
                    times[name].append(clock() - start)
                progress.advance(task)
    return times


def progress_bar(*, shown: bool = True) -> Progress:
    """A progress bar on stderr, if that is a terminal; it goes away at the end."""
    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=not (shown and console.is_terminal))


def synchronize() -> None:
    """Waits for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Ratios of two things that took turns, turn by turn."""
    return [a / b for a, b in zip(numerators, denominators, strict=True)]


def rate(flops: int, seconds: Sequence[float]) -> float:
    """FLOP/s of the median of several turns."""
    return flops / statistics.median(seconds)


def with_spread(values: Sequence[float], digits: int = 2, unit: str = "") -> str:
    """``median (smallest..largest)``, and the unit, if any, behind the median."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f}{unit} ({low:.{digits}f}..{high:.{digits}f})"


def generate(*arguments: str, root: Path | None = None) -> tuple[dict[str, float], float]:
    """Generates a video in a fresh process, by the checkout in ``root`` if given.

    Returns:
        Seconds by stage, and of everything.

    Raises:
        UsageError: If it fails.
    """
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "lightning_mav", "generate", PROMPT, "--weights", "micro"]
        command += ["--out", out, *arguments]
        environment = os.environ | ({} if root is None else {"PYTHONPATH": str(root)})
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise UsageError(f"mav generate failed: {(done.stderr.splitlines() or ['?'])[-1]}")
        (settings,) = Path(out).glob("*.json")
        stages = json.loads(settings.read_text())["stages"]
    total = float(done.stdout.split()[-2])  # "1 video in 12.3 s"
    return {name: stage["seconds"] for name, stage in stages.items()}, total


class MatrixProduct:
    """A large matrix product that measures the peak speed of a precision; it takes turns with what is timed.

    Args:
        device: Where to compute.
        precision: ``fp32`` or ``bf16``.
    """

    REPEATS = 4

    def __init__(self, device: torch.device, precision: str) -> None:
        # A product of 2048 rows is too small to keep a whole GPU busy.
        self.size = 2048 if device.type == "cpu" else 8192
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
        self.a, self.b = (torch.randn(self.size, self.size, device=device, dtype=dtype) for _ in range(2))

    def __call__(self) -> None:
        """Multiplies ``REPEATS`` times."""
        for _ in range(self.REPEATS):
            self.a @ self.b

    def peak(self, seconds: Sequence[float]) -> float:
        """FLOP/s of the best of the calls that took ``seconds``."""
        return 2 * self.size**3 * self.REPEATS / min(seconds)


def count_flops(call: Callable[[], object]) -> int:
    """Floating point operations of the convolutions, matrix products and attention in a call."""
    with FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION) as counter:
        call()
    return counter.get_total_flops()


# torch 2.12 counts attention on a GPU alone.
def _attention(q: Any, k: Any, v: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return sdpa_flop_count(q, k, v)


def _attention_backward(
    grad: Any, q: Any, k: Any, v: Any, *args: Any, out_shape: Any = None, **kwargs: Any
) -> int:
    return sdpa_backward_flop_count(grad, q, k, v)


CPU_ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}
