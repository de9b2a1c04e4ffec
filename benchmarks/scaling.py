"""How the time of a forward and backward pass grows with frames and with pixels."""

import argparse
import io
import math
import statistics
from collections.abc import Callable, Sequence

from PIL import Image

from lightning_mav.utils.paths import replacing

from . import machine
from .networks import Training
from .report import Section, Table
from .timing import Times, take_turns, with_spread

PACKAGES = ("matplotlib",)
TURNS = 3
CHANNELS = 32  # of which 256 x 256 fits into 16 GB
NETWORKS = {"convolutions alone": (), "with attention": (2, 3)}  # levels with attention
# (frames, height and width) of each point.
AXES = {
    "frames": [(16, 64), (32, 64), (48, 64), (76, 64)],
    "pixels": [(4, 64), (4, 128), (4, 192), (4, 256)],
}
PICTURE = "scaling.png"

Point = tuple[str, int, int]  # network, frames, height and width


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this bench."""
    parser.add_argument("--precision", choices=["fp32", "bf16"], nargs=1, help="default: the fastest here")


def run(args: argparse.Namespace) -> Section:
    """Times all points in turns and fits a power to each line of them."""
    (precision,) = machine.precisions(args.precision)[-1:]
    points = sorted({(name, *at) for name in NETWORKS for axis in AXES.values() for at in axis})
    passes = {label(point): build(point, precision) for point in points}
    times = take_turns(passes, args.turns, title="scaling")
    seconds = {point: statistics.median(times[label(point)]) for point in points}
    tables = [table(axis, times, seconds) for axis in AXES]
    if args.docs is not None:
        with replacing(args.docs / PICTURE) as part:
            part.write_bytes(plot(seconds))
    return Section(
        "scaling",
        "Time against frames and pixels",
        [
            f"Forward and backward pass of our U-Net with {CHANNELS} channels, batch 1, {precision}; "
            f"{args.turns} turns: convolutions alone, and with attention at a quarter and an eighth of the "
            "resolution. The exponent is that of the power of frames, or of pixels (height times width), "
            "that fits the times best; 1 is linear. Attention over space is quadratic in the pixels, that "
            "over time in the frames.",
        ],
        tables,
        [PICTURE],
    )


def build(point: Point, precision: str) -> Callable[[], None]:
    """The passes of a point: a network at its size."""
    name, frames, size = point
    levels = NETWORKS[name]
    sizes = {"channels": CHANNELS, "frames": frames, "size": size}
    return Training("ours", precision, **sizes, attention_levels=levels).gradient


def label(point: Point) -> str:
    """Names a point."""
    name, frames, size = point
    return f"{name}, {frames} frames of {size} x {size}"


def fixed(axis: str) -> str:
    """What stays the same along an axis."""
    frames, size = AXES[axis][0]
    return f"{size} x {size}" if axis == "frames" else f"{frames} frames"


def extent(axis: str, at: tuple[int, int]) -> int:
    """Where on the axis a point is: frames, or pixels of a frame."""
    frames, size = at
    return frames if axis == "frames" else size**2


def exponent(xs: Sequence[float], ys: Sequence[float]) -> float:
    """The power of x that y grows with, by least squares of the logarithms."""
    return statistics.linear_regression([math.log(x) for x in xs], [math.log(y) for y in ys]).slope


def line(axis: str, name: str, seconds: dict[Point, float]) -> tuple[list[int], list[float]]:
    """A network's extents and seconds along an axis."""
    return [extent(axis, at) for at in AXES[axis]], [seconds[(name, *at)] for at in AXES[axis]]


def table(axis: str, times: Times, seconds: dict[Point, float]) -> Table:
    """Seconds of each point along an axis, and the exponents."""
    columns = [str(frames) if axis == "frames" else f"{size} x {size}" for frames, size in AXES[axis]]
    rows = [
        [
            name,
            *(with_spread(times[label((name, *at))]) for at in AXES[axis]),
            f"{exponent(*line(axis, name, seconds)):.2f}",
        ]
        for name in NETWORKS
    ]
    return Table([f"seconds, {axis}:", *columns, "exponent"], rows, f"Against {axis}, {fixed(axis)}:")


def plot(seconds: dict[Point, float]) -> bytes:
    """A panel per axis, both logarithmic, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure((9, 4), layout="constrained")
    for axis, panel in zip(AXES, figure.subplots(1, 2), strict=True):
        for name, marker in zip(NETWORKS, "os", strict=True):
            xs, ys = line(axis, name, seconds)
            panel.loglog(xs, ys, marker=marker, label=f"{name}: power {exponent(xs, ys):.2f}")
        start = min(seconds[(name, *AXES[axis][0])] for name in NETWORKS)
        panel.loglog(xs, [start * x / xs[0] for x in xs], "--", color="grey", label="linear: power 1")
        names = [str(frames) if axis == "frames" else f"{size}$^2$" for frames, size in AXES[axis]]
        panel.set_xticks(xs, names)
        panel.minorticks_off()
        panel.set_xlabel(f"{axis} ({fixed(axis)})")
        panel.set_ylabel("seconds, forward + backward")
        panel.grid(which="major", alpha=0.3)
        panel.legend(frameon=False)
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=100)
    Image.open(drawn).convert("RGB").quantize(32).save(small, format="png", optimize=True)
    return small.getvalue()
