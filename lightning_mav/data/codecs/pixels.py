"""Converts colours in [-1, 1], as networks use them, to the bytes of files and back."""

import torch
from torch import Tensor


def to_uint8(colours: Tensor) -> Tensor:
    """Maps colours in [-1, 1], of any shape, to bytes 0..255; values outside are clipped."""
    return colours.float().add(1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)


def from_uint8(pixels: Tensor) -> Tensor:
    """Maps bytes of any shape to colours in [-1, 1]; ``to_uint8`` inverts it exactly."""
    return pixels.float().div_(127.5).sub_(1)
