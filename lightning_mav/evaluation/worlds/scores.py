"""Do videos match their prompts? Reads appearance and motion off the pixels."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...worlds.micro.detectors import MOTIONS, detect_frames, detect_videos
from ...worlds.micro.world import SHAPES, render_images, render_videos
from ..intervals import wilson
from .prompts import Prompts

CHUNK_PIXELS = 2**24  # pixels rendered or read at once


class Reading(NamedTuple):
    """What detectors see in ``N`` videos, each ``(N,)``; the motion is None for stills."""

    shape: Tensor
    colour: Tensor
    motion: Tensor | None


def read(video: Tensor) -> Reading:
    """Reads videos ``(N, 3, F, S, S)`` in [-1, 1], or stills if ``F`` is 1."""
    if video.shape[2] == 1:
        frames = detect_frames(video[:, :, 0])
        return Reading(frames.shape, frames.colour, None)
    chunks = [detect_videos(chunk) for chunk in video.split(_chunk(*video.shape[2:4]))]
    fields = ((chunk.shape, chunk.colour, chunk.motion) for chunk in chunks)
    return Reading(*(torch.cat(field) for field in zip(*fields, strict=True)))


def read_truth(
    appearances: Tensor, fps: float, num_frames: int, image_size: int, generator: torch.Generator
) -> Reading:
    """Reads true videos of ``(N, 4)`` appearances, or true stills, rendered a few at a time."""
    readings = []
    for chunk in appearances.split(_chunk(num_frames, image_size)):
        if num_frames == 1:
            video = render_images(chunk, image_size, generator)[:, :, None]
        else:
            video = render_videos(chunk, fps, num_frames, image_size, generator)
        readings.append(read(video))
    shape, colour, motion = zip(*readings, strict=True)
    return Reading(torch.cat(shape), torch.cat(colour), None if motion[0] is None else torch.cat(motion))


def figures(appearances: Tensor, reading: Reading) -> dict[str, dict[str, float]]:
    """Returns the share of videos that are ``right`` for ``(N, 4)`` appearances, with intervals."""
    return {name: wilson(found) for name, found in right(appearances, reading).items()}


def right(appearances: Tensor, reading: Reading) -> dict[str, Tensor]:
    """Returns which videos match the ``(N, 4)`` appearances asked for, ``(N,)`` for each attribute.

    ``appearance`` is shape and colour together, ``motion`` the one that belongs to the shape asked for,
    ``everything`` all three.
    """
    shape, colour = reading.shape == appearances[:, 0], reading.colour == appearances[:, 1]
    found = {"appearance": shape & colour, "shape": shape, "colour": colour}
    if reading.motion is not None:
        motion = reading.motion == appearances[:, 0]
        found |= {"motion": motion, "everything": shape & colour & motion}
    return found


def score(prompts: Prompts, reading: Reading) -> dict[str, Any]:
    """Returns ``figures`` of each split, and a confusion matrix per attribute over both splits."""
    report: dict[str, Any] = {
        name: figures(prompts.appearances[rows], _part(reading, rows))
        for name, rows in (("seen", ~prompts.held_out), ("held_out", prompts.held_out))
    }
    asked = prompts.appearances[:, 0]
    report["confusion"] = {"shape": _confusion(asked, reading.shape, (*SHAPES, "other"))}
    if reading.motion is not None:
        report["confusion"]["motion"] = _confusion(asked, reading.motion, MOTIONS)
    return report


def _confusion(asked: Tensor, found: Tensor, names: tuple[str, ...]) -> dict[str, dict[str, int]]:
    """Counts what was found for each shape that was asked for."""
    return {
        shape: {name: int(((asked == i) & (found == j)).sum()) for j, name in enumerate(names)}
        for i, shape in enumerate(SHAPES)
    }


def _part(reading: Reading, rows: Tensor) -> Reading:
    motion = None if reading.motion is None else reading.motion[rows]
    return Reading(reading.shape[rows], reading.colour[rows], motion)


def _chunk(num_frames: int, image_size: int) -> int:
    return max(1, CHUNK_PIXELS // (num_frames * image_size**2))
