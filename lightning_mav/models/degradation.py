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

# The strengths of BSR, each drawn evenly from a range (Zhang et al., 2021; its published code).
NOISES = (4 / 255, 50 / 255)  # standard deviation, of frames in [-1, 1]
JPEG_QUALITIES = (95, 30)  # best and worst
JPEG_PROB = 0.9  # of the JPEG that may come anywhere; the one at the end always comes
RADIUS = 12  # of the largest kernels, in pixels


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


def degrade(video: Tensor, level: Tensor, scale: int) -> Tensor:
    """Blurs, shrinks, noises and compresses frames: the input of an upsampler as cameras and files spoil it.

    BSR (Zhang et al., 2021, Designing a Practical Degradation Model, section 3), which unCLIP, appendix C,
    takes for its second upsampler. In random order come two blurs, a resize to any size, the shrinking to
    the final size (always after that resize), noise and a JPEG; another JPEG ends it. Strengths and order are
    those of its published code at level 1, and lower levels scale the strengths down. Left out are its
    model of a camera's sensor, and the halving that comes first in a quarter of the pictures at scale 4.

    All frames of a video share order, strengths and noise, so that a still stays still. Random numbers come
    from torch's global generator.

    Args:
        video: Large videos in [-1, 1], ``(B, 3, F, S*H, S*W)`` with a ``scale`` of ``S``.
        level: How strong it is, ``(B,)`` in [0, 1].
        scale: How many times smaller the result is.

    Returns:
        Small videos in [-1, 1], ``(B, 3, F, H, W)``.
    """
    rows = [_degraded(one, most, scale) for one, most in zip(video.split(1), level.tolist(), strict=True)]
    return torch.cat(rows)


def _degraded(video: Tensor, level: float, scale: int) -> Tensor:
    """Degrades one video ``(1, 3, F, S*H, S*W)``."""
    size = [side // scale for side in video.shape[-2:]]
    any_size = 1 + level * _between(0, 2 * scale - 1)
    steps: list[Callable[[Tensor], Tensor]] = [
        lambda frames: _blur(frames, level, scale),
        lambda frames: _blur(frames, level, scale),
        lambda frames: _resize(frames, [round(s * scale / any_size) for s in size], level, scale),
        lambda frames: _resize(frames, size, level, scale),
        lambda frames: _noise(frames, level),
        lambda frames: _jpeg(frames, level) if float(torch.rand(())) < JPEG_PROB else frames,
    ]
    order = torch.randperm(len(steps)).tolist()
    first, last = sorted((order.index(2), order.index(3)))
    order[first], order[last] = 2, 3  # any size comes before the final one
    for i in order:
        video = steps[i](video).clamp(-1, 1)
    return _jpeg(video, level)


def _between(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))


def _filter(video: Tensor, kernels: Tensor) -> Tensor:
    """Filters the frames of ``(B, C, F, H, W)`` by the kernels ``(B, K, K)``."""
    radius = kernels.shape[-1] // 2
    planes = F.pad(video.flatten(1, 2), [radius] * 4, mode="reflect")
    weights = kernels.repeat_interleave(planes.shape[1], dim=0)[:, None].to(video.dtype)
    out = F.conv2d(planes.flatten(0, 1)[None], weights, groups=len(weights))
    return out.view(video.shape)


def _blur(video: Tensor, level: float, scale: int) -> Tensor:
    """Blurs by a Gaussian, as often round as with different widths in two directions."""
    if float(torch.rand(())) < 0.5:
        sigmas = [level * math.sqrt(_between(0, 4 + scale)) for _ in range(2)]
    else:
        sigmas = [level * _between(0, 2 + 0.2 * scale)] * 2
    return _gaussian(video, sigmas, math.pi * float(torch.rand(())))


def _gaussian(video: Tensor, sigmas: list[float], angle: float = 0.0) -> Tensor:
    """Blurs by a Gaussian with two standard deviations in pixels, the first of them along ``angle``."""
    radius = min(RADIUS, math.ceil(3 * max(sigmas)), min(video.shape[-2:]) - 1)
    place = torch.arange(-radius, radius + 1.0)
    y, x = torch.meshgrid(place, place, indexing="ij")
    along = x * math.cos(angle) + y * math.sin(angle)
    across = y * math.cos(angle) - x * math.sin(angle)
    a, b = (max(sigma, 1e-3) for sigma in sigmas)
    kernel = torch.exp(-0.5 * ((along / a).square() + (across / b).square()))
    return _filter(video, (kernel / kernel.sum()).to(video.device)[None])


def _resize(video: Tensor, size: list[int], level: float, scale: int) -> Tensor:
    """Resizes by a filter drawn at random; in a quarter of the cases blurs and takes single pixels."""
    mode = ("area", "bilinear", "bicubic", "nearest-exact")[int(torch.randint(4, ()))]
    if mode == "nearest-exact":
        video = _gaussian(video, [level * _between(0.1, 0.6 * scale)] * 2)
    frames = video.transpose(1, 2).flatten(0, 1)
    size = [max(2, side) for side in size]  # the kernels of a blur need two pixels
    frames = F.interpolate(frames, size=size, mode=mode, antialias=mode in ("bilinear", "bicubic"))
    return frames.unflatten(0, (len(video), -1)).transpose(1, 2)


def _noise(video: Tensor, level: float) -> Tensor:
    """Adds Gaussian noise, the same to all frames: coloured, grey, or with channels that go together."""
    kind, sigma = float(torch.rand(())), level * _between(*NOISES)
    noise = torch.randn_like(video[:, :, :1])
    if kind < 0.4:
        return video + sigma * noise[:, :1]
    if kind < 0.6:  # any covariance of the three, up to the strongest noise
        mix = torch.linalg.qr(torch.randn(3, 3)).Q * torch.rand(3).sqrt()
        noise, sigma = torch.einsum("dc,bcfhw->bdfhw", mix.to(noise), noise), level * NOISES[1]
    return video + sigma * noise


def _jpeg(video: Tensor, level: float) -> Tensor:
    """Writes and reads the frames as JPEG."""
    # Not at the top: sampling needs neither.
    from PIL import Image

    from ..data.codecs.pixels import from_uint8, to_frames

    best, worst = JPEG_QUALITIES
    quality = round(best + level * _between(0, worst - best))
    frames = []
    for pixels in to_frames(video[0]).numpy():
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=quality)
        frames.append(torch.from_numpy(np.array(Image.open(file))))
    return from_uint8(torch.stack(frames).movedim(-1, 0)[None]).to(video)
