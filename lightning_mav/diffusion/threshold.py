"""Thresholding: keeps estimates of ``x_0`` within the range of the data while sampling."""

import math
from typing import Literal

from torch import Tensor

Threshold = Literal["static", "dynamic", "none"]


def apply_threshold(
    x_0: Tensor, mode: Threshold, limit: float, *, percentile: float = 0.995, maximum: float | None = None
) -> Tensor:
    """Brings estimates of ``x_0`` into ``[-limit, limit]`` (Saharia et al., 2022, Imagen, section 2.3).

    ``static`` clamps them. ``dynamic`` takes ``s``, the ``percentile`` of the absolute values of each sample.
    Where that is above ``limit``, the sample is clamped to ``[-s, s]`` and scaled by ``limit / s``, so that
    guidance saturates fewer pixels. ``none`` leaves them as they are.

    Args:
        x_0: Estimates, ``(B, ...)``, each sample by itself.
        mode: Which of the three.
        limit: Largest absolute value of the data.
        percentile: Share of absolute values that are at most ``s``, above 0 and up to 1.
        maximum: Upper end of ``s``; None for none.
    """
    if mode == "none":
        return x_0
    if mode == "static":
        return x_0.clamp(-limit, limit)
    values = x_0.flatten(1).abs()
    # Not torch.quantile, which refuses more than 16 million values: a video has more.
    s = values.kthvalue(max(1, math.ceil(percentile * values.shape[1])), dim=1).values
    s = s.clamp(min=limit, max=None if maximum is None else max(limit, maximum))
    s = s.view(-1, *[1] * (x_0.dim() - 1))
    return x_0.clamp(-s, s) * (limit / s)
