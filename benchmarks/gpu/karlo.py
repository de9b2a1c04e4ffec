"""Trains the video decoder at Karlo's widths, compiled, at several batch sizes.

First ``python -m benchmarks.gpu.karlo --plan``, which needs no GPU and takes minutes, for the memory that
``mav plan`` would plan. Then ``python -m benchmarks.gpu.karlo --seconds 480`` on the card. Both write into
one file as they go, so that a run that is cut off is not lost.

A step is a forward pass in bf16, the mean square of the output, the backward pass and AdamW.
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import machine
from benchmarks.gpu.timed import device_facts
from benchmarks.karlo import profile
from benchmarks.networks import FRAMES, KARLO, SIZE, Training, call_unet, unet
from benchmarks.timing import count_flops, synchronize
from lightning_mav.training.cards import peak_of
from lightning_mav.training.compiling import NORMS
from lightning_mav.training.plan.build import WithoutContent
from lightning_mav.training.plan.step import measure

TINY = {"channels": 32, "frames": 2, "size": 16}  # to try this script on a processor
PRECISION = "bf16-mixed"


def main(argv: list[str] | None = None) -> None:
    """Plans or measures, and prints the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=480, help="no batch size is begun after this time")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4], help="videos in a step")
    parser.add_argument("--steps", type=int, default=20, help="steps that are timed, at each batch size")
    parser.add_argument("--out", type=Path, default=Path("outputs/gpu_karlo.json"))
    parser.add_argument("--plan", action="store_true", help="plan the memory instead of measuring")
    parser.add_argument("--parts", choices=["blocks", NORMS], default=NORMS, help="what is compiled")
    parser.add_argument("--tiny", action="store_true", help="a small network, to try this out")
    args = parser.parse_args(argv)
    deadline = time.monotonic() + args.seconds
    if not (args.plan or args.tiny or torch.cuda.is_available()):
        raise SystemExit("there is no GPU: give --plan or --tiny")
    sizes: dict[str, Any] = TINY if args.tiny else {**KARLO, "frames": FRAMES, "size": SIZE}
    found = json.loads(args.out.read_text(encoding="utf-8")) if args.out.exists() else {}
    for batch in args.batches:
        if time.monotonic() > deadline:
            break
        parts = plan(batch, **sizes) if args.plan else run(batch, args.steps, deadline, args.parts, **sizes)
        for part in parts:
            entry = found.setdefault(str(batch), {})
            (entry if args.plan else entry.setdefault(args.parts, {})).update(part)
            args.out.parent.mkdir(parents=True, exist_ok=True)
            args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            print(batch, json.dumps(part), flush=True)


def run(batch: int, steps: int, deadline: float, parts: str, **sizes: Any) -> Iterator[dict[str, Any]]:
    """Trains a network; yields the seconds of its first step, then its speed and memory, then its kernels."""
    on_gpu = torch.cuda.is_available()
    torch.backends.cudnn.benchmark = True  # shapes are fixed
    yield {**device_facts(), "compiled": on_gpu and parts}
    training = None
    try:
        training = Training("ours", "bf16", batch=batch, **sizes)
        if on_gpu:
            training.compile(parts)
            torch.cuda.reset_peak_memory_stats()
        yield {"seconds_of_first_step": round(timed(training), 2)}
        seconds = [timed(training) for _ in range(2 + steps)][2:]
        step = statistics.median(seconds)
        peak_bytes = torch.cuda.max_memory_allocated() if on_gpu else 0
        yield {"ms_per_step": round(1e3 * step, 2), "peak_gb": peak_bytes / 1e9}
        if on_gpu:
            yield {"kernels": profile(training, num_kernels=40).rows}
        if time.monotonic() < deadline:
            flops = count_flops(training)  # not compiled, and so with more memory
            peak = peak_of(machine.device(), PRECISION)
            mfu = flops / step / peak if peak else None
            yield {"tflop_per_step": flops / 1e12, "tflops": flops / step / 1e12, "mfu": mfu}
    except torch.OutOfMemoryError:
        yield {"error": "out of memory"}
    finally:
        training = None  # the next batch size needs its room
        if on_gpu:
            torch.cuda.empty_cache()


def timed(step: Training) -> float:
    """Returns the seconds of a step, in which the GPU has finished its work."""
    start = time.perf_counter()
    step()
    synchronize()
    return time.perf_counter() - start


class Planned(nn.Module):
    """A step of ``Training`` as ``mav plan`` measures it: a stage with its datamodule, without content."""

    trainer = SimpleNamespace(precision=PRECISION)

    def __init__(self, batch: int, *, frames: int, size: int, **settings: Any) -> None:
        super().__init__()
        with WithoutContent():
            self.model = unet(**settings)
        self.data = SimpleNamespace(
            kind="video",
            crop_size=size,
            choose=SimpleNamespace(num_frames=frames),
            batch_size=batch,
            collate=lambda samples: torch.zeros(len(samples), 3, frames, size, size),
        )

    def setup(self, stage: str) -> None:
        """Does nothing: there are no weights to start from."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Returns the optimizer of ``Training``."""
        return torch.optim.AdamW(self.parameters(), lr=1e-5, fused=True)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Returns the loss."""
        return call_unet(self.model, batch).float().square().mean()


def plan(batch: int, **sizes: Any) -> Iterator[dict[str, Any]]:
    """Plans the memory of the network at the fullest moment, not compiled."""
    stage = Planned(batch, **sizes)
    measured = measure(stage, stage.data, on_gpu=True)
    yield {
        "planned_gb": sum(measured.fullest.values()) / 1e9,
        "planned_tflop_per_step": (measured.flops + measured.update_flops) / 1e12,
    }


if __name__ == "__main__":
    main()
