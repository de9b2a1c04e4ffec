"""The generators of the cascade: each a network, its diffusion and how to sample from it."""

from .base import DiffusionModel
from .decoder import Decoder
from .degradation import Corruption, degrade
from .frames import resize_frames, shrink
from .interpolation import Interpolation, blend_frames, mask_frames
from .prior import Prior, nearest
from .super_resolution import SRH, SRLT, SuperResolution

__all__ = [
    "SRH",
    "SRLT",
    "Corruption",
    "Decoder",
    "DiffusionModel",
    "Interpolation",
    "Prior",
    "SuperResolution",
    "blend_frames",
    "degrade",
    "mask_frames",
    "nearest",
    "resize_frames",
    "shrink",
]
