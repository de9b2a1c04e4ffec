"""Enlarges videos that are in memory by the super-resolution stages of a cascade."""

from typing import Any

import torch
from torch import Tensor

from .cascade import Cascade
from .cascade_output import CascadeOutput
from .models.sampling import DEFAULT, Sampling
from .models.tiling import TILE
from .models.upscaling import upscale_frames
from .stage_table import LAST, enlarging
from .utils.errors import BadValueError
from .utils.tensors import VIDEOS, check_pixels


def upscale(
    cascade: Cascade,
    video: Tensor,
    fps: float,
    *,
    first: str = "sr_lt",
    until: str = LAST,
    tile: int = TILE,
    sampling: Sampling = DEFAULT,
) -> CascadeOutput:
    """Enlarges a video of any size by the super-resolution stages; its shape and frame rate stay.

    What comes out is as many times as large as the scales of the stages say. For a video that does not fit
    into memory see ``models.upscaling.upscale_frames``.

    Args:
        cascade: All stages.
        video: Videos ``(B, 3, F, H, W)`` in [-1, 1].
        fps: Their frame rate.
        first: First stage to run, ``sr_lt`` or ``sr_h``.
        until: Last stage to run.
        tile: Side of the squares that are enlarged at a time, in pixels of the result; 64 or more.
        sampling: How to sample.

    Raises:
        ValueError: If there are no such stages, or one is not loaded.
    """
    models = {name: getattr(cascade, name) for name in enlarging(first, until)}
    if None in models.values():
        raise BadValueError(f"this cascade lacks {' or '.join(models)}: load it")
    options: dict[str, Any] = {"sampling": sampling, "tile": tile, "precision": cascade.precision}
    large = []
    for one in check_pixels("video", video, VIDEOS).cpu():
        frames = upscale_frames(models, one.unbind(1), fps, num_frames=one.shape[1], **options)
        large.append(torch.stack([*frames], dim=1))
    result = torch.stack(large)
    return CascadeOutput(result, fps, {until: result}, {}, {until: fps}, cascade.known.ground)
