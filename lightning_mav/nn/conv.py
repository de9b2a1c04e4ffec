"""Convolution over the rows of an image; in ``pseudo3d`` the rows are the frames of a video."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..utils.precision import device_type

CHUNK = 1024  # pixels in one matrix product of the weight's gradient: few enough for the caches


class RowConv(nn.Conv2d):
    """Convolves ``(N, C, R, W)`` with a kernel ``(kernel_size, 1)``; all R rows are kept.

    On a CPU in single precision the native gradient of such a weight takes up to six times longer in
    channels_last memory than the matrix products used here. Their shifted rows are views.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Rows under the kernel; odd.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 1) -> None:
        super().__init__(in_channels, out_channels, (kernel_size, 1), padding=(kernel_size // 2, 0))

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(N, C_in, R, W)`` to ``(N, C_out, R, W)``."""
        if device_type(x) == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu"):
            return _RowConv.apply(x, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return super().forward(x)


class _RowConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, bias, padding=(weight.shape[2] // 2, 0))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        reach = weight.shape[2] // 2
        need_x, need_weight, need_bias = ctx.needs_input_grad
        grad_x = grad_weight = None
        if need_x:
            args = None, (1, 1), (reach, 0), (1, 1), False, (0, 0), 1, (True, False, False)
            grad_x, _, _ = torch.ops.aten.convolution_backward(grad, x, weight, *args)
        if need_weight:
            taps = [_tap(grad, x, shift) for shift in range(-reach, reach + 1)]
            grad_weight = torch.stack(taps, dim=-1)[..., None]
        return grad_x, grad_weight, grad.sum(dim=(0, 2, 3)) if need_bias else None


def _tap(grad: Tensor, x: Tensor, shift: int) -> Tensor:
    """Gradient, ``(C_out, C_in)``, of the weight between each row and the one ``shift`` below it."""
    rows = range(max(0, -shift), x.shape[2] - max(0, shift))
    if not rows:
        return x.new_zeros(grad.shape[1], x.shape[1])
    pairs = zip(
        _pixels(grad, rows.start, rows.stop), _pixels(x, rows.start + shift, rows.stop + shift), strict=True
    )
    return torch.stack([_product(g, y) for g, y in pairs]).sum(dim=0)


def _pixels(x: Tensor, first: int, last: int) -> Tensor:
    """Some rows of ``(N, C, R, W)`` in channels_last memory as ``(N, pixels, C)``: a view."""
    return x.permute(0, 2, 3, 1)[:, first:last].flatten(1, 2)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """``a.T @ b`` of two long, narrow matrices, in chunks that are added up."""
    num_chunks = max(1, len(a) // CHUNK)
    whole = len(a) // num_chunks * num_chunks
    a_chunks, b_chunks = (y[:whole].unflatten(0, (num_chunks, -1)) for y in (a, b))
    out = torch.bmm(a_chunks.transpose(1, 2), b_chunks).sum(dim=0)
    return out if whole == len(a) else out.addmm_(a[whole:].T, b[whole:])
