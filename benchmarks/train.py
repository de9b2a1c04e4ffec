"""A training step of our U-Net against those of peers, 16 frames of 64 x 64: operations per second."""

import argparse
import statistics
from collections.abc import Callable

import torch

from lightning_mav.errors import UsageError

from . import footprint, machine
from .networks import FRAMES, KARLO, MULTS, PEERS, SIZE, Training, can_checkpoint
from .report import Section, Table
from .timing import MatrixProduct, Times, count_flops, ratios, take_turns, with_spread

PACKAGES = ("make-a-video-pytorch", "diffusers")
CHANNELS = 64
HEADER = ["network", "channels", "parameters", "GFLOP", "seconds", "GFLOP/s", "of peak"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this bench."""
    parser.add_argument("--precision", choices=["fp32", "bf16"], nargs="+", help="default: what is fast here")
    parser.add_argument("--peers", choices=PEERS, nargs="*", default=PEERS, help="default: all")
    parser.add_argument(
        "--preset", choices=["karlo"], help="only ours, as large as Karlo's decoder; on a GPU"
    )
    parser.add_argument("--checkpoint", action="store_true", help="with --preset: recompute activations")


def run(args: argparse.Namespace) -> Section:
    """Trains all networks in turns."""
    if args.preset:
        return run_preset(args)
    if args.checkpoint:
        raise UsageError("--checkpoint goes with --preset karlo; BENCH=memory compares with and without")
    precisions = machine.precisions(args.precision)
    names = ["ours", *args.peers]
    # First, since these processes need the memory that the turns below take.
    footprints = footprint.measure_all([(name, precision) for precision in precisions for name in names])
    tables = []
    for precision in precisions:
        steps = {name: Training(name, precision, channels=CHANNELS) for name in names}
        product = MatrixProduct(machine.device(), precision)
        calls: dict[str, Callable[[], None]] = {**steps, "matrix product": product}
        times = take_turns(calls, args.turns, title=f"train, {precision}")
        flops = {name: footprints[name, precision].flops for name in names}
        peak = product.peak(times["matrix product"])
        table = Table([*HEADER, "ours / this, FLOP/s", "peak GB"], [])
        for name, step in steps.items():
            against = [ratio * flops["ours"] / flops[name] for ratio in ratios(times[name], times["ours"])]
            memory = footprints[name, precision]
            table.rows.append(
                [
                    *row(name, CHANNELS, step, flops[name], times, peak),
                    "1" if name == "ours" else with_spread(against),
                    footprint.gigabytes(memory.peak),
                ]
            )
        tables.append(table)
        del steps, calls  # before those of the next precision
    return Section(
        "train",
        "Training step",
        [
            f"Forward pass, mean square of the output, backward pass, AdamW (fused): {FRAMES} frames of "
            f"{SIZE} x {SIZE}, batch 1; {args.turns} turns.",
            *machine.remarks(precisions),
            "Peak memory is that of a process of its own that makes three steps, all told.",
        ],
        tables,
        captions=[f"In {precision}:" for precision in precisions],
    )


def run_preset(args: argparse.Namespace) -> Section:
    """Trains the network of Karlo's size, as it is and compiled."""
    if machine.device().type != "cuda":
        raise UsageError("--preset karlo needs a GPU")
    if args.checkpoint and not can_checkpoint():
        raise UsageError("--checkpoint: Pseudo3DUNet has no argument of this name")
    (precision,) = args.precision or machine.precisions()[-1:]
    settings = {**KARLO, "checkpoint": args.checkpoint}
    # Operations that are repeated to save memory are no work done.
    flops = count_flops(Training("ours", precision, **KARLO))
    steps = {name: Training("ours", precision, **settings) for name in ("eager", "compiled")}
    steps["compiled"].compile()
    product = MatrixProduct(machine.device(), precision)
    torch.cuda.reset_peak_memory_stats()
    times = take_turns({**steps, "matrix product": product}, args.turns, warmups=3, title="train karlo")
    peak = product.peak(times["matrix product"])
    faster = with_spread(ratios(times["eager"], times["compiled"]))
    memory = footprint.gigabytes(torch.cuda.max_memory_allocated())
    rows = [row(name, KARLO["channels"], step, flops, times, peak) for name, step in steps.items()]
    return Section(
        "train-karlo",
        "Training step at the size of Karlo's decoder",
        [
            f"{precision}, {FRAMES} frames of {SIZE} x {SIZE}, batch 1"
            f"{', activations recomputed' if args.checkpoint else ''}; {args.turns} turns. Compiled is "
            f"{faster} times as fast. Both together hold {memory} GB.",
        ],
        [Table(HEADER, rows), profile(steps["compiled"])],
        captions=[
            f"Peak is {peak / 1e12:.0f} TFLOP/s:",
            "Where the time of the compiled step goes, the top ten:",
        ],
    )


def row(name: str, channels: int, step: Training, flops: int, times: Times, peak: float) -> list[str]:
    """The cells under ``HEADER``."""
    seconds = times[name]
    rate = flops / statistics.median(seconds)
    return [
        name,
        f"{channels}..{channels * MULTS[-1]}",
        f"{step.num_parameters / 1e6:.1f}M",
        f"{flops / 1e9:.0f}",
        with_spread(seconds),
        f"{rate / 1e9:.0f}",
        f"{rate / peak:.1%}",
    ]


def profile(step: Training) -> Table:
    """The ten kernels that take the most time of a step."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profiler:
        step()
        torch.cuda.synchronize()
    events = [e for e in profiler.key_averages() if e.device_type == torch.autograd.DeviceType.CUDA]
    events.sort(key=lambda e: e.self_device_time_total, reverse=True)
    total = sum(e.self_device_time_total for e in events)
    rows = [
        [f"`{e.key[:60]}`", str(e.count), f"{spent / 1e3:.2f}", f"{spent / total:.1%}"]
        for e in events[:10]
        for spent in [e.self_device_time_total]
    ]
    return Table(["kernel", "calls", "ms", "share"], rows)
