"""Spherical interpolation of embeddings."""

import torch
from torch import Tensor


def slerp(a: Tensor, b: Tensor, share: float) -> Tensor:
    """Goes from ``a`` to ``b``, ``(B, D)``, along a circle (unCLIP, section 3.2); lengths change evenly."""
    lengths = torch.lerp(a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True), share)
    a, b = (torch.nn.functional.normalize(x, dim=1) for x in (a, b))
    angle = (a * b).sum(dim=1, keepdim=True).clamp(-1, 1).acos()
    mixed = torch.where(
        angle.sin() > 1e-4,
        ((1 - share) * angle).sin() * a + (share * angle).sin() * b,
        torch.lerp(a, b, share),
    )
    return lengths * torch.nn.functional.normalize(mixed, dim=1)
