"""Checks of images, videos and embeddings that users give."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .errors import BadValueError

IMAGES, VIDEOS = "(B, 3, H, W)", "(B, 3, F, H, W)"
DRAWN_FROM = ("video", "still", "first", "second")  # videos that functions of the stages take, by name
BEYOND = 0.1  # how far values may lie outside [-1, 1], as after resizing with a sharp filter


def check_floats(name: str, value: Any, shape: str) -> Tensor:
    """Returns a tensor as float32.

    Args:
        name: What the caller calls it.
        value: A tensor of floats.
        shape: Its shape, such as ``(B, 3, H, W)``: letters stand for any size but 0.

    Raises:
        ValueError: If it is anything else, naming it.
    """
    if not isinstance(value, Tensor) or not value.is_floating_point():
        kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise BadValueError(f"{name} must be a tensor of floats, got {kind}")
    sizes = shape.strip("()").split(", ")
    if value.ndim != len(sizes) or not all(map(_fits, value.shape, sizes)):
        raise BadValueError(f"{name} must be {shape}, each 1 or more, got {tuple(value.shape)}")
    return value.detach().float()


def _fits(size: int, text: str) -> bool:
    return size == int(text) if text.isdigit() else size > 0


def check_pixels(name: str, value: Any, shape: str) -> Tensor:
    """Returns ``IMAGES`` or ``VIDEOS`` in [-1, 1] as float32; values at most 0.1 outside are clipped.

    Raises:
        ValueError: If they are anything else, naming them.
    """
    if isinstance(value, Tensor) and value.dtype == torch.uint8:
        raise BadValueError(
            f"{name} must be floats in [-1, 1], got bytes: divide them by 127.5 and subtract 1"
        )
    value = check_floats(name, value, shape)
    least, most = (float(x) for x in torch.aminmax(value))
    if not -1 - BEYOND <= least <= most <= 1 + BEYOND:  # NaN is refused, too
        raise BadValueError(f"{name} must lie in [-1, 1], got values from {least:.4g} to {most:.4g}")
    return value.clamp(-1, 1)


def check_made(made: Mapping[str, Any], image_embed: Tensor) -> dict[str, Tensor]:
    """Returns the videos of some stages as float32; they must be as many as the embeddings.

    Raises:
        ValueError: If one is of another type or shape, naming its stage.
    """
    checked = {name: check_floats(f"made[{name!r}]", video, VIDEOS) for name, video in made.items()}
    check_batches(image_embed=image_embed, **checked)
    return checked


def check_inputs(given: Mapping[str, Any], embed_dim: int) -> dict[str, Any]:
    """Checks what a stage draws from: videos, and an embedding ``(B, embed_dim)``, all as many as each other.

    Values of videos are not checked, as they may come from a stage before.

    Raises:
        ValueError: If a tensor is of another type or shape, naming it.
    """
    shapes = {"image_embed": f"(B, {embed_dim})", **dict.fromkeys(DRAWN_FROM, VIDEOS)}
    checked = {name: check_floats(name, given[name], shapes[name]) for name in given if name in shapes}
    check_batches(**checked)
    return {**given, **checked}


def check_batches(**tensors: Tensor) -> None:
    """Refuses tensors of different numbers of samples.

    Raises:
        ValueError: If they differ, naming them.
    """
    if len({len(value) for value in tensors.values()}) > 1:
        sizes = " and ".join(f"{len(value)} of {name}" for name, value in tensors.items())
        raise BadValueError(f"as many are needed of each, got {sizes}")
