"""Measures of videos."""

import math

import torch.nn.functional as F
from torch import Tensor


def psnr(x: Tensor, y: Tensor) -> float:
    """Returns the peak signal-to-noise ratio in dB, of all pixels in [-1, 1] together."""
    return 10 * math.log10(4 / max(F.mse_loss(x.float(), y.float()).item(), 1e-12))
