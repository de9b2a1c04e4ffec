"""Single layers, forward and backward, against the usual way to write them: same weights, same result."""

import argparse
import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lightning_mav.nn import PseudoConv3d, TemporalAttention, TemporalConv
from lightning_mav.nn.pseudo3d import sinusoidal_embedding, to_frames, to_video

from . import machine
from .report import Section, Table
from .timing import MatrixProduct, Times, count_flops, rate, ratios, take_turns, with_spread

TURNS = 15
FRAMES = 16
HEAD = 32
HEADER = ["layer", "precision", "channels", "pixels", "ours, ms", "usual, ms", "times as fast"]
HEADER += ["ours, of peak", "usual, of peak"]
SIZES = ((64, 64), (128, 32), (256, 16))  # channels, pixels

Layer = Callable[[Tensor], Tensor]


@dataclass
class Pair:
    """Two ways to write a layer, whose parameters come in the same order.

    Args:
        ours: Our module, called with frames ``(B*F, C, H, W)`` in channels_last memory, and their number.
        usual: The usual way.
        layout: Turns such frames into what it takes.
    """

    ours: nn.Module
    usual: nn.Module
    layout: Layer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this bench."""
    parser.add_argument("--precision", choices=["fp32", "bf16"], nargs="+", help="default: what is fast here")


def run(args: argparse.Namespace) -> Section:
    """Times each kind of layer at each size."""
    precisions = machine.precisions(args.precision)
    table = Table(HEADER, [])
    for kind, build in KINDS.items():
        for precision in precisions:
            for channels, size in SIZES:
                title = f"layers: {kind}, {precision}, {channels} channels"
                times, flops, peak = compare(build(channels), channels, size, precision, args.turns, title)
                ways = (times["ours"], times["usual"])
                table.rows.append(
                    [
                        kind,
                        precision,
                        str(channels),
                        f"{size} x {size}",
                        *(f"{1e3 * statistics.median(way):.2f}" for way in ways),
                        with_spread(ratios(times["usual"], times["ours"])),
                        *(f"{rate(flops, way) / peak:.0%}" for way in ways),
                    ]
                )
    return Section(
        "layers",
        "Single layers",
        [
            "Forward and backward pass of our layers, on frames in channels_last memory, and of the usual "
            "way to write them, with the same weights and the same result (checked). "
            f"{FRAMES} frames, batch 1, {args.turns} turns. The usual temporal convolution is `rearrange` to "
            "`(b h w) c f`, Conv1d, and back; the usual temporal attention `rearrange` to `(b h w) f c`, "
            "LayerNorm, Linear, `scaled_dot_product_attention`, Linear, and back; the usual spatial "
            "convolution Conv2d on frames in PyTorch's default memory layout.",
            '"Of peak" compares operations per second with the best of the large matrix products in the same '
            "turns. Operations are those of convolutions, matrix products and attention, counted in the "
            "passes of the usual way.",
            *machine.remarks(precisions),
        ],
        [table],
    )


def compare(
    pair: Pair, channels: int, size: int, precision: str, turns: int, title: str
) -> tuple[Times, int, float]:
    """Times ours and the usual way, after a check that both compute the same.

    Returns:
        Seconds of each turn, operations of a turn, and FLOP/s of the machine.
    """
    torch.manual_seed(0)
    for parameter, other in zip(pair.ours.parameters(), pair.usual.parameters(), strict=True):
        nn.init.normal_(parameter, std=channels**-0.5)
        other.data.copy_(parameter.data.view_as(other))
    pair.ours.to(machine.device()).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    pair.usual.to(machine.device())
    frames = to_frames(torch.randn(1, channels, FRAMES, size, size, device=machine.device()))

    def ours(x: Tensor) -> Tensor:
        return pair.ours(x, FRAMES)

    with torch.no_grad():
        expected = pair.usual(pair.layout(frames))
        torch.testing.assert_close(pair.layout(ours(frames)), expected, atol=1e-3, rtol=1e-3)
    calls = {
        "ours": passes(ours, frames, precision),
        "usual": passes(pair.usual, pair.layout(frames), precision),
    }
    flops, product = count_flops(calls["usual"]), MatrixProduct(machine.device(), precision)
    times = take_turns({**calls, "matrix product": product}, turns, warmups=2, title=title)
    return times, flops, product.peak(times["matrix product"])


def passes(layer: Layer, x: Tensor, precision: str) -> Callable[[], None]:
    """A forward and a backward pass."""
    x = x.detach().requires_grad_()
    with torch.no_grad(), machine.autocast(precision):
        upstream = torch.randn_like(layer(x))

    def call() -> None:
        x.grad = None
        with machine.autocast(precision):
            y = layer(x)
        y.backward(upstream)

    return call


class UsualTemporalConv(nn.Conv1d):
    """A convolution over the frames of each pixel."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(B, C, F, H, W)`` to the same shape."""
        h, w = x.shape[-2:]
        y = super().forward(rearrange(x, "b c f h w -> (b h w) c f"))
        return rearrange(y, "(b h w) c f -> b c f h w", h=h, w=w)


class UsualTemporalAttention(nn.Module):
    """Attention over the frames of each pixel, with a residual connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.to_qkv = nn.Linear(channels, 3 * channels)
        self.to_out = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(B, C, F, H, W)`` to the same shape."""
        c, f, h, w = x.shape[1:]
        tokens = rearrange(x, "b c f h w -> (b h w) f c")
        position = sinusoidal_embedding(torch.arange(f, device=x.device), c)
        qkv = self.to_qkv(self.norm(tokens) + position)
        q, k, v = rearrange(qkv, "n f (three heads d) -> three n heads f d", three=3, d=HEAD)
        out = rearrange(F.scaled_dot_product_attention(q, k, v), "n heads f d -> n f (heads d)")
        return x + rearrange(self.to_out(out), "(b h w) f c -> b c f h w", h=h, w=w)


def as_video(frames: Tensor) -> Tensor:
    """The usual layout of videos, ``(B, C, F, H, W)``."""
    return to_video(frames, FRAMES).contiguous()


KINDS: dict[str, Callable[[int], Pair]] = {
    "temporal convolution": lambda channels: Pair(
        TemporalConv(channels), UsualTemporalConv(channels, channels, 3, padding=1), as_video
    ),
    "temporal attention": lambda channels: Pair(
        TemporalAttention(channels, head_channels=HEAD), UsualTemporalAttention(channels), as_video
    ),
    "spatial convolution": lambda channels: Pair(  # on frames in the default layout
        PseudoConv3d(channels, channels, temporal=False),
        nn.Conv2d(channels, channels, 3, padding=1),
        Tensor.contiguous,
    ),
}
