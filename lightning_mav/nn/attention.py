"""Scaled dot-product attention, computed in the way that is fastest on the device."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..utils.precision import device_type

MAX_PAIRS = 2**22  # pairs of query and key held at once: small enough for the caches
MAX_LENGTH = 64  # up to here attention is two matrix products, also in fp32
MAX_NUMBERS = 2**19  # of queries, keys and values copied at once in attention over frames, likewise


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attends with queries ``(..., N, d)`` to keys and values ``(..., M, d)``; returns ``(..., N, d)``.

    PyTorch's fused kernel is used on GPUs, and on a CPU for long sequences in fp32 without a mask. Otherwise
    two matrix products are faster, in half precision twice as fast. Long ones take a few sequences at a time.

    Args:
        q: Queries.
        k: Keys.
        v: Values.
        mask: True where a query sees a key; broadcast to ``(..., N, M)``.
    """
    long = mask is None and q.shape[-2] > MAX_LENGTH
    if device_type(q) != "cpu" or (long and q.dtype == torch.float32):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    if long:
        return _AttendInParts.apply(q, k, v)  # type: ignore[no-untyped-call]
    logits = q @ (k * k.shape[-1] ** -0.5).transpose(-1, -2)
    if mask is not None:
        logits = logits.masked_fill(~mask, -float("inf"))
    return logits.softmax(dim=-1).to(v.dtype) @ v


def attend_over_frames(qkv: Tensor) -> Tensor:
    """Attends over frames at each of P places: maps ``(B, F, P, 3, heads, d)`` to ``(B, F, P, heads * d)``.

    Matrix products need another order of the axes than memory has. So on a CPU a few places at a time are
    copied into that order, few enough to stay in the caches; the whole tensor is never copied.
    """
    if device_type(qkv) == "cpu":
        return _AttendOverFrames.apply(qkv)  # type: ignore[no-untyped-call]
    return _attend_over_frames_at_once(qkv)


def _attend_over_frames_at_once(qkv: Tensor) -> Tensor:
    q, k, v = _frames_last(qkv)
    if q.shape[-2] <= MAX_LENGTH:  # fused kernels are made for long sequences
        return _places_last(_attention(q, k, v).to(v.dtype)).flatten(-2)
    q, k, v = (y.flatten(0, 1) for y in (q, k, v))  # and need four dimensions
    out = F.scaled_dot_product_attention(q, k, v).unflatten(0, (len(qkv), -1))
    return _places_last(out).flatten(-2)


class _AttendInParts(torch.autograd.Function):
    """Attention over ``(N, heads, L, d)``, a few of the N at a time; probabilities are computed twice."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        ctx.save_for_backward(q, k, v)
        out = torch.empty_like(q)
        for part in _parts(len(q), MAX_PAIRS // (q[0, ..., 0].numel() * k.shape[-2])):
            out[part] = _attention(q[part], k[part], v[part])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        q, k, v = ctx.saved_tensors
        grads = [torch.empty_like(y) for y in (q, k, v)]
        for part in _parts(len(q), MAX_PAIRS // (q[0, ..., 0].numel() * k.shape[-2])):
            gradients = _attention_backward(grad[part], q[part], k[part], v[part])
            for whole, gradient in zip(grads, gradients, strict=True):
                whole[part] = gradient
        return tuple(grads)


class _AttendOverFrames(torch.autograd.Function):
    """See ``attend_over_frames``; probabilities are computed twice."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor) -> Tensor:
        ctx.save_for_backward(qkv)
        out = torch.empty_like(qkv[:, :, :, 0])
        for part in _parts(qkv.shape[2], MAX_NUMBERS // qkv[:, :, 0].numel()):
            out[:, :, part] = _places_last(_attention(*_frames_last(qkv[:, :, part]).contiguous()))
        return out.flatten(-2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (qkv,) = ctx.saved_tensors
        grad = grad.unflatten(-1, qkv.shape[-2:])
        grad_qkv = torch.empty_like(qkv)
        for part in _parts(qkv.shape[2], MAX_NUMBERS // qkv[:, :, 0].numel()):
            grad_part = grad[:, :, part].permute(0, 2, 3, 1, 4).contiguous()
            gradients = _attention_backward(grad_part, *_frames_last(qkv[:, :, part]).contiguous())
            for i, gradient in enumerate(gradients):
                grad_qkv[:, :, part, i] = _places_last(gradient)
        return grad_qkv


def _frames_last(qkv: Tensor) -> Tensor:
    """``(B, F, P, 3, heads, d)`` seen as ``(3, B, P, heads, F, d)``."""
    return qkv.permute(3, 0, 2, 4, 1, 5)


def _places_last(x: Tensor) -> Tensor:
    """``(B, P, heads, F, d)`` seen as ``(B, F, P, heads, d)``."""
    return x.permute(0, 3, 1, 2, 4)


def _parts(num: int, size: int) -> list[slice]:
    size = max(1, size)
    return [slice(i, i + size) for i in range(0, num, size)]


def _attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return _probabilities(q, k) @ v


def _attention_backward(grad: Tensor, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    p, scale = _probabilities(q, k), q.shape[-1] ** -0.5
    grad_p = grad @ v.transpose(-1, -2)
    grad_logits = torch.ops.aten._softmax_backward_data(grad_p, p, -1, p.dtype)
    grad_q = (grad_logits @ k).mul_(scale)
    grad_k = (grad_logits.transpose(-1, -2) @ q).mul_(scale)
    return grad_q, grad_k, p.transpose(-1, -2) @ grad


def _probabilities(q: Tensor, k: Tensor) -> Tensor:
    return torch.softmax((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2), dim=-1)
