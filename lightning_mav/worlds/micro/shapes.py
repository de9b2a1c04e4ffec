"""Reads shape, colour and place of the one object off the pixels of an image; nothing here is learnt."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .raster import AREA, SAG, SHAPES, coverage, pixel_centres
from .world import BACKGROUND_RGB, COLOUR_RGB, PULSE_MEAN, RADIUS

OTHER_SHAPE = len(SHAPES)
MAX_SIZE = 32  # larger images are averaged down to this size first
CHUNK_FRAMES = 1024  # frames judged at once

MIN_COVER = (
    0.15  # fainter pixels are background with noise; an edge pixel of true coverage .15 matters little
)
FIRM_COVER = 0.5  # pixels with more coverage, and those next to them, are the object
MIN_CONTRAST = (
    0.35  # RGB distance of object and background; in the world .88 or more, in noise of .05 about .2
)
MAX_RESIDUAL = 0.25  # RMS that a mixture of two colours cannot explain; 0 in a clean render, .5 in noise
MIN_IOU = 0.6  # overlap with the best template; clean renders of 16 pixels reach .74 or more


class FrameReadings(NamedTuple):
    """What is seen in ``N`` images, each field a tensor of ``N`` (or ``(N, 2)``).

    Attributes:
        shape: Index into ``SHAPES``; ``OTHER_SHAPE`` where no template fits or nothing is there.
        colour: Index of the nearest colour.
        size: 0 small, 1 large; of a ring, which pulses, only a guess.
        background: Index of the nearest background.
        iou: Overlap with the templates, ``(N, 6)``.
        clear: Whether there is one object of one colour on one background.
        centroid: x and y in [-1, 1].
        area: Area of the object; that of the frame is 4.
        phase: Five-fold moment, ``(N,)`` complex; its angle is five times that of a star.
    """

    shape: Tensor
    colour: Tensor
    size: Tensor
    background: Tensor
    iou: Tensor
    clear: Tensor
    centroid: Tensor
    area: Tensor
    phase: Tensor


def segment(images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Splits ``(N, 3, S, S)`` images into a coverage ``(N, S, S)`` and two colours ``(N, 3)``.

    The background colour is the median of all pixels, the object's colour the median of the pixels farthest
    from that. Every pixel is taken as a mixture of both.

    Returns:
        Coverage, object colour, background colour and the unexplained RMS ``(N,)``.
    """
    size, pixels = images.shape[-1], images.flatten(2)
    background = pixels.median(dim=-1).values
    offset = pixels - background[:, :, None]
    farthest = offset.norm(dim=1).topk(max(4, size * size // 64)).indices
    colour = pixels.gather(2, farthest[:, None].expand(-1, 3, -1)).median(dim=-1).values
    axis = (colour - background)[:, :, None]
    cover = ((offset * axis).sum(dim=1) / axis.square().sum(dim=1).clamp(min=1e-4)).clamp(0, 1)
    residual = (offset - axis * cover[:, None]).square().mean(dim=(1, 2)).sqrt()
    cover = cover.view(-1, size, size)
    near = F.max_pool2d(cover, 3, stride=1, padding=1) > FIRM_COVER
    return cover * near * (cover > MIN_COVER), colour, background, residual


def moments(cover: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns centroid ``(N, 2)``, area ``(N,)`` and five-fold phase ``(N,)`` of ``(N, S, S)`` coverages."""
    grid = pixel_centres(cover.shape[-1], cover.device)
    mass = cover.sum(dim=(1, 2)).clamp(min=1e-3)
    centroid = torch.stack([cover.sum(dim=1) @ grid, cover.sum(dim=2) @ grid], dim=-1) / mass[:, None]
    x, y = grid[None, None, :] - centroid[:, 0, None, None], grid[None, :, None] - centroid[:, 1, None, None]
    radius = torch.hypot(x, y)
    weight = cover * radius**3  # the tips count most
    angle = torch.atan2(x.expand_as(weight), -y.expand_as(weight))  # clockwise from the top
    phase = torch.polar(weight, 5 * angle).sum(dim=(1, 2)) / weight.sum(dim=(1, 2)).clamp(min=1e-6)
    return centroid, mass * (2 / cover.shape[-1]) ** 2, phase


def match_templates(cover: Tensor, centroid: Tensor, area: Tensor, phase: Tensor) -> Tensor:
    """Returns the overlap ``(N, 6)`` with each shape, drawn at the same place with the same area."""
    ious = []
    for kind in range(len(SHAPES)):
        radius = (area / AREA[kind]).sqrt().clamp(0.05, 1)
        y = centroid[:, 1] - SAG[kind] * radius
        places = torch.stack([centroid[:, 0], y, radius, phase.angle() / 5], dim=-1)
        shape = torch.full_like(radius, kind, dtype=torch.long)
        template = coverage(shape, places, cover.shape[-1])
        union = torch.maximum(cover, template).sum(dim=(1, 2)).clamp(min=1e-3)
        ious.append(torch.minimum(cover, template).sum(dim=(1, 2)) / union)
    return torch.stack(ious, dim=-1)


def size_index(shape: Tensor, area: Tensor) -> Tensor:
    """Returns 0 for small and 1 for large, given shapes and areas (a ring's at the middle of its pulse)."""
    kind = shape.clamp(max=len(SHAPES) - 1)
    radius = (area / AREA.to(area)[kind]).sqrt()
    mean = torch.where(kind == SHAPES.index("ring"), PULSE_MEAN, 1.0)
    return (radius > RADIUS.mean() * mean).long()


def _read(images: Tensor) -> FrameReadings:
    cover, colour, background, residual = segment(images)
    centroid, area, phase = moments(cover)
    iou = match_templates(cover, centroid, area, phase)
    contrast = (colour - background).norm(dim=1)
    best = iou.max(dim=1)
    clear = (contrast > MIN_CONTRAST) & (residual < MAX_RESIDUAL) & (best.values > MIN_IOU)
    shape = torch.where(clear, best.indices, OTHER_SHAPE)
    return FrameReadings(
        shape=shape,
        colour=torch.cdist(colour, COLOUR_RGB.to(colour)).argmin(dim=1),
        size=size_index(shape, area),
        background=torch.cdist(background, BACKGROUND_RGB.to(background)).argmin(dim=1),
        iou=iou,
        clear=clear,
        centroid=centroid,
        area=area,
        phase=phase,
    )


def detect_frames(images: Tensor) -> FrameReadings:
    """Reads images ``(N, 3, S, S)`` in [-1, 1], of 16 pixels or more."""
    images = images.detach().float()
    if images.shape[-1] > MAX_SIZE:
        images = F.adaptive_avg_pool2d(images, MAX_SIZE)
    chunks = [_read(chunk) for chunk in images.split(CHUNK_FRAMES)]
    return FrameReadings(*(torch.cat(field) for field in zip(*chunks, strict=True)))
