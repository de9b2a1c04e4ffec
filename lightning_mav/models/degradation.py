"""Corruptions of small frames, which super-resolution learns to undo."""

import io
import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Corruption = Literal["noise", "blur", "bsr"]

# Greatest strength of each step of ``degrade``.
MAX_BLUR = 2.0  # standard deviation in pixels
MAX_SHRINKING = 2.0  # times smaller
MAX_NOISE = 50 / 255  # standard deviation, of frames in [-1, 1]
JPEG_QUALITIES = (95, 30)  # best and worst
RADIUS = 3  # of the kernels of ``degrade``, in pixels


def blur(video: Tensor, sigma: Tensor) -> Tensor:
    """Blurs frames ``(B, C, F, H, W)`` by Gaussians of 3 x 3 pixels.

    Ho et al., 2021, Cascaded Diffusion Models, section 4; unCLIP, appendix C, has ``sigma`` 0.6.

    Args:
        video: Frames of at least 2 x 2 pixels.
        sigma: Standard deviations in pixels, ``(B,)``; 0 changes nothing.
    """
    side = torch.exp(-0.5 / sigma.square())
    line = torch.stack([side, torch.ones_like(side), side], dim=1)
    line = line / line.sum(dim=1, keepdim=True)
    return _filter(video, line[:, :, None] * line[:, None, :])


def degrade(video: Tensor, level: Tensor) -> Tensor:
    """Blurs, resizes, noises and compresses small frames ``(B, 3, F, H, W)`` in [-1, 1].

    After BSR (Zhang et al., 2021, Designing a Practical Degradation Model, section 3), which unCLIP,
    section 2.1, takes for its second upsampler. As there, the four come in random order and at random
    strength; the model of a camera's sensor is left out. The frames of a video share order and strengths.
    Random numbers come from torch's global generator.

    Args:
        video: Small videos.
        level: Upper ends of the strengths, ``(B,)`` in [0, 1].
    """
    steps: tuple[Callable[[Tensor, float], Tensor], ...] = (_blur, _resize, _noise, _jpeg)
    rows = []
    for one, most in zip(video.split(1), level.tolist(), strict=True):
        for i in torch.randperm(len(steps)).tolist():
            one = steps[i](one, most * float(torch.rand(())))
        rows.append(one)
    return torch.cat(rows).clamp(-1, 1)


def _filter(video: Tensor, kernels: Tensor) -> Tensor:
    """Filters the frames of ``(B, C, F, H, W)`` by the kernels ``(B, K, K)``."""
    radius = kernels.shape[-1] // 2
    planes = F.pad(video.flatten(1, 2), [radius] * 4, mode="reflect")
    weights = kernels.repeat_interleave(planes.shape[1], dim=0)[:, None].to(video.dtype)
    out = F.conv2d(planes.flatten(0, 1)[None], weights, groups=len(weights))
    return out.view(video.shape)


def _blur(video: Tensor, strength: float) -> Tensor:
    """Blurs by a Gaussian with different widths in two directions."""
    sigmas = MAX_BLUR * strength * torch.rand(2) + 1e-3
    angle = math.pi * float(torch.rand(()))
    place = torch.arange(-RADIUS, RADIUS + 1.0)
    y, x = torch.meshgrid(place, place, indexing="ij")
    along, across = (
        x * math.cos(angle) + y * math.sin(angle),
        y * math.cos(angle) - x * math.sin(angle),
    )
    kernel = torch.exp(-0.5 * ((along / sigmas[0]).square() + (across / sigmas[1]).square()))
    return _filter(video, (kernel / kernel.sum()).to(video.device)[None])


def _resize(video: Tensor, strength: float) -> Tensor:
    """Shrinks and enlarges again, each by a filter drawn at random."""
    frames = video.transpose(1, 2).flatten(0, 1)
    size = frames.shape[-2:]
    shrinking = 1 + (MAX_SHRINKING - 1) * strength
    for target in ([max(1, round(side / shrinking)) for side in size], list(size)):
        mode = ("area", "bilinear", "bicubic")[int(torch.randint(3, ()))]
        frames = F.interpolate(frames, size=target, mode=mode, antialias=mode != "area")
    return frames.unflatten(0, (len(video), -1)).transpose(1, 2)


def _noise(video: Tensor, strength: float) -> Tensor:
    """Adds Gaussian noise, grey or coloured."""
    channels = video.shape[1] if float(torch.rand(())) < 0.5 else 1
    noise = torch.randn_like(video[:, :channels])
    return video + MAX_NOISE * strength * noise


def _jpeg(video: Tensor, strength: float) -> Tensor:
    """Writes and reads the frames as JPEG."""
    # Not at the top: sampling needs neither.
    from PIL import Image

    from ..data.codecs.pixels import from_uint8, to_uint8

    best, worst = JPEG_QUALITIES
    quality = round(best + (worst - best) * strength)
    frames = []
    for pixels in to_uint8(video[0]).movedim(0, -1).cpu().numpy():
        file = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(pixels)).save(file, "JPEG", quality=quality)
        frames.append(torch.from_numpy(np.array(Image.open(file))))
    return from_uint8(torch.stack(frames).movedim(-1, 0)[None]).to(video)
