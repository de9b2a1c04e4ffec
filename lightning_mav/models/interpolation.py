"""F: frames between, before and after those given, by one masked network (Make-A-Video, section 3.3)."""

import torch
from torch import Tensor

from ..diffusion import GaussianDiffusion, Progress, Sampler
from ..nn import Pseudo3DUNet
from .base import DiffusionModel, draw_noise, part_of

MAX_WINDOWS = 8  # filled in one batch


def mask_frames(video: Tensor, masked: Tensor) -> Tensor:
    """Builds the extra input: the video with zeros where masked, and the mask.

    Args:
        video: ``(B, 3, F, H, W)``.
        masked: ``(B, F)`` of booleans, True for frames to be generated.

    Returns:
        ``(B, 4, F, H, W)``; the last channel is 1 where the frame is masked.
    """
    mask = masked[:, None, :, None, None].to(video.dtype)
    return torch.cat([video * (1 - mask), mask.expand(-1, -1, -1, *video.shape[-2:])], dim=1)


class Interpolation(DiffusionModel):
    """Frame interpolation and extrapolation.

    Args:
        net: Denoiser with ``cond_channels=4``.
        diffusion: Forward process.
        sampler: How to sample.
        num_frames: Frames in the window that it was trained on.
    """

    net: Pseudo3DUNet

    def __init__(
        self, net: Pseudo3DUNet, diffusion: GaussianDiffusion, sampler: Sampler, *, num_frames: int = 16
    ) -> None:
        super().__init__(net, diffusion, sampler)
        self.num_frames = num_frames

    def fill(
        self,
        video: Tensor,
        masked: Tensor,
        image_embed: Tensor | None,
        fps: Tensor,
        *,
        num_steps: int | None = None,
        guidance_scale: float | None = None,
        generator: torch.Generator | None = None,
        progress: Progress | None = None,
    ) -> Tensor:
        """Generates the masked frames of ``(B, 3, F, H, W)``; the others are returned as they are.

        Args:
            video: Video in [-1, 1]; what masked frames hold does not matter.
            masked: ``(B, F)`` of booleans, True for frames to be generated.
            image_embed: CLIP image embedding, ``(B, D)``.
            fps: Frame rate of the window, ``(B,)``.
            num_steps: Denoising steps.
            guidance_scale: Classifier-free guidance.
            generator: Source of noise.
            progress: Called after each step.
        """
        generated = self.denoise(
            draw_noise(tuple(video.shape), video, generator),
            image_embed=image_embed,
            x_cond=mask_frames(video, masked),
            fps=fps,
            num_steps=num_steps,
            guidance_scale=guidance_scale,
            generator=generator,
            progress=progress,
        )
        return torch.where(masked[:, None, :, None, None], generated, video)

    def sample(
        self,
        video: Tensor,
        image_embed: Tensor | None,
        fps: Tensor,
        *,
        frame_skip: int = 5,
        num_steps: int | None = None,
        guidance_scale: float | None = None,
        generator: torch.Generator | None = None,
        progress: Progress | None = None,
    ) -> Tensor:
        """Maps ``(B, 3, F, H, W)`` to ``(B, 3, (F-1)*K+1, H, W)`` with ``K = frame_skip``.

        The result is made of windows of ``num_frames`` that hold key frames at 0, K, 2K, ...; neighbours
        share a key frame. With 16 frames and K = 5, key frames stand at 0, 5, 10 and 15 and five windows
        make 76 frames. Several windows are filled at once.

        Args:
            video: Key frames in [-1, 1].
            image_embed: CLIP image embedding, ``(B, D)``.
            fps: Frame rate of the result, ``(B,)``.
            frame_skip: Frames from one key frame to the next, 1 to ``num_frames - 1``; 1 changes nothing.
            num_steps: Denoising steps.
            guidance_scale: Classifier-free guidance.
            generator: Source of noise.
            progress: Called after each step of each batch of windows.

        Raises:
            ValueError: If ``frame_skip`` is out of range or there are fewer than two key frames.
        """
        if not 1 <= frame_skip < self.num_frames:
            raise ValueError(f"frame_skip must lie in 1..{self.num_frames - 1}, got {frame_skip}")
        if frame_skip == 1:
            return video
        b, _, num_keys, h, w = video.shape
        if num_keys < 2:
            raise ValueError("interpolation needs at least two key frames, got 1")
        per_window = min((self.num_frames - 1) // frame_skip, num_keys - 1)  # intervals between key frames
        # The last window is moved back to end with the video, so that every window is full.
        starts = [min(s, num_keys - 1 - per_window) for s in range(0, num_keys - 1, per_window)]
        out = video.new_zeros(b, 3, (num_keys - 1) * frame_skip + 1, h, w)
        length = per_window * frame_skip + 1
        places = torch.arange(per_window + 1, device=video.device) * frame_skip
        masked = torch.ones(self.num_frames, dtype=torch.bool, device=video.device)
        masked[places] = False
        chunks = [starts[i : i + MAX_WINDOWS] for i in range(0, len(starts), MAX_WINDOWS)]
        for i, chunk in enumerate(chunks):
            windows = video.new_zeros(len(chunk), b, 3, self.num_frames, h, w)
            for window, start in zip(windows, chunk, strict=True):
                window[:, :, places] = video[:, :, start : start + per_window + 1]
            filled = self.fill(
                windows.flatten(0, 1),
                masked.expand(len(chunk) * b, -1),
                None if image_embed is None else image_embed.repeat(len(chunk), 1),
                fps.repeat(len(chunk)),
                num_steps=num_steps,
                guidance_scale=guidance_scale,
                generator=generator,
                progress=part_of(progress, i, len(chunks)),
            )
            for window, start in zip(filled.unflatten(0, (-1, b)), chunk, strict=True):
                out[:, :, start * frame_skip : start * frame_skip + length] = window[:, :, :length]
        return out
