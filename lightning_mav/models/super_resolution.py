"""SR_l^t and SR_h: small frames become large ones (Make-A-Video, section 3.2)."""

import math
from typing import Unpack, get_args

import torch
from torch import Tensor

from ..diffusion import GaussianDiffusion, SampleOptions, Sampler, SeededNoise, fork_seed, sample_noise
from ..nn import Pseudo3DUNet
from ..utils.numbers import check_number
from .base import DiffusionModel, part_of
from .degradation import Corruption, blur
from .frames import resize_frames


class SuperResolution(DiffusionModel):
    """Diffusion super-resolution, conditioned on the upsampled video.

    While training, the condition is corrupted to a random level, so that the stage tolerates flaws of the
    stage before it. The level is a condition of its own, if the network has one. Corruptions:

    - ``noise``: Gaussian noise is added to the upsampled video (Ho et al., 2021, Cascaded Diffusion Models,
      section 4); the level is the noise's standard deviation. When sampling it is added as well.
    - ``blur``: the small video is blurred by a Gaussian of 3 x 3 pixels (the same; unCLIP, appendix C, for
      the first upsampler, at 0.6); the level is the Gaussian's standard deviation in those pixels. When
      sampling it is blurred as well.
    - ``bsr``: in training the small video is what ``degrade`` makes of the large one, as cameras and files
      would (unCLIP, appendix C, for the second upsampler); the level scales its strengths, up to 1. When
      sampling nothing is degraded: the level tells the network how flawed its input is.

    Args:
        net: Denoiser with ``cond_channels=3``.
        diffusion: Forward process.
        sampler: How to sample.
        scale: Ratio of the two resolutions.
        max_noise_level: Upper end of the levels of the corruption in training.
        noise_level: Level of the corruption when sampling.
        corruption: What is done to the condition.
        clamp_input: Whether the upsampled video is clamped to [-1, 1], which bicubic filters overshoot; False
            for public weights that were trained without, such as Karlo's.

    Raises:
        ValueError: If the corruption is unknown, or a level out of range.
    """

    net: Pseudo3DUNet
    frame_by_frame = True

    def __init__(
        self,
        net: Pseudo3DUNet,
        diffusion: GaussianDiffusion,
        sampler: Sampler,
        *,
        scale: int = 4,
        max_noise_level: float = 0.3,
        noise_level: float = 0.05,
        corruption: Corruption = "noise",
        clamp_input: bool = True,
    ) -> None:
        super().__init__(net, diffusion, sampler)
        check_number("scale", scale, 1)
        if not 0 <= noise_level <= max_noise_level <= 1:
            raise ValueError(
                f"need 0 <= noise_level <= max_noise_level <= 1, got {noise_level=} and {max_noise_level=}"
            )
        if corruption not in get_args(Corruption):
            raise ValueError(
                f"corruption must be one of {', '.join(get_args(Corruption))}, got {corruption!r}"
            )
        self.scale = scale
        self.max_noise_level = max_noise_level
        self.noise_level = noise_level
        self.corruption = corruption
        self.clamp_input = clamp_input

    def condition(self, low: Tensor, level: Tensor, noise: Tensor) -> Tensor:
        """Returns the condition ``x_cond`` for small videos ``(B, 3, F, H, W)``: corrupted and enlarged.

        For ``bsr`` they are enlarged only; in training they are degraded already.

        Args:
            low: Small videos in [-1, 1].
            level: Levels of the corruption, ``(B,)``.
            noise: Standard normal, of the result's shape or with one frame for all; for ``noise`` alone.
        """
        if self.corruption == "noise":
            return self.corrupt(self.upsample(low), level, noise)
        if self.corruption == "blur":
            low = blur(low, level)
        return self.upsample(low)

    def enlarged(self, low: Tensor) -> tuple[int, int]:
        """Returns the height and the width of the result."""
        return low.shape[-2] * self.scale, low.shape[-1] * self.scale

    def corrupt(self, x_cond: Tensor, noise_level: Tensor, noise: Tensor) -> Tensor:
        """Noises the condition ``(B, 3, F, H, W)`` to the levels ``(B,)``, keeping its variance."""
        level = noise_level.view(-1, 1, 1, 1, 1)
        return (1 - level.square()).sqrt() * x_cond + level * noise

    def upsample(self, video: Tensor) -> Tensor:
        """Upsamples ``(B, 3, F, H, W)`` by ``scale``: the condition, and the baseline to beat."""
        large = resize_frames(video, self.enlarged(video))
        return large.clamp(-1, 1) if self.clamp_input else large

    def denoise_frames(
        self,
        low: Tensor,
        fps: Tensor | None,
        noise: Tensor,
        cond_noise: Tensor,
        options: SampleOptions,
    ) -> Tensor:
        """Upsamples ``(B, 3, F, H, W)``; both noises have the result's shape, or one frame for all."""
        level = torch.full((len(low),), self.noise_level, device=low.device)
        return self.denoise(
            noise,
            x_cond=self.condition(low, level, cond_noise),
            fps=fps,
            noise_level=level,
            **options,
        )

    def sample_frame_noise(self, low: Tensor, num_frames: int, generator: torch.Generator | None) -> Tensor:
        """Draws two noises for frames of the result, stacked: for ``x_T`` and for the condition."""
        return sample_noise((2, len(low), 3, num_frames, *self.enlarged(low)), low, generator)


class SRLT(SuperResolution):
    """SR_l^t: upsamples over space and time together, in overlapping windows of time.

    Args:
        net: Denoiser with ``cond_channels=3``.
        diffusion: Forward process.
        sampler: How to sample.
        scale: Ratio of the two resolutions.
        max_noise_level: Upper end of the levels of the corruption in training.
        noise_level: Level of the corruption when sampling.
        corruption: What is done to the condition.
        clamp_input: Whether the upsampled video is clamped to [-1, 1].
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
        corruption: Corruption = "noise",
        clamp_input: bool = True,
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
            corruption=corruption,
            clamp_input=clamp_input,
        )
        if not 0 <= overlap < num_frames:
            raise ValueError(f"overlap must lie in 0..{num_frames - 1}, got {overlap}")
        self.num_frames = num_frames
        self.overlap = overlap

    def sample(
        self,
        video: Tensor,
        fps: Tensor | None = None,
        **options: Unpack[SampleOptions],
    ) -> Tensor:
        """Maps ``(B, 3, F, H, W)`` to ``(B, 3, F, scale*H, scale*W)``; memory grows with the window alone.

        A frame in two windows has the same noise in both, that of ``x_T`` and that of every step.
        """
        total, size = video.shape[2], self.enlarged(video)
        length = min(self.num_frames, total)
        overlap = min(self.overlap, length - 1)
        num_windows = max(1, math.ceil((total - overlap) / (length - overlap)))
        out = video.new_zeros(len(video), 3, total, *size)
        if not len(video):
            return out
        generator, progress = options.get("generator"), options.get("progress")
        seed = fork_seed(generator)
        noise, done_until = video.new_zeros(2, len(video), 3, 0, *size), 0
        for i in range(num_windows):
            start = min(i * (length - overlap), total - length)
            shared = done_until - start
            fresh = self.sample_frame_noise(video, length - shared, generator)
            noise = torch.cat([noise[:, :, :, noise.shape[3] - shared :], fresh], dim=3)
            options["step_noise"] = SeededNoise(seed, range(start, start + length), dim=2)
            options["progress"] = part_of(progress, i, num_windows)
            window = self.denoise_frames(
                video[:, :, start : start + length], fps, noise[0], noise[1], options
            )
            fade = torch.arange(1, shared + 1, device=video.device) / (shared + 1)
            fade = torch.cat([fade, fade.new_ones(length - shared)])[:, None, None]
            place = out[:, :, start : start + length]
            place.lerp_(window, fade)
            done_until = start + length
        return out


class SRH(SuperResolution):
    """SR_h: upsamples frame by frame; the SAME noise for every frame keeps details in place (section 3.2).

    That is the noise of ``x_T``, of the condition and of every step of a stochastic scheduler. Its network
    has no temporal layers; the frames of a chunk differ only in their pixels.
    """

    def sample(self, video: Tensor, *, chunk_size: int = 8, **options: Unpack[SampleOptions]) -> Tensor:
        """Maps ``(B, 3, F, H, W)`` to ``(B, 3, F, scale*H, scale*W)``, ``chunk_size`` frames at a time."""
        if not len(video):
            return video.new_zeros(0, 3, video.shape[2], *self.enlarged(video))
        generator, progress = options.get("generator"), options.get("progress")
        options["step_noise"] = SeededNoise(fork_seed(generator), (0,), dim=2)
        noise, cond_noise = self.sample_frame_noise(video, 1, generator)
        chunks = video.split(chunk_size, dim=2)
        parts = []
        for i, chunk in enumerate(chunks):
            options["progress"] = part_of(progress, i, len(chunks))
            parts.append(self.denoise_frames(chunk, None, noise, cond_noise, options))
        return torch.cat(parts, dim=2)
