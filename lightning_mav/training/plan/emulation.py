"""Lets a step be computed on tensors without content as a GPU computes it, on a machine without one."""

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

# What autocast computes in fp32 on GPUs, and not on processors.
FP32_ON_GPUS = (
    *((F, name) for name in ("group_norm", "layer_norm", "softmax", "log_softmax")),
    *((place, name) for place in (torch, Tensor) for name in ("softmax", "log_softmax")),
)
# What numbers that have no content say where they decide what is computed.
ANSWERS = {"__bool__": False, "__int__": 1, "__float__": 0.5}


class Decided(TorchFunctionMode):
    """Answers for numbers without content where they decide what is computed; masks leave nothing out."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Calls ``func``, or answers."""
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
    """Lets everything compute as on a GPU: norms in fp32 under autocast, attention by fused kernels."""
    # By other functions, not by a mode: modes reach neither what is computed again in the backward pass nor
    # what torch calls within functions of its own.
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
    """Attends as a GPU does: with a mask by the memory-efficient kernel, else by flash attention."""
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
