"""Reads shape, colour and motion off the pixels of micro-world videos; nothing here is learnt.

A reading needs no reference and no caption, so it judges generated videos in the same way as true ones.
Static, jittered, shuffled and noisy videos have the motion "other". A clip should last a second or more: in
half a second a slow orbit is hardly an arc.
"""

from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from .motion import MOTIONS, OTHER, detect_motion
from .shapes import MIN_IOU, OTHER_SHAPE, FrameReadings, detect_frames, size_index

__all__ = [
    "MOTIONS",
    "FrameReadings",
    "VideoReadings",
    "detect_frames",
    "detect_videos",
    "is_clear",
    "track_videos",
]

MIN_CLEAR = 0.9  # share of the frames that must show one object; with fewer, nothing is read


class VideoReadings(NamedTuple):
    """What is seen in ``N`` videos, each field a tensor of ``N``.

    Attributes:
        shape: Index into ``SHAPES``, of all frames together; ``len(SHAPES)`` where none fits.
        colour: Index of the colour most frames have.
        size: 0 small, 1 large.
        background: Index of the background most frames have.
        motion: Index into ``MOTIONS``; equal to ``shape`` if the object moves as its shape should.
        iou: Mean overlap with the templates of the shape.
        clear: Whether nearly all frames show one object.
    """

    shape: Tensor
    colour: Tensor
    size: Tensor
    background: Tensor
    motion: Tensor
    iou: Tensor
    clear: Tensor


def track_videos(video: Tensor) -> FrameReadings:
    """Reads each frame of ``(N, 3, F, S, S)`` in [-1, 1]; the fields are ``(N, F)`` or ``(N, F, 2)``."""
    frames = detect_frames(rearrange(video, "n c f h w -> (n f) c h w"))
    return FrameReadings(*(field.unflatten(0, (len(video), -1)) for field in frames))


def is_clear(frames: FrameReadings) -> Tensor:
    """Returns whether nearly all frames of ``(N, F)`` show one object, ``(N,)``."""
    return frames.clear.float().mean(dim=1) >= MIN_CLEAR


def detect_videos(video: Tensor) -> VideoReadings:
    """Reads videos ``(N, 3, F, S, S)`` in [-1, 1], of 16 pixels or more."""
    frames = track_videos(video)
    clear = is_clear(frames)
    iou, shape = frames.iou.mean(dim=1).max(dim=1)
    shape = torch.where(clear & (iou > MIN_IOU), shape, OTHER_SHAPE)
    motion = detect_motion(frames.centroid, frames.area, frames.phase)
    return VideoReadings(
        shape=shape,
        colour=frames.colour.mode(dim=1).values,
        size=size_index(shape, frames.area.median(dim=1).values),
        background=frames.background.mode(dim=1).values,
        motion=torch.where(clear, motion, OTHER),
        iou=iou,
        clear=clear,
    )
