"""F: frames between, before and after those given, by one masked network (Make-A-Video, section 3.3)."""

from typing import Any, Unpack

import torch
from torch import Tensor

from ..diffusion import GaussianDiffusion, SampleOptions, Sampler, SeededNoise, fork_seed, sample_noise
from ..nn import Pseudo3DUNet
from ..utils.errors import BadValueError
from ..utils.numbers import check_number, check_whole
from .base import DiffusionModel, part_of, squared_errors

MAX_WINDOWS = 8  # filled in one batch
QUIET = (2 / 255) ** 2  # least squared error of a blend that is worth correcting: one of 256 levels


def mask_frames(video: Tensor, masked: Tensor, *, blend: bool = False) -> Tensor:
    """Builds the extra input: the video without its masked frames, and the mask.

    Args:
        video: ``(B, 3, F, H, W)``.
        masked: ``(B, F)`` of booleans, True for frames to be generated.
        blend: What stands for masked frames: zeros, as in the paper, or a blend of their neighbours.

    Returns:
        ``(B, 4, F, H, W)``; the last channel is 1 where the frame is masked.
    """
    mask = masked[:, None, :, None, None].to(video.dtype)
    kept = blend_frames(video, masked) if blend else video * (1 - mask)
    return torch.cat([kept, mask.expand(-1, -1, -1, *video.shape[-2:])], dim=1)


def blend_frames(video: Tensor, masked: Tensor) -> Tensor:
    """Replaces masked frames of ``(B, 3, F, H, W)`` by a blend of the nearest ones kept before and after.

    A frame with none before it, or none after it, becomes a copy of the one on its other side. ``masked`` is
    ``(B, F)`` of booleans; each row keeps a frame.
    """
    num_frames = masked.shape[1]
    places = torch.arange(num_frames, device=masked.device)
    before = places.where(~masked, -1).cummax(dim=1).values
    after = places.where(~masked, num_frames).flip(1).cummin(dim=1).values.flip(1)
    before, after = before.where(before >= 0, after), after.where(after < num_frames, before)
    weight = (places - before) / (after - before).clamp(min=1)
    rows = torch.arange(len(video), device=masked.device)[:, None]
    frames = video.transpose(1, 2)
    weight = weight.to(video.dtype)[:, :, None, None, None]
    return torch.lerp(frames[rows, before], frames[rows, after], weight).transpose(1, 2)


class Interpolation(DiffusionModel):
    """Frame interpolation and extrapolation.

    Args:
        net: Denoiser with ``cond_channels=4``.
        diffusion: Forward process.
        sampler: How to sample.
        num_frames: Frames in the window that it was trained on.
        blend: Whether each masked frame is replaced by a blend of its neighbours instead of zeros. A
            ``residual`` network then corrects what blending would give.
        extrapolation_steps: Sampling steps of ``extend_video`` and ``join_videos``, unless the caller asks
            for another number. What comes after a video is open, so that the mean of all possibilities, which
            a single step gives, is a blur. None takes the sampler's number.
    """

    net: Pseudo3DUNet

    def __init__(
        self,
        net: Pseudo3DUNet,
        diffusion: GaussianDiffusion,
        sampler: Sampler,
        *,
        num_frames: int = 16,
        blend: bool = False,
        extrapolation_steps: int | None = None,
    ) -> None:
        super().__init__(net, diffusion, sampler)
        check_number("num_frames", num_frames, 2)
        if extrapolation_steps is not None:
            check_number("extrapolation_steps", extrapolation_steps, 1)
        self.num_frames = num_frames
        self.blend = blend
        self.extrapolation_steps = extrapolation_steps

    def loss(self, x_0: Tensor, **cond: Any) -> Tensor:
        """Returns the mean error of the clips, a scalar; for x_0 with ``blend``, relative to the blend's.

        A blend is far worse where much moves, and a copy where a side has no frame to blend with. Without
        relative errors such clips would dominate training. Values below 1 are better than ``blend_frames``.
        Errors of other predictions (eps, v) are not errors of frames and stay absolute.

        Args:
            x_0: True windows, ``(B, 3, F, H, W)``.
            cond: ``x_cond``, see ``mask_frames``, and the other arguments of ``errors``.
        """
        errors = self.errors(x_0, **cond)
        if self.blend and self.diffusion.prediction == "x_0":
            errors = errors / squared_errors(cond["x_cond"][:, :3], x_0).clamp(min=QUIET)
        return errors.mean()

    def fill(
        self,
        video: Tensor,
        masked: Tensor,
        image_embed: Tensor | None,
        fps: Tensor,
        *,
        noise: Tensor | None = None,
        **options: Unpack[SampleOptions],
    ) -> Tensor:
        """Generates the masked frames of ``(B, 3, F, H, W)``; the others are returned as they are.

        Args:
            video: Video in [-1, 1]; what masked frames hold does not matter.
            masked: ``(B, F)`` of booleans, True for frames to be generated.
            image_embed: CLIP image embedding, ``(B, D)``.
            fps: Frame rate of the window, ``(B,)``.
            noise: ``x_T``, of the shape of ``video``; drawn if not given.
            options: See ``SampleOptions``.
        """
        generated = self.denoise(
            sample_noise(video.shape, video, options.get("generator")) if noise is None else noise,
            image_embed=image_embed,
            x_cond=mask_frames(video, masked, blend=self.blend),
            fps=fps,
            **options,
        )
        return torch.where(masked[:, None, :, None, None], generated, video)

    def sample(
        self,
        video: Tensor,
        image_embed: Tensor | None,
        fps: Tensor,
        *,
        frame_skip: int = 5,
        **options: Unpack[SampleOptions],
    ) -> Tensor:
        """Maps ``(B, 3, F, H, W)`` to ``(B, 3, (F-1)*K+1, H, W)`` with ``K = frame_skip``.

        The result is made of windows of ``num_frames`` that hold key frames at 0, K, 2K, ...; neighbours
        share a key frame. With 16 frames and K = 5, key frames stand at 0, 5, 10 and 15 and five windows
        make 76 frames. Several windows are filled at once; the noise of each does not depend on how many.

        Args:
            video: Key frames in [-1, 1].
            image_embed: CLIP image embedding, ``(B, D)``.
            fps: Frame rate of the result, ``(B,)``.
            frame_skip: Frames from one key frame to the next, 1 to ``num_frames - 1``; 1 changes nothing.
            options: See ``SampleOptions``; each batch of windows has steps of its own.

        Raises:
            ValueError: If ``frame_skip`` is out of range or there are fewer than two key frames.
        """
        check_whole("frame_skip", frame_skip, 1, self.num_frames - 1)
        if frame_skip == 1:
            return video
        b, _, num_keys, h, w = video.shape
        if num_keys < 2:
            raise BadValueError("interpolation needs at least two key frames, got 1")
        out = video.new_zeros(b, 3, (num_keys - 1) * frame_skip + 1, h, w)
        if not b:
            return out
        per_window = min((self.num_frames - 1) // frame_skip, num_keys - 1)  # intervals between key frames
        # The last window is moved back to end with the video, so that every window is full.
        starts = [min(s, num_keys - 1 - per_window) for s in range(0, num_keys - 1, per_window)]
        keys = torch.stack([video[:, :, start : start + per_window + 1] for start in starts])
        filled = self._fill_windows(keys.flatten(0, 1), image_embed, fps, frame_skip, options)
        length = per_window * frame_skip + 1
        for window, start in zip(filled.unflatten(0, (-1, b)), starts, strict=True):
            out[:, :, start * frame_skip : start * frame_skip + length] = window[:, :, :length]
        return out

    def _fill_windows(
        self,
        keys: Tensor,
        image_embed: Tensor | None,
        fps: Tensor,
        frame_skip: int,
        options: SampleOptions,
    ) -> Tensor:
        """Maps the key frames of windows, ``(N*B, 3, K, H, W)``, to windows of all frames, some at a time."""
        b, places = len(fps), torch.arange(keys.shape[2], device=keys.device) * frame_skip
        masked = torch.ones(self.num_frames, dtype=torch.bool, device=keys.device)
        masked[places] = False
        windows = keys.new_zeros(*keys.shape[:2], self.num_frames, *keys.shape[3:])
        windows[:, :, places] = keys
        generator, progress = options.get("generator"), options.get("progress")
        seed = fork_seed(generator)
        noise = sample_noise(windows.shape, keys, generator)
        chunks = range(0, len(keys), MAX_WINDOWS * b)
        filled = []
        for i, first in enumerate(chunks):
            rows = range(first, min(first + MAX_WINDOWS * b, len(keys)))
            num_windows = len(rows) // b
            options["step_noise"] = SeededNoise(seed, rows, dim=0)
            options["progress"] = part_of(progress, i, len(chunks))
            part = self.fill(
                windows[rows.start : rows.stop],
                masked.expand(len(rows), -1),
                None if image_embed is None else image_embed.repeat(num_windows, 1),
                fps.repeat(num_windows),
                noise=noise[rows.start : rows.stop],
                **options,
            )
            filled.append(part)
        return torch.cat(filled)
