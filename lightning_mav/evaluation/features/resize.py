"""Converts videos in [-1, 1] to the input that a feature network expects, its input contract."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ...data.codecs.pixels import middle_square

FILTERS = ("bilinear", "bicubic")
CROPS = ("none", "square")


@dataclass(frozen=True)
class InputContract:
    """The input that a network expects; metrics depend on all of it.

    Args:
        size: Height and width; None leaves videos as they are.
        filter: ``bilinear`` or ``bicubic``; None without ``size``.
        antialias: Whether the filter is widened when it downsamples, as in Pillow.
        crop: ``square`` cuts out the middle square first, ``none`` squeezes the whole frame.
        quantise: Whether pixels are rounded to the 256 levels that a file would hold, before resizing.
        low: Value of black.
        high: Value of white; values that the filter makes lower than black or higher than white are clipped.
    """

    size: int | None
    filter: str | None
    antialias: bool
    crop: str
    quantise: bool
    low: float
    high: float

    def __post_init__(self) -> None:
        if (self.size is None) != (self.filter is None) or self.filter not in (None, *FILTERS):
            raise ValueError(
                f"a size needs a filter of {', '.join(FILTERS)}, got {self.size=} {self.filter=}"
            )
        if self.crop not in CROPS:
            raise ValueError(f"crop must be one of {', '.join(CROPS)}, got {self.crop!r}")


def prepare(video: Tensor, contract: InputContract) -> Tensor:
    """Converts videos ``(B, 3, F, H, W)`` in [-1, 1] to size and range of the contract, in single precision.

    Pixels are resized in the range 0 to 255. Bicubic resizing is in double precision: with antialiasing it
    then equals Pillow's for images of mode F, except for the last bit, and thus clean-fid's resizing (Parmar
    et al. 2022).
    """
    pixels = ((video.float() + 1) * 127.5).clamp(0, 255)
    if contract.quantise:
        pixels = pixels.round()
    if contract.crop == "square":
        pixels = middle_square(pixels)
    if contract.size is not None and pixels.shape[-2:] != (contract.size, contract.size):
        assert contract.filter is not None
        frames = rearrange(pixels, "b c f h w -> (b f) c h w")
        exact = frames.double() if contract.filter == "bicubic" else frames
        size = (contract.size, contract.size)
        frames = F.interpolate(exact, size, mode=contract.filter, antialias=contract.antialias)
        pixels = rearrange(frames.to(torch.float32), "(b f) c h w -> b c f h w", b=len(video)).clamp(0, 255)
    return pixels * ((contract.high - contract.low) / 255) + contract.low
