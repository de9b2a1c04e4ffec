"""Resizes images as open_clip does for its models, but without rounding to bytes."""

import torch.nn.functional as F
from torch import Tensor

INTERPOLATIONS = ("bicubic", "bilinear")
RESIZE_MODES = ("shortest", "longest", "squash")


def resized(image: Tensor, size: int, interpolation: str, resize_mode: str) -> Tensor:
    """Returns images ``(B, 3, size, size)`` in [-1, 1].

    Args:
        image: ``(B, 3, H, W)`` in [-1, 1].
        size: Height and width wanted.
        interpolation: One of ``INTERPOLATIONS``; pixels are averaged where an image shrinks.
        resize_mode: What becomes of images that are no squares: with ``shortest`` the middle is cut out, with
            ``longest`` black bars are added, with ``squash`` they are distorted.
    """
    height, width = image.shape[-2:]
    if (height, width) == (size, size):
        return image
    to = (size, size)
    if resize_mode == "shortest":  # as torchvision rounds
        short = min(height, width)
        to = (int(size * height / short), int(size * width / short))
    elif resize_mode == "longest":  # as timm rounds
        long = max(height, width)
        to = (round(size * height / long), round(size * width / long))
    image = F.interpolate(image, to, mode=interpolation, antialias=True).clamp(-1, 1)
    top, left = (round((side - size) / 2) for side in to)
    if resize_mode == "shortest":
        return image[..., top : top + size, left : left + size]
    above, before = ((size - side) // 2 for side in to)
    return F.pad(image, (before, size - to[1] - before, above, size - to[0] - above), value=-1.0)
