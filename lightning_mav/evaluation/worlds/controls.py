"""Controls for the detectors: true videos, and videos without motion, where they must not find any."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ...worlds.micro.motion import OTHER
from ..intervals import wilson
from .scores import read


def static(video: Tensor) -> Tensor:
    """Repeats the first frame of ``(N, 3, F, S, S)``."""
    return video[:, :, :1].expand_as(video)


def jittered(video: Tensor, generator: torch.Generator, pixels: int = 2) -> Tensor:
    """Repeats the first frame, shifted at random by up to ``pixels`` in each frame."""
    size = video.shape[-1]
    wide = F.pad(video[:, :, 0], (pixels,) * 4, mode="replicate")
    shifts = torch.randint(2 * pixels + 1, (*video.shape[:1], video.shape[2], 2), generator=generator)
    clips = [
        torch.stack([image[:, y : y + size, x : x + size] for y, x in shift], dim=1)
        for image, shift in zip(wide, shifts.tolist(), strict=True)
    ]
    return torch.stack(clips)


def shuffled(video: Tensor, generator: torch.Generator) -> Tensor:
    """Puts the frames of each video in a random order."""
    order = torch.rand(len(video), video.shape[2], generator=generator).argsort(dim=1)
    return video.gather(2, order[:, None, :, None, None].expand_as(video))


def motion_shares(video: Tensor, appearances: Tensor) -> dict[str, dict[str, float]]:
    """Returns the shares of ``(N, 3, F, S, S)`` where detectors find the right motion, or any motion."""
    motion = read(video).motion
    assert motion is not None
    return {"right": wilson(motion == appearances[:, 0]), "any": wilson(motion != OTHER)}
