"""Scaled dot-product attention, by the way that is fast on the device at hand."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

MAX_PAIRS = 2**22  # pairs of query and key held at once: small enough for the caches
MAX_LENGTH = 64  # up to here attention over time is two matrix products, also in fp32


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attends with queries ``(..., N, d)`` to keys and values ``(..., M, d)``; returns ``(..., N, d)``.

    On a CPU the fused kernel takes twice the time of two matrix products in half precision, and longer for
    short sequences. For long ones it is rivalled without its memory by doing a few at a time.

    Args:
        q: Queries.
        k: Keys.
        v: Values.
        mask: True where a query sees a key; broadcast to ``(..., N, M)``.
    """
    long = mask is None and q.shape[-2] > MAX_LENGTH
    if q.device.type != "cpu" or (long and q.dtype == torch.float32):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    if long:
        return _AttendInParts.apply(q, k, v)  # type: ignore[no-untyped-call]
    logits = q @ (k * k.shape[-1] ** -0.5).transpose(-1, -2)
    if mask is not None:
        logits = logits.masked_fill(~mask, -float("inf"))
    return logits.softmax(dim=-1).to(v.dtype) @ v


class _AttendInParts(torch.autograd.Function):
    """Attention over ``(N, heads, L, d)``, a few of the N at a time; probabilities are computed twice."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        ctx.save_for_backward(q, k, v)
        out = torch.empty_like(q)
        for part in _parts(q, k):
            out[part] = _probabilities(q[part], k[part]) @ v[part]
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        q, k, v = ctx.saved_tensors
        grad_q, grad_k, grad_v = (torch.empty_like(y) for y in (q, k, v))
        scale = q.shape[-1] ** -0.5
        for part in _parts(q, k):
            p = _probabilities(q[part], k[part])
            grad_v[part] = p.transpose(-1, -2) @ grad[part]
            grad_p = grad[part] @ v[part].transpose(-1, -2)
            grad_logits = torch.ops.aten._softmax_backward_data(grad_p, p, -1, p.dtype)
            grad_q[part] = (grad_logits @ k[part]).mul_(scale)
            grad_k[part] = (grad_logits.transpose(-1, -2) @ q[part]).mul_(scale)
        return grad_q, grad_k, grad_v


def _parts(q: Tensor, k: Tensor) -> list[slice]:
    step = max(1, MAX_PAIRS // (q[0, ..., 0].numel() * k.shape[-2]))
    return [slice(i, i + step) for i in range(0, len(q), step)]


def _probabilities(q: Tensor, k: Tensor) -> Tensor:
    return torch.softmax((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2), dim=-1)
