"""SR_h: 256 px become 768 px, frame by frame, trained on random crops of images (section 3.2)."""

from functools import partial
from typing import Any

from lightning_mav.diffusion import GaussianDiffusion, Sampler
from lightning_mav.models import SRH
from lightning_mav.nn import Pseudo3DUNet
from lightning_mav.stages.super_resolution import SuperResolutionStage


class SRHStage(SuperResolutionStage):
    """Learns spatial super-resolution on crops; since it is convolutional, it also works at full size.

    Args:
        unet: Denoiser with ``cond_channels=3`` and no temporal layers.
        diffusion: Forward process and parametrisation.
        sampler: How samples are drawn.
        kwargs: See ``SuperResolutionStage``.
    """

    def __init__(
        self, unet: Pseudo3DUNet, diffusion: GaussianDiffusion, sampler: Sampler, **kwargs: Any
    ) -> None:
        make_model = partial(SRH, unet, diffusion, sampler)
        # There are no temporal layers and no videos, so these settings have one value.
        super().__init__(make_model, trainable="all", spatial_lr_scale=1.0, image_weight=0.0, **kwargs)
