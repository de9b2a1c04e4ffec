"""The project's own feature network: a small video classifier that knows the micro-world."""

import torch
from torch import Tensor, nn

from ...utils.configured import Configured
from ...utils.numbers import check_number
from ...worlds.micro.raster import SHAPES
from ...worlds.micro.world import BACKGROUNDS, COLOURS, SIZES

# The motion of each shape, in the order of SHAPES, and none.
MOTION_CLASSES = ("bounce", "spin", "slide", "orbit", "pulse", "drift", "still")
# Edges of the speed classes: mean change from frame to frame, where the frame is 2 wide.
SPEED_EDGES = (2**-7, 2**-6, 2**-5, 2**-4, 2**-3)
HEADS = {
    "thing": len(SHAPES) * len(COLOURS),
    "size": len(SIZES),
    "background": len(BACKGROUNDS),
    "motion": len(MOTION_CLASSES),
    "speed": len(SPEED_EDGES) + 1,
}


class FactorisedConv(nn.Sequential):
    """Convolves over space, then over time, as (2+1)D convolutions do (Tran et al. 2018).

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        temporal_stride: Stride over frames; height and width are always halved.
    """

    def __init__(self, in_channels: int, out_channels: int, temporal_stride: int) -> None:
        super().__init__(
            nn.Conv3d(in_channels, out_channels, (1, 3, 3), (1, 2, 2), (0, 1, 1), bias=False),
            nn.BatchNorm3d(out_channels),
            nn.SiLU(),
            nn.Conv3d(out_channels, out_channels, (3, 1, 1), (temporal_stride, 1, 1), (1, 0, 0), bias=False),
            nn.BatchNorm3d(out_channels),
            nn.SiLU(),
        )


class MicroVideoNetwork(nn.Module, Configured):
    """Classifies micro-world videos by shape and colour, size, background, kind of motion and speed.

    Args:
        channels: Channels of each block; each halves height and width, and all but the first also time.
        num_features: Width of the features.
    """

    def __init__(self, channels: tuple[int, ...] = (24, 48, 96), num_features: int = 64) -> None:
        super().__init__()
        check_number("length of channels", len(channels), 1)
        check_number("lowest of channels", min(channels), 1)
        check_number("num_features", num_features, 1)
        pairs = zip((3, *channels), channels, strict=False)
        self.blocks = nn.Sequential(*(FactorisedConv(a, b, 1 if a == 3 else 2) for a, b in pairs))
        self.features = nn.Linear(2 * channels[-1], num_features)
        self.heads = nn.ModuleDict({name: nn.Linear(num_features, num) for name, num in HEADS.items()})

    def forward(self, video: Tensor) -> Tensor:
        """Maps videos ``(B, 3, F, 32, 32)`` in [-1, 1] to features ``(B, num_features)``."""
        x = self.blocks(video)
        # The mean describes the whole video, the maximum what is seen anywhere at any time.
        return self.features(torch.cat([x.mean(dim=(2, 3, 4)), x.amax(dim=(2, 3, 4))], dim=1))

    def classify(self, features: Tensor) -> dict[str, Tensor]:
        """Maps features to the logits of each of ``HEADS``; ``thing`` is shape * len(COLOURS) + colour."""
        x = nn.functional.silu(features)
        return {name: head(x) for name, head in self.heads.items()}

    def things(self, video: Tensor) -> Tensor:
        """Maps videos ``(B, 3, F, 32, 32)`` to logits of shapes and colours, ``(B, 48)``."""
        return self.classify(self(video))["thing"]
