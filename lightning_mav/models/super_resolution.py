"""SR_l^t and SR_h: small frames become large ones (Make-A-Video, section 3.2)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..diffusion import GaussianDiffusion, Progress, Sampler
from ..nn import Pseudo3DUNet
from .base import DiffusionModel, draw_noise, part_of


def resize_frames(video: Tensor, size: int, *, mode: str = "bicubic") -> Tensor:
    """Resizes ``(B, C, F, H, W)`` to a height and width of ``size``; ``area`` averages, for going down."""
    frames = video.transpose(1, 2).flatten(0, 1)
    frames = F.interpolate(frames, size=(size, size), mode=mode, antialias=mode == "bicubic")
    return frames.unflatten(0, (len(video), -1)).transpose(1, 2)


class SuperResolution(DiffusionModel):
    """Diffusion super-resolution, conditioned on the upsampled video.

    While training, noise of a random level is added to the condition, with the level as a condition of its
    own (Ho et al., 2022, section 4.2), so that the stage forgives the flaws of the one before it.

    Args:
        net: Denoiser with ``cond_channels=3``.
        diffusion: Forward process.
        sampler: How to sample.
        scale: Ratio of the two resolutions.
        max_noise_level: Upper end of the noise levels of the condition in training.
        noise_level: Noise level of the condition when sampling.
    """

    net: Pseudo3DUNet

    def __init__(
        self,
        net: Pseudo3DUNet,
        diffusion: GaussianDiffusion,
        sampler: Sampler,
        *,
        scale: int = 4,
        max_noise_level: float = 0.3,
        noise_level: float = 0.05,
    ) -> None:
        super().__init__(net, diffusion, sampler)
        if not 0 <= noise_level <= max_noise_level <= 1:
            raise ValueError(
                f"need 0 <= noise_level <= max_noise_level <= 1, got {noise_level=} and {max_noise_level=}"
            )
        self.scale = scale
        self.max_noise_level = max_noise_level
        self.noise_level = noise_level

    def corrupt(self, x_cond: Tensor, noise_level: Tensor, noise: Tensor) -> Tensor:
        """Noises the condition ``(B, 3, F, H, W)`` to the levels ``(B,)``, keeping its variance."""
        level = noise_level.view(-1, 1, 1, 1, 1)
        return (1 - level.square()).sqrt() * x_cond + level * noise

    def upsample(self, video: Tensor) -> Tensor:
        """Upsamples ``(B, 3, F, H, W)`` by ``scale``: the condition, and the baseline to beat."""
        return resize_frames(video, video.shape[-1] * self.scale).clamp(-1, 1)

    def denoise_frames(
        self,
        low: Tensor,
        fps: Tensor | None,
        noise: Tensor,
        cond_noise: Tensor,
        *,
        num_steps: int | None,
        guidance_scale: float | None,
        generator: torch.Generator | None,
        progress: Progress | None,
    ) -> Tensor:
        """Upsamples ``(B, 3, F, H, W)``; both noises have the result's shape, or one frame for all."""
        level = torch.full((len(low),), self.noise_level, device=low.device)
        return self.denoise(
            noise,
            x_cond=self.corrupt(self.upsample(low), level, cond_noise),
            fps=fps,
            noise_level=level,
            num_steps=num_steps,
            guidance_scale=guidance_scale,
            generator=generator,
            progress=progress,
        )

    def draw_frames(self, low: Tensor, num_frames: int, generator: torch.Generator | None) -> Tensor:
        """Draws two noises for frames of the result, stacked: for ``x_T`` and for the condition."""
        size = low.shape[-1] * self.scale
        return draw_noise((2, len(low), 3, num_frames, size, size), low, generator)


class SRLT(SuperResolution):
    """SR_l^t: upsamples over space and time together, in overlapping windows of time.

    Args:
        net: Denoiser with ``cond_channels=3``.
        diffusion: Forward process.
        sampler: How to sample.
        scale: Ratio of the two resolutions.
        max_noise_level: Upper end of the noise levels of the condition in training.
        noise_level: Noise level of the condition when sampling.
        num_frames: Frames in a window, as in training.
        overlap: Frames that neighbouring windows share, and over which one fades into the other.
    """

    def __init__(
        self,
        net: Pseudo3DUNet,
        diffusion: GaussianDiffusion,
        sampler: Sampler,
        *,
        scale: int = 4,
        max_noise_level: float = 0.3,
        noise_level: float = 0.05,
        num_frames: int = 16,
        overlap: int = 4,
    ) -> None:
        super().__init__(
            net,
            diffusion,
            sampler,
            scale=scale,
            max_noise_level=max_noise_level,
            noise_level=noise_level,
        )
        if not 0 <= overlap < num_frames:
            raise ValueError(f"overlap must lie in 0..{num_frames - 1}, got {overlap}")
        self.num_frames = num_frames
        self.overlap = overlap

    def sample(
        self,
        video: Tensor,
        fps: Tensor | None = None,
        *,
        num_steps: int | None = None,
        guidance_scale: float | None = None,
        generator: torch.Generator | None = None,
        progress: Progress | None = None,
    ) -> Tensor:
        """Maps ``(B, 3, F, H, W)`` to ``(B, 3, F, scale*H, scale*W)``; memory grows with the window alone.

        A frame in two windows starts from the same noise in both.
        """
        total, size = video.shape[2], video.shape[-1] * self.scale
        length = min(self.num_frames, total)
        overlap = min(self.overlap, length - 1)
        num_windows = max(1, math.ceil((total - overlap) / (length - overlap)))
        out = video.new_zeros(len(video), 3, total, size, size)
        noise, done_until = video.new_zeros(2, len(video), 3, 0, size, size), 0
        for i in range(num_windows):
            start = min(i * (length - overlap), total - length)
            shared = done_until - start
            fresh = self.draw_frames(video, length - shared, generator)
            noise = torch.cat([noise[:, :, :, noise.shape[3] - shared :], fresh], dim=3)
            window = self.denoise_frames(
                video[:, :, start : start + length],
                fps,
                noise[0],
                noise[1],
                num_steps=num_steps,
                guidance_scale=guidance_scale,
                generator=generator,
                progress=part_of(progress, i, num_windows),
            )
            fade = torch.arange(1, shared + 1, device=video.device) / (shared + 1)
            fade = torch.cat([fade, fade.new_ones(length - shared)])[:, None, None]
            place = out[:, :, start : start + length]
            place.lerp_(window, fade)
            done_until = start + length
        return out


class SRH(SuperResolution):
    """SR_h: upsamples frame by frame; the SAME initial noise for every frame keeps details in place.

    Its network has no temporal layers, so that the frames of a chunk share all that is not their pixels.
    """

    def sample(
        self,
        video: Tensor,
        *,
        num_steps: int | None = None,
        guidance_scale: float | None = None,
        generator: torch.Generator | None = None,
        progress: Progress | None = None,
        chunk_size: int = 8,
    ) -> Tensor:
        """Maps ``(B, 3, F, H, W)`` to ``(B, 3, F, scale*H, scale*W)``, ``chunk_size`` frames at a time."""
        noise, cond_noise = self.draw_frames(video, 1, generator)
        chunks = video.split(chunk_size, dim=2)
        parts = [
            self.denoise_frames(
                chunk,
                None,
                noise,
                cond_noise,
                num_steps=num_steps,
                guidance_scale=guidance_scale,
                generator=generator,
                progress=part_of(progress, i, len(chunks)),
            )
            for i, chunk in enumerate(chunks)
        ]
        return torch.cat(parts, dim=2)
