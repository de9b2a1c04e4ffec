"""Draws the frame-rate response."""

import math
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from ...worlds.micro.world import SHAPES
from .speeds import AT_REST, SOURCES

WIDTH, HEIGHT = 256, 280  # size of a panel, in pixels
LEFT, TOP, RIGHT, BOTTOM = 40, 84, 248, 250  # position of its axes
INKS = dict(zip(SOURCES, ("black", "blue", "red"), strict=True))


def plot_response(response: dict[str, Any]) -> Image.Image:
    """Draws speed per frame against frame rate, both on logarithmic axes, in a panel for each shape."""
    rates = sorted(response["fps"])
    known = [s for source in SOURCES for entry in response[source].values() for s in entry["speed"] if s]
    bottom = max(AT_REST, min(known, default=AT_REST)) / 1.2
    top = 1.2 * max(known, default=1.0)
    small, font = ImageFont.load_default(11), ImageFont.load_default(13)
    plot = Image.new("RGB", (WIDTH * len(SHAPES), HEIGHT), "white")
    draw = ImageDraw.Draw(plot)
    for panel, shape in enumerate(SHAPES):
        left = panel * WIDTH

        def place(fps: float, speed: float, left: int = left) -> tuple[float, float]:
            across, up = _part(fps, rates[0], rates[-1]), _part(max(speed, bottom), bottom, top)
            return left + LEFT + across * (RIGHT - LEFT), BOTTOM - up * (BOTTOM - TOP)

        draw.rectangle((left + LEFT, TOP, left + RIGHT, BOTTOM), outline="grey")
        draw.text((left + LEFT, 4), f"{shape}: speed per frame, by fps", fill="black", font=font)
        for fps in rates:
            draw.text((place(fps, bottom)[0] - 6, BOTTOM + 4), f"{fps:g}", fill="black", font=small)
        for tick in (tick for tick in (0.003, 0.01, 0.03, 0.1, 0.3, 1) if bottom < tick < top):
            draw.text((left + 4, place(rates[0], tick)[1] - 6), f"{tick:g}", fill="black", font=small)
        for line, (source, ink) in enumerate(INKS.items()):
            entry = response[source][shape]
            slope = "-" if entry["slope"] is None else f"{entry['slope']:.2f}"
            draw.text((left + LEFT, 24 + 18 * line), f"{source}: slope {slope}", fill=ink, font=font)
            if entry["n"]:
                points = sorted(zip(response["fps"], entry["speed"], strict=True))
                draw.line([place(*point) for point in points], fill=ink, width=2)
    return plot


def _part(value: float, low: float, high: float) -> float:
    """Returns the position of a value on a logarithmic axis: 0 at ``low``, 1 at ``high``."""
    return math.log(value / low) / math.log(high / low)
