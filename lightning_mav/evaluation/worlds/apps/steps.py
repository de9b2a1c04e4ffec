"""How much changes from one frame to the next: jumps where videos were joined."""

import torch
from torch import Tensor

from .trials import Values

AT_REST = 1 / 255  # half of one of 256 levels; what moves less than this is as good as at rest


def steps(video: Tensor) -> Tensor:
    """Returns the mean absolute change between frames of ``(N, 3, F, S, S)``, ``(N, F - 1)``."""
    return video.float().diff(dim=2).abs().mean(dim=(1, 3, 4))


def seams(given: Tensor, jumps: Tensor) -> Values:
    """Compares the largest of the jumps at seams with the largest step inside the original.

    Args:
        given: The original, ``(N, 3, F, S, S)``.
        jumps: Changes at the seams, ``(N, K)``.
    """
    inner = steps(given).amax(dim=1).clamp(min=AT_REST)
    ratio = jumps.amax(dim=1) / inner
    return {"seam / largest inner step": ratio, "no jump at the seam": ratio <= 1}


def closing(video: Tensor, num_given: int) -> Tensor:
    """Returns the steps from the end of the original over what was added to the beginning, ``(N, K)``."""
    return steps(torch.cat([video[:, :, num_given - 1 :], video[:, :, :1]], dim=2))
