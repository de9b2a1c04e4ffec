"""Noise schedules."""

import math
from typing import Literal

import torch
from torch import Tensor

Schedule = Literal["cosine", "linear"]


def make_betas(schedule: Schedule, num_timesteps: int) -> Tensor:
    """Returns the betas, ``(num_timesteps,)`` in double.

    ``cosine`` follows Nichol and Dhariwal (2021), equation 17, with betas of at most 0.999; ``linear``
    follows Ho et al. (2020), rescaled so that any number of steps ends at the same noise.

    Raises:
        ValueError: If the schedule is unknown.
    """
    if schedule == "cosine":
        steps = torch.arange(num_timesteps + 1, dtype=torch.double) / num_timesteps
        alpha_bar = torch.cos((steps + 0.008) / 1.008 * math.pi / 2) ** 2
        return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=0.999)
    if schedule == "linear":
        scale = 1000 / num_timesteps
        return torch.linspace(scale * 1e-4, scale * 0.02, num_timesteps, dtype=torch.double).clamp(max=0.999)
    raise ValueError(f"schedule must be 'cosine' or 'linear', got {schedule!r}")
