"""Sizes of frames."""

import torch.nn.functional as F
from torch import Tensor


def resize_frames(video: Tensor, size: int | tuple[int, int], *, mode: str = "bicubic") -> Tensor:
    """Resizes ``(B, C, F, H, W)`` to height and width ``size``; ``area`` averages, for going down."""
    frames = video.transpose(1, 2).flatten(0, 1)
    size = (size, size) if isinstance(size, int) else size
    frames = F.interpolate(frames, size=size, mode=mode, antialias=mode == "bicubic")
    return frames.unflatten(0, (len(video), -1)).transpose(1, 2)


def shrink(video: Tensor, size: int) -> Tensor:
    """Brings the shorter side of ``(B, 3, F, H, W)`` to ``size``; the shape stays."""
    height, width = video.shape[-2:]
    target = [max(1, round(side * size / min(height, width))) for side in (height, width)]
    if target == [height, width]:
        return video
    mode = "area" if min(height, width) > size else "bicubic"
    return resize_frames(video, (target[0], target[1]), mode=mode).clamp(-1, 1)
