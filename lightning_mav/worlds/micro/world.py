"""The micro-world: coloured shapes, each kind with its own way of moving.

A ball bounces up and down, a star spins in place, a square slides sideways, a triangle orbits, a ring pulses
and a cross drifts along a diagonal; all turn back at the walls and stay inside the frame. A scene is drawn
first (``sample_scenes``, ``sample_trajectories``) and rasterised afterwards, so that one scene can be seen at
several sizes. Space is [-1, 1] across the frame, y down; time is in seconds.
"""

import math
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from .raster import EXTENT, SHAPES, coverage

WORLD_VERSION = 2  # raise it when scenes are drawn in another way: shards on disk are then out of date

COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
SIZES = ("small", "large")
BACKGROUNDS = ("dark", "grey", "white")
ATTRIBUTES = {"shape": SHAPES, "colour": COLOURS, "size": SIZES, "background": BACKGROUNDS}

_COLOUR_BYTES = [
    (225, 35, 35),
    (245, 140, 25),
    (245, 225, 45),
    (40, 175, 65),
    (45, 210, 225),
    (45, 75, 230),
    (140, 50, 195),
    (250, 130, 190),
]
COLOUR_RGB = torch.tensor(_COLOUR_BYTES) / 127.5 - 1  # (8, 3) in [-1, 1]
BACKGROUND_RGB = torch.tensor([(22, 22, 28), (120, 120, 120), (238, 238, 238)]) / 127.5 - 1  # (3, 3)
RADIUS = torch.tensor([0.42, 0.60])

ALL = torch.tensor(list(product(*(range(len(names)) for names in ATTRIBUTES.values()))))  # (288, 4)
# Held out from videos are two colours of each shape, so that each colour lacks at least one shape.
_IS_HELD_OUT = ((ALL[:, 1] - ALL[:, 0]) % 8 == 1) | ((ALL[:, 1] - ALL[:, 0]) % 8 == 5)
SEEN, HELD_OUT = ALL[~_IS_HELD_OUT], ALL[_IS_HELD_OUT]

# Seconds of a full cycle of each shape's motion in the fastest clip; the slowest takes 2.5 times as long.
# A cycle: floor to floor, one turn, there and back, once around, grow and shrink, there and back.
MIN_PERIOD = torch.tensor([1.2, 4.8, 1.6, 1.6, 1.2, 1.8])
SPEED_RANGE = 2.5
RADIUS_JITTER = 0.1
PULSE_MEAN, PULSE_SWING = 0.9, 0.25  # a ring's radius: 0.675 to 1.125 times its own
WALL = 0.02  # gap kept from the edge of the frame
NUM_DRAWS = 7  # random numbers that each scene takes, whatever it shows


class Scenes(NamedTuple):
    """Scenes of one object each: ``N`` objects at ``F`` moments.

    Attributes:
        appearances: Indices of shape, colour, size and background, ``(N, 4)``.
        places: Position x, y, radius and angle, ``(N, F, 4)``.
    """

    appearances: Tensor
    places: Tensor


def caption(appearance: Sequence[int] | Tensor) -> str:
    """Describes an appearance in full: "a small red star on a dark background"."""
    shape, colour, size, background = (int(index) for index in appearance)
    return f"a {SIZES[size]} {COLOURS[colour]} {SHAPES[shape]} on a {BACKGROUNDS[background]} background"


def captions(appearance: Sequence[int] | Tensor) -> list[str]:
    """Describes an appearance in the three shorter ways, which leave out size, background or both."""
    shape, colour, size, background = (int(index) for index in appearance)
    article = "an" if COLOURS[colour][0] in "aeiou" else "a"
    thing = f"{COLOURS[colour]} {SHAPES[shape]}"
    return [
        f"{article} {thing}",
        f"a {SIZES[size]} {thing}",
        f"{article} {thing} on a {BACKGROUNDS[background]} background",
    ]


def _sample(appearances: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor, Tensor]:
    """Samples ``(N, NUM_DRAWS)`` random numbers, the radius ``(N,)`` and the room to move ``(N, 2)``."""
    device = generator.device if generator is not None else None
    draws = torch.rand(len(appearances), NUM_DRAWS, generator=generator, device=device).to(appearances.device)
    shape, size = appearances[:, 0], appearances[:, 2]
    radius = RADIUS.to(draws)[size] * (1 + RADIUS_JITTER * (2 * draws[:, 0] - 1))
    widest = torch.where(shape == SHAPES.index("ring"), PULSE_MEAN + PULSE_SWING * PULSE_MEAN, 1.0) * radius
    room = 1 - WALL - EXTENT.to(draws)[shape] * widest[:, None]
    return draws, radius, room


def _pulse(radius: Tensor, cycle: Tensor) -> Tensor:
    return radius * PULSE_MEAN * (1 + PULSE_SWING * (2 * math.pi * cycle).sin())


def _there_and_back(cycle: Tensor) -> Tensor:
    """Goes from -1 to 1 and back at a constant speed."""
    return 4 * (cycle - torch.floor(cycle + 0.5)).abs() - 1


def sample_scenes(appearances: Tensor, generator: torch.Generator | None = None) -> Scenes:
    """Draws still scenes (``F = 1``) with the object anywhere in the frame.

    Args:
        appearances: Indices of shape, colour, size and background, ``(N, 4)``.
        generator: Source of randomness; its state alone decides the scenes.
    """
    draws, radius, room = _sample(appearances, generator)
    is_ring = appearances[:, 0] == SHAPES.index("ring")
    position = (2 * draws[:, 1:3] - 1) * room
    radius = torch.where(is_ring, _pulse(radius, draws[:, 3]), radius)
    places = torch.stack([position[:, 0], position[:, 1], radius, 2 * math.pi * draws[:, 4]], dim=-1)
    return Scenes(appearances, places[:, None])


def sample_trajectories(
    appearances: Tensor, fps: Tensor | float, num_frames: int, generator: torch.Generator | None = None
) -> Scenes:
    """Draws moving scenes: frame ``k`` shows the moment ``k / fps`` seconds after a random start.

    Args:
        appearances: Indices of shape, colour, size and background, ``(N, 4)``.
        fps: Frames per second, ``(N,)`` or one for all; it sets the moments of the frames, not the motion.
        num_frames: Number of moments.
        generator: Source of randomness; its state alone decides the scenes.
    """
    draws, radius, room = _sample(appearances, generator)
    shape, device = appearances[:, 0], appearances.device
    fps = torch.as_tensor(fps, dtype=draws.dtype, device=device).expand(len(shape))
    seconds = torch.arange(num_frames, device=device) / fps[:, None]
    period = MIN_PERIOD.to(draws)[shape] * SPEED_RANGE ** draws[:, 3]
    cycle = draws[:, 4, None] + seconds / period[:, None]
    way = torch.where(draws[:, 5:7] < 0.5, -1.0, 1.0)[:, :, None]

    centre = ((2 * draws[:, 1:3] - 1) * room)[:, :, None]
    room_x, room_y = room[:, :, None].unbind(dim=1)
    x, y = (centre + torch.zeros_like(cycle)[:, None]).unbind(dim=1)
    size, angle = radius[:, None] + torch.zeros_like(cycle), torch.zeros_like(cycle)
    turn = 2 * math.pi * way[:, 0] * cycle

    is_a = {name: (shape == index)[:, None] for index, name in enumerate(SHAPES)}
    fall = 1 - 8 * (cycle % 1) * (1 - cycle % 1)  # a parabola: 1 on the floor, -1 at the top
    y = torch.where(is_a["ball"], room_y * fall, y)
    angle = torch.where(is_a["star"], turn, angle)
    x = torch.where(is_a["square"], room_x * _there_and_back(cycle), x)
    orbit = 0.75 * torch.minimum(room_x, room_y)
    x = torch.where(is_a["triangle"], x * (1 - orbit / room_x) + orbit * turn.cos(), x)
    y = torch.where(is_a["triangle"], y * (1 - orbit / room_y) + orbit * turn.sin(), y)
    size = torch.where(is_a["ring"], _pulse(size, cycle), size)
    # A diagonal a little off the middle: whichever wall is hit first, the cross comes back the same way.
    reach = room_x - 0.3 * torch.maximum(x.abs(), y.abs())
    x = torch.where(is_a["cross"], 0.3 * x + way[:, 0] * reach * _there_and_back(cycle), x)
    y = torch.where(is_a["cross"], 0.3 * y + way[:, 1] * reach * _there_and_back(cycle), y)
    return Scenes(appearances, torch.stack([x, y, size, angle], dim=-1))


def rasterise(scenes: Scenes, image_size: int) -> Tensor:
    """Draws scenes as videos ``(N, 3, F, image_size, image_size)`` in [-1, 1]."""
    num, num_frames = scenes.places.shape[:2]
    shape, colour, _, background = scenes.appearances.unbind(dim=1)
    alpha = coverage(shape.repeat_interleave(num_frames), scenes.places.flatten(0, 1), image_size)
    alpha = alpha.view(num, 1, num_frames, image_size, image_size)
    colour_rgb = COLOUR_RGB.to(alpha)[colour].view(num, 3, 1, 1, 1)
    background_rgb = BACKGROUND_RGB.to(alpha)[background].view(num, 3, 1, 1, 1)
    return torch.lerp(background_rgb, colour_rgb, alpha)


def render_images(appearances: Tensor, image_size: int, generator: torch.Generator | None = None) -> Tensor:
    """Draws one random still of each appearance, ``(N, 3, image_size, image_size)`` in [-1, 1]."""
    return rasterise(sample_scenes(appearances, generator), image_size)[:, :, 0]


def render_videos(
    appearances: Tensor,
    fps: Tensor | float,
    num_frames: int,
    image_size: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draws one random clip of each appearance, ``(N, 3, F, image_size, image_size)`` in [-1, 1]."""
    return rasterise(sample_trajectories(appearances, fps, num_frames, generator), image_size)
