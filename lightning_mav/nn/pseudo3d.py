"""Pseudo-3D layers: a 2D layer over space, then a 1D layer over time (Make-A-Video, section 3.2).

Between layers a video is a batch of frames, ``(B*F, C, H, W)`` in channels_last memory, that is, bytes in
the order B, F, H, W, C. Space and time are then two views of the same bytes, and the transposes of the
paper's equations copy nothing. All of those views are made in this file. An image is a video of one frame,
for which the temporal layers are skipped. Every temporal layer starts as the identity.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import attend, attend_over_frames
from .conv import RowConv
from .norm import GroupNorm


def to_frames(video: Tensor) -> Tensor:
    """Lays ``(B, C, F, H, W)`` out as frames ``(B*F, C, H, W)`` in channels_last memory."""
    return video.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)


def to_video(frames: Tensor, num_frames: int) -> Tensor:
    """Turns frames ``(B*F, C, H, W)`` back into ``(B, C, F, H, W)``."""
    return frames.unflatten(0, (-1, num_frames)).transpose(1, 2)


class TemporalConv(RowConv):
    """Convolves over time alone; starts as the identity.

    Args:
        channels: Channels of input and output.
        kernel_size: Frames under the kernel; odd, so that F is kept.
    """

    def __init__(self, channels: int, kernel_size: int = 3) -> None:
        super().__init__(channels, channels, kernel_size)
        nn.init.dirac_(self.weight)
        nn.init.zeros_(self.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, num_frames: int) -> Tensor:  # type: ignore[override]
        """Maps frames ``(B*F, C, H, W)`` to the same shape."""
        n, c, h, w = x.shape
        # As an image of height F and width H*W, still channels_last: (B, C, F, H*W).
        x = x.permute(0, 2, 3, 1).reshape(n // num_frames, num_frames, h * w, c).permute(0, 3, 1, 2)
        x = super().forward(x)
        return x.permute(0, 2, 3, 1).reshape(n, h, w, c).permute(0, 3, 1, 2)


class PseudoConv3d(nn.Module):
    """Convolves over space, then over time (equation 2).

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Spatial kernel width; odd, so that H and W are kept.
        temporal_kernel_size: Temporal kernel width; odd, so that F is kept.
        temporal: Whether there is a temporal convolution; without it this is an image layer.

    Raises:
        ValueError: If a kernel size is even.

    Examples:
        >>> conv, frames = PseudoConv3d(3, 8), torch.randn(2 * 4, 3, 16, 16)  # two videos of four frames
        >>> conv(frames, num_frames=4).shape
        torch.Size([8, 8, 16, 16])
        >>> torch.equal(conv(frames, num_frames=4), conv.spatial(frames))  # time starts as the identity
        True
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 3,
        temporal_kernel_size: int = 3,
        temporal: bool = True,
    ) -> None:
        super().__init__()
        if kernel_size % 2 == 0 or temporal_kernel_size % 2 == 0:
            raise ValueError(f"kernel sizes must be odd, got {kernel_size=} and {temporal_kernel_size=}")
        self.spatial = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
        self.temporal = TemporalConv(out_channels, temporal_kernel_size) if temporal else None

    def forward(self, x: Tensor, num_frames: int) -> Tensor:
        """Maps frames ``(B*F, C_in, H, W)`` to ``(B*F, C_out, H, W)``."""
        return self.over_time(self.spatial(x), num_frames)

    def over_time(self, x: Tensor, num_frames: int) -> Tensor:
        """Does the temporal half on frames ``(B*F, C_out, H, W)``."""
        if self.temporal is None or num_frames == 1:
            return x
        return self.temporal(x, num_frames)


class SpatialAttention(nn.Module):
    """Self-attention within a frame, over the frame's pixels and the context tokens in one softmax.

    Keys and values of the context are put before those of the image (unCLIP, section 2.1); the norm is on
    the image alone. The residual connection is inside.

    Args:
        channels: Channels of the image.
        head_channels: Channels per head.
        norm_groups: Groups of the GroupNorm.
        context_channels: Channels of the context tokens; 0 for none.
    """

    def __init__(
        self, channels: int, *, head_channels: int, norm_groups: int, context_channels: int = 0
    ) -> None:
        super().__init__()
        if channels % head_channels:
            raise ValueError(f"head_channels must divide the channels, got {head_channels=} for {channels}")
        self.head_channels = head_channels
        self.group_norm = GroupNorm(norm_groups, channels)
        self.to_q = nn.Linear(channels, channels)
        self.to_k = nn.Linear(channels, channels)
        self.to_v = nn.Linear(channels, channels)
        self.add_k_proj = nn.Linear(context_channels, channels) if context_channels else None
        self.add_v_proj = nn.Linear(context_channels, channels) if context_channels else None
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])
        nn.init.zeros_(self.to_out[0].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.to_out[0].bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps frames ``(N, C, H, W)`` to the same shape.

        Args:
            x: Frames.
            context: Context tokens ``(B, L, C_context)``, one set for each video of equally many frames.
        """
        n, c, h, w = x.shape
        tokens = self.group_norm(x).permute(0, 2, 3, 1).reshape(n, h * w, c)
        q, k, v = self.to_q(tokens), self.to_k(tokens), self.to_v(tokens)
        if context is not None and self.add_k_proj is not None and self.add_v_proj is not None:
            keys, values = self.add_k_proj(context), self.add_v_proj(context)
            keys, values = (y.repeat_interleave(n // len(y), dim=0) for y in (keys, values))
            k, v = torch.cat([keys, k], dim=1), torch.cat([values, v], dim=1)
        q, k, v = (y.unflatten(-1, (-1, self.head_channels)).transpose(1, 2) for y in (q, k, v))
        out = attend(q, k, v).transpose(1, 2).flatten(-2)
        return x + self.to_out[0](out).reshape(n, h, w, c).permute(0, 3, 1, 2)


class TemporalAttention(nn.Module):
    """Self-attention over the frames at each pixel; its output projection starts at zero (section 3.2.2).

    The norm is over the channels of one frame at one pixel, so that it mixes no frames.

    Args:
        channels: Channels of the video.
        head_channels: Channels per head.
    """

    def __init__(self, channels: int, *, head_channels: int) -> None:
        super().__init__()
        self.head_channels = head_channels
        self.norm = nn.LayerNorm(channels)
        self.to_qkv = nn.Linear(channels, 3 * channels)
        self.to_out = nn.Linear(channels, channels)
        nn.init.zeros_(self.to_out.weight)
        nn.init.zeros_(self.to_out.bias)

    def forward(self, x: Tensor, num_frames: int) -> Tensor:
        """Maps frames ``(B*F, C, H, W)`` to the same shape."""
        n, c, h, w = x.shape
        tokens = x.permute(0, 2, 3, 1).reshape(n // num_frames, num_frames, h * w, c)
        position = sinusoidal_embedding(torch.arange(num_frames, device=x.device), c).to(x.dtype)
        qkv = self.to_qkv(self.norm(tokens) + position[:, None])
        out = attend_over_frames(qkv.unflatten(-1, (3, -1, self.head_channels)))
        return x + self.to_out(out).reshape(n, h, w, c).permute(0, 3, 1, 2)


class PseudoAttention3d(nn.Module):
    """Attends over space, then over time (equation 3).

    Args:
        channels: Channels of the video.
        head_channels: Channels per head.
        norm_groups: Groups of the GroupNorm.
        context_channels: Channels of the context tokens; 0 for none.
        temporal: Whether there is temporal attention; without it this is an image layer.
    """

    def __init__(
        self,
        channels: int,
        *,
        head_channels: int,
        norm_groups: int,
        context_channels: int = 0,
        temporal: bool = True,
    ) -> None:
        super().__init__()
        self.spatial = SpatialAttention(
            channels, head_channels=head_channels, norm_groups=norm_groups, context_channels=context_channels
        )
        self.temporal = TemporalAttention(channels, head_channels=head_channels) if temporal else None

    def forward(self, x: Tensor, context: Tensor | None, num_frames: int) -> Tensor:
        """Maps frames ``(B*F, C, H, W)``, with context tokens ``(B, L, C_context)``, to the same shape."""
        x = self.spatial(x, context)
        if self.temporal is None or num_frames == 1:
            return x
        return self.temporal(x, num_frames)


def sinusoidal_embedding(t: Tensor, channels: int, max_period: float = 10_000.0) -> Tensor:
    """Embeds numbers ``(N,)`` as ``(N, channels)``: cosines, then sines, of falling frequencies."""
    half = channels // 2
    frequencies = max_period ** (-torch.arange(half, device=t.device) / half)
    angles = t[:, None].float() * frequencies
    return F.pad(torch.cat([angles.cos(), angles.sin()], dim=-1), (0, channels % 2))
