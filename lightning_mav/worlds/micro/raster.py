"""Draws simple shapes by signed distance: the share of each pixel that a shape covers, at any image size."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

SHAPES = ("ball", "star", "square", "triangle", "ring", "cross")
# Half width and half height of each shape of radius 1, the star at any angle.
EXTENT = torch.tensor([[0.9, 0.9], [1.45, 1.45], [0.8, 0.8], [0.953, 0.825], [0.98, 0.98], [1.0, 1.0]])
# Area of each shape of radius 1, and how far below its position its centroid lies.
AREA = torch.tensor([2.545, 2.538, 2.56, 1.572, 2.231, 2.204])
SAG = torch.tensor([0.0, 0.0, 0.0, 0.275, 0.0, 0.0])

MIN_WORKING_SIZE = 64  # small images are drawn at this size and averaged
CHUNK_ELEMENTS = 2**18  # working pixels drawn at once, 1 MB for each temporary
MARGIN = 3  # working pixels that the soft edge reaches beyond a shape's extent, at the sharpest tip

STAR_TIP, STAR_NOTCH = 1.45, 0.596  # distances from the centre, for the area of a ball
COS36, SIN36 = math.cos(math.pi / 5), math.sin(math.pi / 5)


def _norm(x: Tensor, y: Tensor) -> Tensor:
    return (x.square() + y.square()).sqrt_()


def _ball(x: Tensor, y: Tensor, radius: Tensor) -> Tensor:
    return _norm(x, y).sub_(0.9 * radius)


def _star(x: Tensor, y: Tensor, radius: Tensor) -> Tensor:
    # Reflections fold the plane into half of one tip, whose edge is one straight line.
    x, y = x.abs(), -y
    for side in (1, -1):
        beyond = (side * COS36 * x).sub_(y, alpha=SIN36).clamp_(min=0)
        x, y = x.sub_(beyond, alpha=2 * side * COS36), y.add_(beyond, alpha=2 * SIN36)
    edge_x, edge_y = STAR_NOTCH * SIN36, STAR_NOTCH * COS36 - STAR_TIP
    length = math.hypot(edge_x, edge_y)
    distance = x.abs_().mul_(-edge_y / length).add_(y, alpha=edge_x / length)
    return distance.sub_(STAR_TIP * edge_x / length * radius)


def _square(x: Tensor, y: Tensor, radius: Tensor) -> Tensor:
    return torch.maximum(x.abs(), y.abs()).sub_(0.8 * radius)


def _triangle(x: Tensor, y: Tensor, radius: Tensor) -> Tensor:
    y = y - 0.275 * radius  # the position is the middle of the bounding box, above the centroid
    return torch.maximum(y, x.abs() * (math.sqrt(3) / 2) - y / 2).sub_(0.55 * radius)


def _ring(x: Tensor, y: Tensor, radius: Tensor) -> Tensor:
    return _norm(x, y).sub_(0.74 * radius).abs_().sub_(0.24 * radius)


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


def _rasterise_shape(kind: int, places: Tensor, x: Tensor, y: Tensor, image_size: int, factor: int) -> Tensor:
    """Rasterises one shape at places ``(n, 4)``, columns ``x`` and rows ``y``, each ``(n, width)``."""
    size = image_size * factor
    grid = pixel_centres(size, places.device)
    fine = torch.arange(factor, device=places.device)
    columns, rows = ((line[:, :, None] * factor + fine).flatten(1) for line in (x, y))
    x_0, y_0, radius, angle = places[:, :, None, None].unbind(dim=1)
    right, down = grid[columns][:, None, :] - x_0, grid[rows][:, :, None] - y_0
    if SHAPES[kind] == "star":
        cos, sin = angle.cos(), angle.sin()
        right, down = right * cos + down * sin, down * cos - right * sin
    alpha = DISTANCES[kind](right, down, radius).mul_(-size / 2).add_(0.5).clamp_(0, 1)
    return F.avg_pool2d(alpha[:, None], factor)[:, 0]


def coverage(shape: Tensor, places: Tensor, image_size: int) -> Tensor:
    """Draws the share of each pixel that a shape covers, ``(N, image_size, image_size)`` in [0, 1].

    Draws at twice the image size or more, and averages. Only a window around each shape is drawn. Shapes of
    the same kind and about the same size are drawn together, in chunks that take little memory.

    Args:
        shape: Index into ``SHAPES``, ``(N,)``.
        places: Position x (to the right), y (down), radius and angle (of stars), ``(N, 4)``.
        image_size: Height and width of the image.
    """
    factor = max(2, math.ceil(MIN_WORKING_SIZE / image_size))
    alpha = places.new_zeros(len(shape), image_size, image_size)
    for kind in shape.unique().tolist():
        left = (shape == kind).nonzero()[:, 0]
        left = left[places[left, 2].argsort(descending=True)]
        while len(left):
            # The largest shape comes first: half the width of its box in pixels, and a width that is enough.
            reach = float(places[left[0], 2] * EXTENT[kind].max()) * image_size / 2 + MARGIN / factor
            width = math.ceil(2 * reach) + 1 if 2 * reach + 1 < image_size else image_size
            chunk_size = max(1, CHUNK_ELEMENTS // (width * factor) ** 2)
            chunk, left = left[:chunk_size], left[chunk_size:]
            corner = ((places[chunk, :2] + 1) * (image_size / 2) - reach).floor().long()
            corner = corner.clamp(0, image_size - width)
            window = corner[:, :, None] + torch.arange(width, device=places.device)
            x, y = window.unbind(dim=1)
            drawn = _rasterise_shape(kind, places[chunk], x, y, image_size, factor)
            alpha[chunk[:, None, None], y[:, :, None], x[:, None, :]] = drawn
    return alpha
