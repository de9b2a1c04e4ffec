"""A trial of an application: what it draws, how that is judged, and what else is judged in the same way.

Controls and ceilings go through the same judge as what is generated. So a true video must pass, and one
without motion must not.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ...intervals import mean_interval, wilson
from ..sampling import CascadeSampler

Values = dict[str, Tensor]  # by measure, a value of each video, ``(N,)``; booleans say what is right
Interval = dict[str, float]  # ``value, low, high, n``
Draw = Callable[[CascadeSampler, str], Tensor]  # given the name of the trial

GENERATED, TRUE, REPEATED, BLENDED = "generated", "true", "repeated", "blended"
ANOTHER, SHUFFLED, STATIC = "another's", "shuffled", "static"


@dataclass(frozen=True)
class Bar:
    """What a measure must reach.

    Args:
        measure: Its name.
        limit: The least it may be, or the most. The whole interval of a gain must be above.
        at_least: Whether ``limit`` is the least.
        over: A baseline; what must reach the limit is then the gain over it, video by video.
    """

    measure: str
    limit: float
    at_least: bool = True
    over: str | None = None


@dataclass(frozen=True)
class Outcome:
    """A bar, what was measured, and whether that reaches it."""

    bar: Bar
    found: Interval
    met: bool


@dataclass
class Trial:
    """One use of an application.

    Args:
        name: Of the trial; it begins with the command.
        draw: Draws the videos, ``(N, 3, F, S, S)``.
        judge: Measures videos.
        others: Controls and ceilings, as long as what is drawn.
        bars: What must be reached.
        fps: Frame rate.
    """

    name: str
    draw: Draw
    judge: Callable[[Tensor], Values]
    others: dict[str, Tensor]
    bars: list[Bar]
    fps: float


@dataclass
class TrialResult:
    """What a trial found.

    Args:
        trial: The trial.
        video: What was drawn.
        values: Values of each video, by kind of video: what was generated comes first.
    """

    trial: Trial
    video: Tensor
    values: dict[str, Values] = field(default_factory=dict)

    def intervals(self) -> dict[str, dict[str, Interval]]:
        """Returns intervals by measure and kind of video."""
        kinds = self.values.items()
        return {name: {kind: interval(own[name]) for kind, own in kinds} for name in self.values[GENERATED]}

    def outcomes(self, kind: str = GENERATED) -> list[Outcome]:
        """Holds a kind of video against the bars."""
        return [reached(bar, self.values[kind], self.values) for bar in self.trial.bars]


def try_out(trial: Trial, sampler: CascadeSampler) -> TrialResult:
    """Draws the videos of a trial, and judges them and the others."""
    video = trial.draw(sampler, trial.name).float()
    videos = {GENERATED: video, **trial.others}
    return TrialResult(trial, video, {kind: trial.judge(one) for kind, one in videos.items()})


def reached(bar: Bar, own: Values, all_values: dict[str, Values]) -> Outcome:
    """Holds values against a bar."""
    values = own[bar.measure]
    if bar.over is not None:
        values = values.double() - all_values[bar.over][bar.measure].double()
        found = interval(values)
        return Outcome(bar, found, found["low"] > bar.limit)
    found = interval(values)
    met = found["value"] >= bar.limit if bar.at_least else found["value"] <= bar.limit
    return Outcome(bar, found, met)


def interval(values: Tensor) -> Interval:
    """Returns the share of True, or the mean, of ``(N,)`` with its 95% interval."""
    return wilson(values) if values.dtype == torch.bool else mean_interval(values.tolist())


def drawn(function: Callable[..., Any], *videos: Tensor, **given: Any) -> Draw:
    """Returns what draws with an application of the library, some videos at a time.

    Args:
        function: Called as ``function(cascade, *videos, sampling=sampling, **given)``.
        videos: Its inputs, ``(N, ...)`` each.
        given: Its other arguments.
    """

    def draw(sampler: CascadeSampler, name: str) -> Tensor:
        return torch.cat(
            [
                function(sampler.cascade, *(one[rows] for one in videos), sampling=sampling, **given).video
                for rows, sampling in sampler.batches(name, len(videos[0]))
            ]
        )

    return draw


def bars(*wanted: tuple[str, float | None]) -> list[Bar]:
    """Returns the bars of measures that must be at least so high; those of None are left out."""
    return [Bar(measure, limit) for measure, limit in wanted if limit is not None]
