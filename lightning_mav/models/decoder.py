"""D^t: a CLIP image embedding becomes a short, small video (Make-A-Video, section 3.2)."""

from typing import Unpack

from torch import Tensor

from ..diffusion import GaussianDiffusion, SampleOptions, Sampler, sample_noise
from ..nn import Pseudo3DUNet
from ..utils.numbers import check_number
from .base import DiffusionModel


class Decoder(DiffusionModel):
    """Decoder of image embeddings.

    Args:
        net: Denoiser with an image-embedding condition.
        diffusion: Forward process.
        sampler: How to sample.
        image_size: Height and width of the video.
        num_frames: Length of the video that it was trained on.
    """

    net: Pseudo3DUNet

    def __init__(
        self,
        net: Pseudo3DUNet,
        diffusion: GaussianDiffusion,
        sampler: Sampler,
        *,
        image_size: int = 64,
        num_frames: int = 16,
    ) -> None:
        super().__init__(net, diffusion, sampler)
        check_number("image_size", image_size, 1)
        check_number("num_frames", num_frames, 1)
        self.image_size = image_size
        self.num_frames = num_frames

    def sample(
        self,
        image_embed: Tensor,
        fps: Tensor | None = None,
        *,
        num_frames: int | None = None,
        **options: Unpack[SampleOptions],
    ) -> Tensor:
        """Maps embeddings ``(B, D)`` and frame rates ``(B,)`` to videos ``(B, 3, F, S, S)`` in [-1, 1]."""
        shape = (len(image_embed), 3, num_frames or self.num_frames, self.image_size, self.image_size)
        return self.denoise(
            sample_noise(shape, image_embed, options.get("generator")),
            image_embed=image_embed,
            fps=fps,
            **options,
        )
