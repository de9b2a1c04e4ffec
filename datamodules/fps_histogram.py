"""The frame rates that training would draw from videos, and how they are distributed."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lightning_mav.data.codecs.decode import VIDEO_FORMATS
from lightning_mav.data.codecs.probe import frame_times
from lightning_mav.data.shards.reader import Sample, Shards
from lightning_mav.datamodules.clips import ClipSampler
from lightning_mav.utils.errors import reason_of

NUM_BINS = 20


@dataclass
class Histogram:
    """Counts of values between edges, ``(N,)`` and ``(N + 1,)``."""

    edges: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, values: list[float], low: float, high: float) -> "Histogram":
        """Counts values between bounds, which are widened if some values lie outside."""
        low, high = min(low, *values), max(high, *values)
        counts, edges = np.histogram(values, NUM_BINS, (low, high if high > low else low + 1))
        return cls(edges, counts)

    def lines(self, width: int = 50) -> list[str]:
        """Draws it in text."""
        longest = max(1, int(self.counts.max()))
        return [
            f"{low:6.2f} to {high:6.2f} fps {'#' * ceil(count * width / longest):<{width}} {count}"
            for low, high, count in zip(self.edges, self.edges[1:], self.counts.tolist(), strict=False)
        ]

    def image(self, title: str) -> Image.Image:
        """Draws it as a bar chart."""
        width, height, margin = 900, 420, 50
        image = Image.new("RGB", (width, height), "white")
        draw, font = ImageDraw.Draw(image), ImageFont.load_default(14)
        draw.text((margin, 14), title, fill="black", font=ImageFont.load_default(16))
        step, longest = (width - 2 * margin) / len(self.counts), max(1, int(self.counts.max()))
        base = height - margin
        for number, count in enumerate(self.counts.tolist()):
            left, tall = margin + number * step, round(count / longest * (base - 60))
            if count:
                draw.rectangle((left + 1, base - tall, left + step - 2, base), fill="#3b6ea5")
            draw.text(
                (left + 2, base - tall - 16), str(count), fill="#555555", font=ImageFont.load_default(11)
            )
        draw.line((margin, base, width - margin, base), fill="black")
        for number in range(0, len(self.edges), 4):
            place = margin + number * step
            draw.line((place, base, place, base + 5), fill="black")
            draw.text((place, base + 8), f"{self.edges[number]:.1f}", fill="black", font=font, anchor="mt")
        draw.text(
            (width // 2, height - 18), "frames per second of a clip", fill="black", font=font, anchor="mt"
        )
        return image


def sample_rates(
    shards: Shards,
    numbers: Iterable[int],
    choose: ClipSampler,
    num_draws: int,
    seed: int,
    problems: Counter[str],
) -> list[float]:
    """Draws clips of videos as training would, and returns their frame rates.

    Args:
        shards: Shards with the videos; samples that are not videos are ignored.
        numbers: Numbers of the samples to draw clips from.
        choose: Chooses the frames of a clip, as in training.
        num_draws: Clips drawn from each video.
        seed: Decides the clips.
        problems: Receives the reasons why no clip could be drawn from a video.
    """

    def rates_of(sample: Sample, number: int) -> list[float]:
        rng, rates = np.random.default_rng([seed, number]), list[float]()
        for suffix in sample.keys() & VIDEO_FORMATS.keys():
            times = frame_times(sample[suffix], suffix)
            rates += [choose(times, rng)[1] for _ in range(num_draws)]
        return rates

    def skip(number: int, error: Exception) -> None:
        problems[reason_of(error)] += 1

    return [rate for rates in shards.make_each(rates_of, numbers, skip) for rate in rates]
