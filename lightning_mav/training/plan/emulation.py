"""Runs a step on tensors without content in the way that a GPU computes it, on a machine without a GPU."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial, partialmethod
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ...utils.precision import planned_for

# Functions that autocast computes in fp32 on GPUs, but not on CPUs.
FP32_ON_GPUS = (
    *((F, name) for name in ("group_norm", "layer_norm", "softmax", "log_softmax")),
    *((place, name) for place in (torch, Tensor) for name in ("softmax", "log_softmax")),
)
# Values that stand for a tensor without content where the code branches on its value.
ANSWERS = {"__bool__": False, "__int__": 1, "__float__": 0.5}


class Decided(TorchFunctionMode):
    """Gives fixed values where the code reads a tensor without content; boolean masks select everything."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Calls ``func``, or returns the fixed value."""
        name = getattr(func, "__name__", "")
        if name in ANSWERS:
            return ANSWERS[name]
        if func is Tensor.__getitem__:
            places = args[1] if isinstance(args[1], tuple) else (args[1],)
            args = (args[0], tuple(slice(None) if _is_mask(place) else place for place in places))
        return func(*args, **(kwargs or {}))


def _is_mask(place: Any) -> bool:
    return isinstance(place, Tensor) and place.dtype == torch.bool and place.ndim == 1


@contextmanager
def as_on_gpu() -> Iterator[None]:
    """Makes layers compute as on a GPU: norms in fp32 under autocast, attention by fused kernels."""
    # This replaces functions, because a mode would not be enough: it affects neither what is recomputed in
    # the backward pass nor calls inside torch's own functions.
    with ExitStack() as stack:
        stack.enter_context(planned_for("cuda"))
        for place, name in FP32_ON_GPUS:
            precise = partial(_in_fp32, getattr(place, name))
            own = partialmethod(precise) if place is Tensor else precise
            stack.enter_context(mock.patch.object(place, name, own))
        stack.enter_context(mock.patch.object(F, "scaled_dot_product_attention", _fused_attention))
        yield


def _in_fp32(function: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
    if torch.is_autocast_enabled("cpu"):
        args = tuple(arg.float() if isinstance(arg, Tensor) else arg for arg in args)
    return function(*args, **kwargs)


def _fused_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **_: Any,
) -> Tensor:
    """Computes attention as a GPU does.

    In half precision without a mask this is flash attention, otherwise the memory-efficient kernel.
    """
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else q.dtype
    q, k, v = (x.to(dtype) for x in (q, k, v))
    aten = torch.ops.aten
    if attn_mask is None and dtype != torch.float32:
        return aten._scaled_dot_product_flash_attention(q, k, v, dropout_p, is_causal)[0]
    if attn_mask is not None:
        shape = (*q.shape[:-1], k.shape[-2])
        attn_mask = torch.empty(attn_mask.shape, dtype=dtype).expand(shape)
    args = (attn_mask, torch.is_grad_enabled(), dropout_p, is_causal)
    return aten._scaled_dot_product_efficient_attention(q, k, v, *args)[0]
