"""D^t: a CLIP image embedding becomes a short, small video (Make-A-Video, section 3.2)."""

from typing import Unpack

from torch import Tensor

from ..diffusion import GaussianDiffusion, Progress, SampleOptions, Sampler, sample_noise
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
        still_strength: If given, a still is drawn first, and the video begins with it instead of noise alone:
            the share of the steps that are left for the video, above 0 and up to 1. What a thing looks like
            is then learnt from all images, also for things that no video shows. The paper draws no still.
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
        still_strength: float | None = None,
    ) -> None:
        super().__init__(net, diffusion, sampler)
        check_number("image_size", image_size, 1)
        check_number("num_frames", num_frames, 1)
        if still_strength is not None and not 0 < still_strength <= 1:
            raise ValueError(f"still_strength must be above 0 and at most 1, got {still_strength}")
        self.still_strength = still_strength
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
        noise = sample_noise(shape, image_embed, options.get("generator"))
        if self.still_strength is None or shape[2] == 1:
            return self.denoise(noise, image_embed=image_embed, fps=fps, **options)
        progress = options.pop("progress", None)
        num_steps = options.get("num_steps") or self.sampler.num_steps
        total = num_steps + max(1, round(self.still_strength * num_steps))
        one = sample_noise((*shape[:2], 1, *shape[3:]), image_embed, options.get("generator"))
        still = self.denoise(
            one, image_embed=image_embed, fps=None, progress=_shifted(progress, 0, total), **options
        )
        return self.denoise(
            noise,
            init=still.expand(shape),
            strength=self.still_strength,
            image_embed=image_embed,
            fps=fps,
            progress=_shifted(progress, num_steps, total),
            **options,
        )


def _shifted(progress: Progress | None, before: int, total: int) -> Progress | None:
    """Reports steps that follow ``before`` others, out of ``total``."""
    return None if progress is None else lambda done, _: progress(before + done, total)
