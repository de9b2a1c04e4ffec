"""Times the temporal convolution against the usual way to write it: rearrange, then Conv1d.

Both do the same arithmetic on the same weights, forward and backward. They take turns, so that other load
on the machine meets both alike; the figure is the median over turns of the ratio of their times.
"""

import argparse
import functools
import statistics
import time
from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor, nn

from lightning_mav.nn import TemporalConv
from lightning_mav.nn.pseudo3d import to_frames, to_video
from lightning_mav.precision import autocast_context

NUM_FRAMES = 16


class RearrangedConv1d(nn.Module):
    """The usual way; on videos ``(B, C, F, H, W)``."""

    def __init__(self, ours: TemporalConv) -> None:
        super().__init__()
        self.conv = nn.Conv1d(ours.in_channels, ours.out_channels, 3, padding=1)
        self.conv.load_state_dict({"weight": ours.weight[..., 0], "bias": ours.bias})

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(B, C, F, H, W)`` to the same shape."""
        y = self.conv(rearrange(x, "b c f h w -> (b h w) c f"))
        return rearrange(y, "(b h w) c f -> b c f h w", h=x.shape[-2], w=x.shape[-1])


def seconds(layer: Callable[[Tensor], Tensor], x: Tensor) -> float:
    """Time of one forward and backward pass."""
    start = time.perf_counter()
    with autocast_context(x.device):
        y = layer(x)
    y.backward(torch.ones_like(y))
    if x.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    """Prints a line per layer size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=15, help="passes of each (default: 15)")
    turns = parser.parse_args().turns
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(f"{device}, {torch.get_num_threads()} threads, {NUM_FRAMES} frames, forward + backward")
    for channels, size in ((64, 64), (128, 32), (256, 16)):
        ours = TemporalConv(channels).to(device, memory_format=torch.channels_last)
        nn.init.normal_(ours.weight, std=0.02)
        usual = RearrangedConv1d(ours).to(device)
        video = torch.randn(1, channels, NUM_FRAMES, size, size, device=device)
        frames = to_frames(video)
        torch.testing.assert_close(to_video(ours(frames, NUM_FRAMES), NUM_FRAMES), usual(video))
        video.requires_grad_()
        frames.requires_grad_()
        own = functools.partial(ours, num_frames=NUM_FRAMES)
        pairs = [(seconds(own, frames), seconds(usual, video)) for _ in range(turns + 2)][2:]
        a, b = (statistics.median(times) for times in zip(*pairs, strict=True))
        ratio = statistics.median(theirs / ours_ for ours_, theirs in pairs)
        times = f"ours {a * 1e3:7.2f} ms, rearranged {b * 1e3:7.2f} ms"
        print(f"{channels:>4} channels {size:>3} px: {times}, {ratio:.2f}x")


if __name__ == "__main__":
    main()
