"""Frames that the stages take from a batch, and their sizes."""

import torch
from torch import Tensor

from lightning_mav.models import resize_frames
from lightning_mav.stages.base import Batch
from lightning_mav.utils.errors import UsageError


def random_frames(video: Tensor) -> Tensor:
    """Takes one frame at random of each video ``(B, 3, F, H, W)``: ``(B, 3, H, W)``."""
    index = torch.randint(video.shape[2], (len(video),), device=video.device)
    return video[torch.arange(len(video), device=video.device), :, index]


def shrink_frames(video: Tensor, size: int) -> Tensor:
    """Averages ``(B, 3, F, H, W)`` down to a height and width of ``size``.

    Raises:
        UsageError: If they are smaller.
    """
    if video.shape[-1] < size:
        raise UsageError(
            f"frames of {video.shape[-1]} px are read for a network of {size} px: raise image_size of --data"
        )
    return video if video.shape[-1] == size else resize_frames(video, size, mode="area")


def as_video(batch: Batch) -> Tensor:
    """Returns the video of a batch; an image is a video of one frame."""
    return batch["video"] if "video" in batch else batch["image"][:, :, None]
