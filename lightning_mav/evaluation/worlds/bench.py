"""The benches of ``mav evaluate`` that measure a world: each has the same parts."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ..report import Report


class WorldBench(NamedTuple):
    """The parts of a bench.

    Attributes:
        load_settings: Reads the settings from a YAML file; keywords replace values of the file.
        evaluate: Judges a cascade, given settings, scope and progress.
        title_of: Returns the report's title, given the scope.
        to_report: Builds the report of an evaluation, given the scope.
        write_pictures: Draws sheets and plots into a folder, and lists them in a report.
        write_videos: Writes videos into a folder, and lists them in a report.
        last_stage: What can be judged, the usual first, and the last stage of the cascade that each needs.
        weights: Scale whose weights are judged if none are named.
    """

    load_settings: Callable[..., Any]
    evaluate: Callable[..., Any]
    title_of: Callable[[str], str]
    to_report: Callable[[Any, str], Report]
    write_pictures: Callable[[Any, Report, Path], None]
    write_videos: Callable[[Any, Report, Path], None]
    last_stage: dict[str, str]
    weights: str


def find_bench(name: str) -> WorldBench:
    """Returns the parts of ``micro``, ``emoji``, ``apps`` or ``apps_emoji``."""
    if name == "micro":
        return _micro()
    return _emoji() if name == "emoji" else _apps(name)


def _micro() -> WorldBench:
    from . import micro, report, settings, sheets

    return WorldBench(
        settings.load_micro_settings,
        micro.evaluate_micro,
        report.title_of,
        report.to_report,
        sheets.write_pictures,
        sheets.write_videos,
        micro.LAST_STAGE,
        "micro",
    )


def _emoji() -> WorldBench:
    from .emoji import evaluate, pictures, report, settings
    from .micro import LAST_STAGE

    return WorldBench(
        settings.load_emoji_bench,
        evaluate.evaluate_emoji,
        report.title_of,
        report.to_report,
        pictures.write_pictures,
        pictures.write_videos,
        LAST_STAGE,
        "emoji",
    )


def _apps(name: str) -> WorldBench:
    from .apps import evaluate, pictures, report, settings

    return WorldBench(
        settings.load_apps_settings,
        evaluate.evaluate_apps,
        partial(report.title_of, name),
        partial(report.to_report, name),
        pictures.write_pictures,
        pictures.write_videos,
        evaluate.LAST_STAGE,
        "emoji" if name == "apps_emoji" else "micro",
    )
