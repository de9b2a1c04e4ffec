"""Peak memory of a training step of our U-Net and of peers, each in a process of its own."""

import argparse

from . import footprint, machine
from .footprint import Footprint, gigabytes
from .networks import FRAMES, PEERS, SIZE, Training
from .report import Section, Table
from .timing import ratios, take_turns, with_spread

PACKAGES = ("make-a-video-pytorch", "diffusers")
HEADER = [
    *("network", "parameters", "GFLOP", "before, GB", "peak, GB", "added, GB", "MB per GFLOP"),
    *("ours / this, added", "ours / this, per GFLOP"),
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this bench."""
    parser.add_argument("--precision", choices=["fp32", "bf16"], nargs="+", help="default: what is fast here")
    parser.add_argument("--peers", choices=PEERS, nargs="*", default=PEERS, help="default: all")


def run(args: argparse.Namespace) -> Section:
    """Measures all networks, then what recomputing activations saves and costs."""
    precisions = machine.precisions(args.precision)
    names = ["ours", *args.peers]
    footprints = footprint.measure_all([(name, precision) for precision in precisions for name in names])
    tables = [compare({name: footprints[name, it] for name in names}, f"In {it}:") for it in precisions]
    paragraphs = [
        f"{footprint.STEPS} steps of training (forward, backward, AdamW) on {FRAMES} frames of "
        f"{SIZE} x {SIZE}, batch 1, in a fresh process for each network. Before the first step the process "
        "holds its libraries and the weights; what the steps add are activations, gradients and the "
        "optimiser's state.",
        *machine.remarks(precisions),
    ]
    tables += [recompute(footprints["ours", precision], precision, args.turns) for precision in precisions]
    return Section("memory", "Memory of a training step", paragraphs, tables)


def compare(footprints: dict[str, Footprint], caption: str) -> Table:
    """A row per network."""
    table = Table(HEADER, [], caption)
    ours = footprints["ours"]
    for name, it in footprints.items():
        density = it.step / it.flops
        table.rows.append(
            [
                name,
                f"{it.num_parameters / 1e6:.1f}M",
                f"{it.flops / 1e9:.0f}",
                *(gigabytes(number) for number in (it.before, it.peak, it.step)),
                f"{density * 1e3:.1f}",
                f"{ours.step / it.step:.2f}",
                f"{ours.step / ours.flops / density:.2f}",
            ]
        )
    return table


def recompute(kept: Footprint, precision: str, turns: int) -> Table:
    """Memory and time of ours with activations kept and recomputed."""
    recomputed = footprint.measure("ours", precision, checkpoint=True)
    calls = {"kept": Training("ours", precision), "recomputed": Training("ours", precision, checkpoint=True)}
    times = take_turns(calls, turns, title=f"memory, {precision}")
    slower = with_spread(ratios(times["recomputed"], times["kept"]))
    return Table(
        ["activations", "added, GB", "of kept", "seconds", "time of kept"],
        [
            ["kept", gigabytes(kept.step), "1", with_spread(times["kept"]), "1"],
            [
                "recomputed",
                gigabytes(recomputed.step),
                f"{recomputed.step / kept.step:.2f}",
                with_spread(times["recomputed"]),
                slower,
            ],
        ],
        f"Ours in {precision}, activations kept or recomputed; {turns} turns:",
    )
