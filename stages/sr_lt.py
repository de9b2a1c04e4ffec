"""SR_l^t: 64 px become 256 px, over space and time together (section 3.2)."""

from functools import partial
from typing import Any

from lightning_mav.diffusion import GaussianDiffusion, Sampler
from lightning_mav.models import SRLT
from lightning_mav.nn import Pseudo3DUNet
from lightning_mav.stages.super_resolution import SuperResolutionStage


class SRLTStage(SuperResolutionStage):
    """Learns spatiotemporal super-resolution: on images first, then on unlabelled video.

    Args:
        unet: Denoiser with ``cond_channels=3``.
        diffusion: Forward process and parametrisation.
        sampler: How samples are drawn.
        num_frames: Frames in a window when sampling.
        overlap: Frames that neighbouring windows share.
        kwargs: See ``SuperResolutionStage``.
    """

    def __init__(
        self,
        unet: Pseudo3DUNet,
        diffusion: GaussianDiffusion,
        sampler: Sampler,
        *,
        num_frames: int = 16,
        overlap: int = 4,
        **kwargs: Any,
    ) -> None:
        make_model = partial(SRLT, unet, diffusion, sampler, num_frames=num_frames, overlap=overlap)
        super().__init__(make_model, **kwargs)
