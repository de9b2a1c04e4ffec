"""A training step at the size of Karlo's decoder, on a GPU: ours, compiled and not, next to peers."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from lightning_mav.training.units import find_units
from lightning_mav.utils.errors import UsageError

from . import machine
from .footprint import gigabytes
from .networks import FRAMES, KARLO, SIZE, Training
from .report import Section, Table
from .timing import MatrixProduct, count_flops, rate, ratios, take_turns, with_spread

EAGER, COMPILED, RECOMPUTED = "ours", "ours, compiled", "ours, recomputed"
HEADER = ["network", "parameters", "TFLOP", "ms", "TFLOP/s", "of peak", f"{COMPILED} / this", "peak GB"]
WARMUPS = 3  # steps before any that count: they compile, choose kernels and allocate
DATASHEET = {"H100": 989, "H200": 989}  # TFLOP/s of the SXM parts, dense bf16


@dataclass
class Contender:
    """A network in training.

    Args:
        step: Makes a step.
        num_parameters: Trainable parameters.
        flops: Operations of a step; recomputed activations do not count.
        peak: Most bytes held on the GPU, weights and optimiser included.
    """

    step: Callable[[], None]
    num_parameters: int
    flops: int
    peak: int


def run(args: argparse.Namespace) -> Section:
    """Trains all in turns.

    Raises:
        UsageError: Without a GPU.
    """
    if machine.device().type != "cuda":
        raise UsageError("--preset karlo needs a GPU")
    (precision,) = args.precision or machine.precisions()[-1:]
    torch.backends.cudnn.benchmark = True  # shapes are fixed, for all alike
    contenders = ours(precision, args.batch)
    too_large = []
    for name in args.peers:
        try:
            contenders[name] = peer(name, precision, args.batch)
        except torch.OutOfMemoryError:
            too_large.append(name)
    product = MatrixProduct(machine.device(), precision)
    calls = {name: it.step for name, it in contenders.items()}
    times = take_turns({**calls, "matrix product": product}, args.turns, title="train karlo")
    peak = product.peak(times["matrix product"])
    rates = {name: rate(it.flops, times[name]) for name, it in contenders.items()}
    table = Table(HEADER, [], "Networks:")
    for name, it in contenders.items():
        work = contenders[COMPILED].flops / it.flops
        against = [turn * work for turn in ratios(times[name], times[COMPILED])]
        table.rows.append(
            [
                name,
                f"{it.num_parameters / 1e6:.0f}M",
                f"{it.flops / 1e12:.1f}",
                with_spread([1e3 * seconds for seconds in times[name]], digits=0),
                f"{rates[name] / 1e12:.0f}",
                f"{rates[name] / peak:.1%}",
                "1" if name == COMPILED else with_spread(against),
                gigabytes(it.peak),
            ]
        )
    return Section(
        "train-karlo",
        "Training step at the size of Karlo's decoder",
        [
            f"Forward pass, mean square of the output, backward pass, AdamW (fused): {FRAMES} frames of "
            f"{SIZE} x {SIZE}, batch {args.batch}, {precision}; {args.turns} turns. Widths are 320 to 1280, "
            "with three blocks at each level and attention at 32, 16 and 8 px. Peers have as many blocks of "
            "the same widths, and are not compiled."
            + "".join(f" {name} did not fit into the GPU's memory." for name in too_large),
            f"Peak is {peak / 1e12:.0f} TFLOP/s, the best of the matrix products in the same run"
            f"{utilisation(rates[COMPILED])}. The last ratio compares operations per second.",
            '"Recomputed" keeps only the input of each block for the backward pass; such a step takes '
            f"{with_spread(ratios(times[RECOMPUTED], times[EAGER]))} times as long. Peak memory is all that "
            "one network takes when it trains alone.",
        ],
        [table, profile(contenders[COMPILED].step)],
    )


def ours(precision: str, batch: int) -> dict[str, Contender]:
    """Our network as it is, compiled, and with activations recomputed; all three share their weights."""
    held = torch.cuda.memory_allocated()
    training = Training("ours", precision, batch=batch, **KARLO)
    training.compile()

    def plain() -> None:
        with torch.compiler.set_stance("force_eager"):
            training()

    def recomputed() -> None:
        recompute(training.model, True)
        plain()
        recompute(training.model, False)

    found = {EAGER: contender(plain, training.num_parameters, held)}
    others: dict[str, Callable[[], None]] = {COMPILED: training, RECOMPUTED: recomputed}
    for name, step in others.items():
        found[name] = contender(step, training.num_parameters, held, found[EAGER].flops)
    return found


def recompute(network: nn.Module, value: bool) -> None:
    """Chooses whether the blocks of our network compute activations again."""
    for block in find_units(network):
        block.checkpoint = value  # type: ignore[assignment]


def peer(name: str, precision: str, batch: int) -> Contender:
    """A peer of the same widths, blocks a level and attention levels."""
    held = torch.cuda.memory_allocated()
    sizes = {key: KARLO[key] for key in ("channels", "num_blocks")}
    step = Training(name, precision, batch=batch, **sizes)
    return contender(step, step.num_parameters, held)


def contender(
    step: Callable[[], None], num_parameters: int, held: int, flops: int | None = None
) -> Contender:
    """Warms a network up; ``held`` are the bytes on the GPU before it was made."""
    torch.cuda.reset_peak_memory_stats()
    for _ in range(WARMUPS):
        step()
    peak = torch.cuda.max_memory_allocated() - held
    torch.cuda.empty_cache()  # the next one needs the room
    return Contender(step, num_parameters, count_flops(step) if flops is None else flops, peak)


def utilisation(flops_per_second: float) -> str:
    """The fraction of what the datasheet promises, if the GPU is one whose datasheet is known."""
    for name, peak in DATASHEET.items():
        if name in torch.cuda.get_device_name():
            share = flops_per_second / 1e12 / peak
            return (
                f"; of the {peak} TFLOP/s that the {name}'s datasheet promises, {COMPILED} does {share:.1%}"
            )
    return ""


def profile(step: Callable[[], None], num_kernels: int = 10) -> Table:
    """The kernels that take the most time of a step."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profiler:
        step()
        torch.cuda.synchronize()
    events = [
        e
        for e in profiler.key_averages()
        if e.device_type == torch.autograd.DeviceType.CUDA and not e.is_user_annotation  # of spans of kernels
    ]
    events.sort(key=lambda e: e.self_device_time_total, reverse=True)
    total = sum(e.self_device_time_total for e in events)
    rows = [
        [f"`{e.key[:100]}`", str(e.count), f"{spent / 1e3:.2f}", f"{spent / total:.1%}"]
        for e in events[:num_kernels]
        for spent in [e.self_device_time_total]
    ]
    caption = f"Where the time of our compiled step goes, the top {num_kernels}:"
    return Table(["kernel", "calls", "ms", "share"], rows, caption)
