"""The judge of the emoji: a network that tells their stills apart, and was trained for nothing else."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...utils.configured import Configured
from ...utils.numbers import check_number

SIZE = 32  # height and width that it sees
BATCH = 256  # images seen at once


class Stage(nn.Module):
    """A convolution that may halve height and width, then a residual block.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: 2 to halve height and width, 1 to keep them.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.down = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False), nn.BatchNorm2d(out_channels)
        )
        self.block = nn.Sequential(
            nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False), nn.BatchNorm2d(out_channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(B, C, H, W)`` to ``(B, out_channels, H / stride, W / stride)``."""
        x = F.silu(self.down(x))
        return x + F.silu(self.block(x))


class EmojiJudge(nn.Module, Configured):
    """Maps images to features in which an image lies nearest to the still it shows.

    Args:
        channels: Channels of each stage; all but the first halve height and width.
        num_features: Length of the features.
    """

    def __init__(self, channels: tuple[int, ...] = (24, 48, 96, 160), num_features: int = 128) -> None:
        super().__init__()
        check_number("length of channels", len(channels), 1, 6)
        check_number("lowest of channels", min(channels), 1)
        check_number("num_features", num_features, 1)
        pairs = enumerate(zip((3, *channels), channels, strict=False))
        self.stages = nn.Sequential(*(Stage(a, b, 2 if i else 1) for i, (a, b) in pairs))
        size = SIZE // 2 ** (len(channels) - 1)
        self.features = nn.Linear(channels[-1] * size * size, num_features)

    def forward(self, image: Tensor) -> Tensor:
        """Maps images ``(B, 3, S, S)`` in [-1, 1], of any size, to features ``(B, D)`` of length 1."""
        if image.shape[-1] != SIZE:
            image = F.interpolate(image, size=(SIZE, SIZE), mode="area")
        x = self.stages(image.contiguous(memory_format=torch.channels_last))
        return F.normalize(self.features(x.flatten(1)), dim=1)

    @torch.inference_mode()
    def of_images(self, images: Tensor) -> Tensor:
        """Maps any number of images ``(N, 3, S, S)`` in [-1, 1] to features ``(N, D)``, a few at once."""
        return torch.cat([self(part.float()) for part in images.split(BATCH)])

    @torch.inference_mode()
    def of_videos(self, videos: Iterable[Tensor]) -> Tensor:
        """Maps videos, each ``(3, F, S, S)`` in [-1, 1], to the mean features of their frames."""
        found = [self.of_images(video.movedim(1, 0)).mean(dim=0) for video in videos]
        return F.normalize(torch.stack(found), dim=1)
