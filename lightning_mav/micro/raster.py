"""Coverage of simple shapes by signed distance: the same geometry at every image size."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

SHAPES = ("ball", "star", "square", "triangle", "ring", "cross")
# Half width and half height of each shape of radius 1, the star at any angle.
EXTENT = torch.tensor([[0.9, 0.9], [1.12, 1.12], [0.8, 0.8], [0.953, 0.825], [0.98, 0.98], [1.0, 1.0]])
# Area of each shape of radius 1, and how far below its position its centroid lies.
AREA = torch.tensor([2.545, 1.514, 2.56, 1.572, 2.231, 2.204])
SAG = torch.tensor([0.0, 0.0, 0.0, 0.275, 0.0, 0.0])

MIN_WORKING_SIZE = 64  # small images are drawn at this size and averaged
CHUNK_ELEMENTS = 2**20  # working pixels drawn at once, 4 MB for each temporary

STAR_TIP, STAR_NOTCH = 1.12, 0.46  # distances from the centre
COS36, SIN36 = math.cos(math.pi / 5), math.sin(math.pi / 5)


def _ball(x: Tensor, y: Tensor, radius: Tensor) -> Tensor:
    return torch.hypot(x, y) - 0.9 * radius


def _star(x: Tensor, y: Tensor, radius: Tensor) -> Tensor:
    # Reflections fold the plane into half a tip; its edge is one straight line.
    x, y = x.abs(), -y
    for side in (1, -1):
        beyond = 2 * (side * COS36 * x - SIN36 * y).clamp(min=0)
        x, y = x - side * COS36 * beyond, y + SIN36 * beyond
    x = x.abs()
    edge_x, edge_y = STAR_NOTCH * SIN36, STAR_NOTCH * COS36 - STAR_TIP
    length = math.hypot(edge_x, edge_y)
    return x * (-edge_y / length) + (y - STAR_TIP * radius) * (edge_x / length)


def _square(x: Tensor, y: Tensor, radius: Tensor) -> Tensor:
    return torch.maximum(x.abs(), y.abs()) - 0.8 * radius


def _triangle(x: Tensor, y: Tensor, radius: Tensor) -> Tensor:
    y = y - 0.275 * radius  # the position is the middle of the bounding box, above the centroid
    return torch.maximum(y, x.abs() * (math.sqrt(3) / 2) - y / 2) - 0.55 * radius


def _ring(x: Tensor, y: Tensor, radius: Tensor) -> Tensor:
    return (torch.hypot(x, y) - 0.74 * radius).abs() - 0.24 * radius


def _cross(x: Tensor, y: Tensor, radius: Tensor) -> Tensor:
    x, y, arm = x.abs(), y.abs(), 0.33 * radius
    return torch.minimum(torch.maximum(x - radius, y - arm), torch.maximum(x - arm, y - radius))


DISTANCES: tuple[Callable[[Tensor, Tensor, Tensor], Tensor], ...] = (
    _ball,
    _star,
    _square,
    _triangle,
    _ring,
    _cross,
)


def pixel_centres(size: int, device: torch.device | None = None) -> Tensor:
    """Returns the ``(size,)`` coordinates of pixel centres in [-1, 1]."""
    return (torch.arange(size, device=device) + 0.5) * (2 / size) - 1


def _coverage_of(shape: int, places: Tensor, image_size: int, factor: int) -> Tensor:
    """Draws one kind of shape at ``(n, 4)`` places, ``(n, image_size, image_size)``."""
    size = image_size * factor
    grid = pixel_centres(size, places.device)
    x_0, y_0, radius, angle = places[:, :, None, None].unbind(dim=1)
    x, y = grid[None, None, :] - x_0, grid[None, :, None] - y_0
    if SHAPES[shape] == "star":
        x, y = x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()
    alpha = (0.5 - DISTANCES[shape](x, y, radius) * (size / 2)).clamp(0, 1)
    return F.avg_pool2d(alpha[:, None], factor)[:, 0]


def coverage(shape: Tensor, places: Tensor, image_size: int) -> Tensor:
    """Draws the share of each pixel that a shape covers, ``(N, image_size, image_size)`` in [0, 1].

    Draws at twice the image size or more and averages; in chunks, so that memory stays small.

    Args:
        shape: Index into ``SHAPES``, ``(N,)``.
        places: Position x (to the right), y (down), radius and angle (of stars), ``(N, 4)``.
        image_size: Height and width of the image.
    """
    factor = max(2, math.ceil(MIN_WORKING_SIZE / image_size))
    chunk_size = max(1, CHUNK_ELEMENTS // (image_size * factor) ** 2)
    alpha = places.new_empty(len(shape), image_size, image_size)
    for kind in range(len(SHAPES)):
        for chunk in (shape == kind).nonzero()[:, 0].split(chunk_size):
            alpha[chunk] = _coverage_of(kind, places[chunk], image_size, factor)
    return alpha
