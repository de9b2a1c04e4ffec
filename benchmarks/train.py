"""A training step of our U-Net against those of peers, 16 frames of 64 x 64: operations per second."""

import argparse
from collections.abc import Callable

from . import footprint, machine
from .networks import FRAMES, MULTS, PEERS, SIZE, Training
from .report import Section, Table
from .timing import MatrixProduct, Times, rate, ratios, take_turns, with_spread

PACKAGES = ("make-a-video-pytorch", "diffusers")
CHANNELS = 64
HEADER = ["network", "channels", "parameters", "GFLOP", "seconds", "GFLOP/s", "of peak"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this bench."""
    parser.add_argument("--precision", choices=["fp32", "bf16"], nargs="+", help="default: what is fast here")
    parser.add_argument("--peers", choices=PEERS, nargs="*", default=PEERS, help="default: all")
    parser.add_argument(
        "--preset", choices=["karlo"], help="as large as Karlo's decoder, also compiled; on a GPU"
    )
    parser.add_argument("--batch", type=int, default=1, help="videos in a step, with --preset (default: 1)")


def run(args: argparse.Namespace) -> Section:
    """Trains all networks in turns."""
    if args.preset:
        from . import karlo

        return karlo.run(args)
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
        table = Table([*HEADER, "ours / this, FLOP/s", "peak GB"], [], f"In {precision}:")
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
            "Peak memory is all that a separate process takes for three steps.",
        ],
        tables,
    )


def row(name: str, channels: int, step: Training, flops: int, times: Times, peak: float) -> list[str]:
    """The cells under ``HEADER``."""
    seconds = times[name]
    rate_ = rate(flops, seconds)
    return [
        name,
        f"{channels}..{channels * MULTS[-1]}",
        f"{step.num_parameters / 1e6:.1f}M",
        f"{flops / 1e9:.0f}",
        with_spread(seconds),
        f"{rate_ / 1e9:.0f}",
        f"{rate_ / peak:.1%}",
    ]
