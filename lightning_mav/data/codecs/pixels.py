"""What all that handles frames shares: colours and bytes, the middle square, evenly spaced frames."""

import torch
from torch import Tensor


def to_uint8(colours: Tensor) -> Tensor:
    """Maps colours in [-1, 1], of any shape, to bytes 0..255; values outside are clipped."""
    return colours.float().add(1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)


def from_uint8(pixels: Tensor) -> Tensor:
    """Maps bytes of any shape to colours in [-1, 1]; ``to_uint8`` inverts it exactly."""
    return pixels.float().div_(127.5).sub_(1)


def to_frames(video: Tensor) -> Tensor:
    """Maps a video ``(3, F, H, W)`` in [-1, 1] to frames of bytes ``(F, H, W, 3)``, on the CPU.

    Raises:
        ValueError: If the shape is another.
    """
    if video.ndim != 4 or video.shape[0] != 3:
        raise ValueError(f"a video must be (3, F, H, W), got {tuple(video.shape)}")
    return to_uint8(video.detach().cpu()).movedim(0, -1).contiguous()


def middle_square(frames: Tensor) -> Tensor:
    """Cuts the middle square out of ``(..., H, W)``."""
    height, width = frames.shape[-2:]
    side, left, top = middle(width, height)
    return frames[..., top : top + side, left : left + side]


def middle(width: int, height: int) -> tuple[int, int, int]:
    """Returns the side of the middle square of a picture, and its left and upper edge."""
    side = min(width, height)
    return side, (width - side) // 2, (height - side) // 2


def spread(num_frames: int, num: int) -> Tensor:
    """Returns the places of ``num`` evenly spaced frames; the first and the last are among them."""
    return torch.linspace(0, num_frames - 1, num).round().long()
