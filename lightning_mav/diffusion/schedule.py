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


def with_zero_terminal_snr(alphas_cumprod: Tensor) -> tuple[Tensor, Tensor]:
    """Shifts a schedule so that its last step holds no signal (Lin et al., 2023, algorithm 1).

    Args:
        alphas_cumprod: ``alpha_bar`` of all steps, ``(T,)``.

    Returns:
        ``alpha_bar``, 0 at the last step, and betas for schedulers. Those divide by ``alpha_bar``, so their
        last one leaves a little, at most ``2**-24``: a share of 0.0002 of the standard deviation.
    """
    root = alphas_cumprod.sqrt()
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    alphas_cumprod = root.square()
    kept = alphas_cumprod.clone()
    kept[-1] = min(2**-24, float(kept[-2]) / 2)
    betas = 1 - kept / torch.cat([kept.new_ones(1), kept[:-1]])
    return alphas_cumprod, betas
