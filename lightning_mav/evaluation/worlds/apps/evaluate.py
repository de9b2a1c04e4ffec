"""Tries out all applications on a world, beside controls and ceilings."""

from dataclasses import dataclass, field

import torch

from ....cascade import Cascade
from ..sampling import CascadeSampler, Progress
from .filling import GIVEN, between_trial, ends_trials
from .making import animate_trial, extend_trial, loop_trial, morph_trials, vary_trial
from .settings import AppsSettings
from .trials import Trial, TrialResult, try_out
from .worlds import World, make_world

LAST_STAGE = {"applications": "interpolation"}  # of what can be judged: all of it


@dataclass
class AppsEvaluation:
    """Results of an evaluation.

    Args:
        settings: Those of the evaluation.
        labels: What each video shows.
        results: Of each trial.
        seconds: Time of each trial.
    """

    settings: AppsSettings
    labels: list[str]
    results: list[TrialResult]
    seconds: dict[str, float] = field(default_factory=dict)


def evaluate_apps(
    cascade: Cascade, settings: AppsSettings, scope: str = "applications", progress: Progress | None = None
) -> AppsEvaluation:
    """Judges the applications of a cascade.

    Args:
        cascade: All stages up to the interpolation.
        settings: The world, numbers of videos and bars.
        scope: ``applications``.
        progress: Called as ``progress(part, done, total)``.

    Raises:
        UsageError: If the world or its judge is missing or damaged.
    """
    world, sampler = make_world(cascade, settings, progress), CascadeSampler(cascade, settings, progress)
    assert cascade.interpolation is not None
    trials = make_trials(world, settings, cascade.interpolation.num_frames, sampler.generator("clips"))
    results = [try_out(trial, sampler) for trial in trials]
    return AppsEvaluation(settings, world.labels, results, sampler.seconds)


def make_trials(world: World, settings: AppsSettings, window: int, generator: torch.Generator) -> list[Trial]:
    """Builds all trials; ``window`` is the number of frames that F fills in at once."""
    trials = [animate_trial(world, settings, by, generator) for by in ("decoder", "interpolation")]
    trials += [between_trial(world, settings.fps, skip, generator) for skip in settings.skips]
    for fps in settings.rates:
        trials += ends_trials(world, fps, generator)
        trials.append(extend_trial(world, settings, fps, window, generator))
        trials.append(loop_trial(world.clips(fps, GIVEN, generator), fps, window))
    trials.append(vary_trial(world, settings, generator))
    return trials + morph_trials(world, settings.rates[0], generator)
