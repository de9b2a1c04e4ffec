"""Diffusion: schedules, parametrisations, sampling. Knows no network."""

from .gaussian import GaussianDiffusion
from .sampler import Progress, Sampler
from .schedule import make_betas

__all__ = ["GaussianDiffusion", "Progress", "Sampler", "make_betas"]
