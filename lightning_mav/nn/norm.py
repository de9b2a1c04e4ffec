"""GroupNorm, the condition's scale and shift, and SiLU, as one operation.

Between convolutions these only move memory, and computed one by one they take most of a training step's
time. Together they read the activation twice and write it once, keep nothing for the backward
pass but their input, and have a backward pass that is several times faster on a CPU than native GroupNorm's.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..utils.precision import device_type

# From this number of pixels on, the native kernel vectorises over channels for any number of groups.
NATIVE_SIZE = 1024


class GroupNorm(nn.GroupNorm):
    """``nn.GroupNorm`` of frames, each by itself; with a condition (FiLM) and SiLU, if asked for.

    Args:
        num_groups: Groups.
        num_channels: Channels.
        silu: Whether SiLU follows.
    """

    def __init__(self, num_groups: int, num_channels: int, *, silu: bool = False) -> None:
        super().__init__(num_groups, num_channels)
        self.silu = silu

    def forward(self, x: Tensor, film: Tensor | None = None) -> Tensor:
        """Maps frames ``(N, C, H, W)`` to the same shape.

        Args:
            x: Frames.
            film: Scale minus one, and shift, after the norm: ``(B, 2*C)``, for B videos of equally many
                consecutive frames.
        """
        if device_type(x) != "cpu" and not torch.compiler.is_compiling():  # there, fewer kernels matter more
            x = super().forward(x)
            if film is not None:
                scale, shift = _per_frame(film, len(x))[:, :, None, None].chunk(2, dim=1)
                x = x * (1 + scale) + shift
            return F.silu(x) if self.silu else x
        precise = torch.promote_types(x.dtype, torch.float32)
        weight, bias = self.weight.to(precise)[None], self.bias.to(precise)[None]
        if film is not None:
            scale, shift = film.to(precise).chunk(2, dim=1)
            weight, bias = weight * (1 + scale), bias * (1 + scale) + shift
        norm = norm_silu if device_type(x) != "cpu" else _NormSiLU.apply
        return norm(x, weight, bias, self.num_groups, self.eps, self.silu)  # type: ignore[no-untyped-call]


def norm_silu(x: Tensor, weight: Tensor, bias: Tensor, num_groups: int, eps: float, silu: bool) -> Tensor:
    """``silu(norm(x) * weight + bias)`` of frames ``(N, C, H, W)``, weight and bias ``(B, C)`` for B videos.

    For compilers: they make one reduction and one pass of it in channels_last memory, where native GroupNorm
    on a GPU copies its input to channels first, and every convolution its output back.
    """
    pixels = _pixels(x).to(weight.dtype)
    mean, rstd = _summed_moments(pixels, num_groups, eps, weight.dtype)
    width = x.shape[1] // num_groups
    mean, rstd = mean.repeat_interleave(width, dim=1), rstd.repeat_interleave(width, dim=1)
    out = _affine(pixels, weight, bias, mean, rstd)
    return _like((F.silu(out) if silu else out).to(x.dtype), x)


def _per_frame(condition: Tensor, num_frames: int) -> Tensor:
    """Repeats ``(B, C)`` for the frames of each video: ``(N, C)``."""
    return condition.repeat_interleave(num_frames // len(condition), dim=0)


class _NormSiLU(torch.autograd.Function):
    """``silu(norm(x) * weight + bias)``, weight and bias ``(B, C)`` for B videos; all sums are in fp32."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, num_groups: int, eps: float, silu: bool
    ) -> Tensor:
        mean, rstd, out = _moments(x, num_groups, eps, weight, bias)
        ctx.save_for_backward(x, weight, bias, mean, rstd)
        ctx.num_groups, ctx.silu = num_groups, silu
        if out is None:
            out = _like(_affine(_pixels(x), weight, bias, mean, rstd), x)
        return F.silu(out, inplace=True) if silu else out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, rstd = ctx.saved_tensors
        pixels, grad = _pixels(x), _pixels(grad)
        if ctx.silu:  # computing its input again costs less than keeping it
            z = _affine(pixels, weight, bias, mean, rstd)
            grad = torch.ops.aten.silu_backward.grad_input(grad, z, grad_input=z)
        rows = x.shape[2]
        grad_bias = _sum(grad, rows, mean.dtype)
        grad_weight = (_sum(grad * pixels, rows, mean.dtype) - mean * grad_bias) * rstd

        # x also changes the moments of its group: subtract that part of the gradient.
        def group_mean(y: Tensor) -> Tensor:
            means = y.unflatten(1, (ctx.num_groups, -1)).mean(dim=2, keepdim=True) / pixels.shape[1]
            return means.expand(-1, -1, y.shape[1] // ctx.num_groups).flatten(1)

        num_videos, weight = len(weight), _per_frame(weight, len(x))
        slope = group_mean(weight * grad_weight) * rstd.square()
        offset = group_mean(weight * grad_bias) * rstd - slope * mean
        grad_x = torch.addcmul(-offset[:, None].to(x.dtype), pixels, -slope[:, None].to(x.dtype))
        grad_x.addcmul_(grad, (weight * rstd)[:, None].to(x.dtype))
        grad_weight, grad_bias = (
            y.unflatten(0, (num_videos, -1)).sum(dim=1) for y in (grad_weight, grad_bias)
        )
        return _like(grad_x, x), grad_weight, grad_bias, None, None, None


def _moments(
    x: Tensor, num_groups: int, eps: float, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Mean and reciprocal deviation of each channel's group, ``(N, C)``, and the result if computed."""
    n, c, h, w = x.shape
    out = None
    if h * w >= NATIVE_SIZE:
        y, mean, rstd = torch.native_group_norm(x, weight[0], bias[0], n, c, h * w, num_groups, eps)
        out = y if len(weight) == 1 else None
    else:
        mean, rstd = _summed_moments(_pixels(x), num_groups, eps, weight.dtype)
    width = c // num_groups
    return mean.repeat_interleave(width, dim=1), rstd.repeat_interleave(width, dim=1), out


def _summed_moments(pixels: Tensor, num_groups: int, eps: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Mean and reciprocal deviation of each group of ``(N, H*W, C)``, ``(N, num_groups)``, in plain sums."""
    n, size, _ = pixels.shape
    mean = pixels.sum(dim=1, dtype=dtype).view(n, num_groups, -1).mean(-1) / size
    square = pixels.to(dtype).square().sum(dim=1).view(n, num_groups, -1).mean(-1) / size
    return mean, (square - mean.square()).clamp(min=0).add(eps).rsqrt()


def _affine(pixels: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, rstd: Tensor) -> Tensor:
    """``(pixels - mean) * rstd * weight + bias`` in one pass."""
    scale = rstd * _per_frame(weight, len(mean))
    shift = _per_frame(bias, len(mean)) - mean * scale
    return torch.addcmul(shift[:, None].to(pixels.dtype), pixels, scale[:, None].to(pixels.dtype))


def _sum(pixels: Tensor, rows: int, dtype: torch.dtype) -> Tensor:
    """Sums ``(N, H*W, C)`` over the pixels: rows in its own precision, which copies nothing, then all."""
    return pixels.unflatten(1, (rows, -1)).sum(dim=2).sum(dim=1, dtype=dtype)


def _pixels(x: Tensor) -> Tensor:
    """Frames ``(N, C, H, W)`` in channels_last memory as ``(N, H*W, C)``: a view."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def _like(pixels: Tensor, x: Tensor) -> Tensor:
    """``(N, H*W, C)`` as frames of the shape of ``x``: a view."""
    return pixels.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)
