"""Diffusion: noise schedules, parametrisations and sampling, for any network."""

from .gaussian import GaussianDiffusion
from .noise import SeededNoise, StepNoise, fork_seed, sample_noise
from .sampler import Progress, SampleOptions, Sampler
from .schedule import make_betas
from .schedulers import SCHEDULERS
from .threshold import apply_threshold

__all__ = [
    "SCHEDULERS",
    "GaussianDiffusion",
    "Progress",
    "SampleOptions",
    "Sampler",
    "SeededNoise",
    "StepNoise",
    "apply_threshold",
    "fork_seed",
    "make_betas",
    "sample_noise",
]
