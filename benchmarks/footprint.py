"""Memory of a training step, measured in a process that does nothing else.

``python -m benchmarks.footprint NETWORK PRECISION [checkpoint]`` prints what ``measure`` returns.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from lightning_mav.utils.errors import UsageError
from lightning_mav.utils.memory import keep_freed_memory

from .networks import Training
from .timing import count_flops, progress_bar

STEPS = 3
STATUS = Path("/proc/self/status")


@dataclass
class Footprint:
    """Bytes and operations of one network.

    Args:
        before: Bytes held before the first step: on a CPU of the whole process, with its libraries.
        peak: Most bytes held in the steps.
        flops: Operations of a step.
        num_parameters: Trainable parameters.
    """

    before: int
    peak: int
    flops: int
    num_parameters: int

    @property
    def step(self) -> int:
        """Bytes that the steps need beyond the network: gradients, optimiser, activations."""
        return self.peak - self.before


def measure(name: str, precision: str, *, checkpoint: bool = False) -> Footprint:
    """Measures a network in a fresh process.

    Raises:
        UsageError: If this system does not tell how much memory a process has held.
    """
    if not (torch.cuda.is_available() or STATUS.exists()):
        raise UsageError(f"memory is read from {STATUS}, which this system does not have")
    command = [sys.executable, "-m", "benchmarks.footprint", name, precision, *["checkpoint"] * checkpoint]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return Footprint(**json.loads(output.splitlines()[-1]))


def measure_all(networks: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Footprint]:
    """Measures pairs of network and precision, one after the other."""
    footprints = {}
    with progress_bar() as progress:
        for pair in progress.track(networks, description="memory"):
            footprints[pair] = measure(*pair)
    return footprints


def gigabytes(num_bytes: int) -> str:
    """In 10^9 bytes."""
    return f"{num_bytes / 1e9:.2f}"


def main(name: str, precision: str, *settings: str) -> None:
    """Measures in this process and prints the result as JSON."""
    keep_freed_memory()
    training = Training(name, precision, **dict.fromkeys(settings, True))
    before = held("VmRSS", torch.cuda.memory_allocated)
    for _ in range(STEPS):
        training()
    peak = held("VmHWM", torch.cuda.max_memory_allocated)
    flops = count_flops(training)
    print(json.dumps(asdict(Footprint(before, peak, flops, training.num_parameters))))


def held(field: str, on_gpu: Callable[[], int]) -> int:
    """Bytes by a field of /proc/self/status, or on the GPU if there is one.

    Not by ``getrusage``: its peak starts from that of the process that started this one.
    """
    if torch.cuda.is_available():
        return on_gpu()
    for line in STATUS.read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"{STATUS} has no {field}")


if __name__ == "__main__":
    main(*sys.argv[1:])
