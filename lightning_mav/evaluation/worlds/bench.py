"""The benches of ``mav evaluate`` that measure a world: each has the same parts."""

from collections.abc import Callable
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
    """

    load_settings: Callable[..., Any]
    evaluate: Callable[..., Any]
    title_of: Callable[[str], str]
    to_report: Callable[[Any, str], Report]
    write_pictures: Callable[[Any, Report, Path], None]
    write_videos: Callable[[Any, Report, Path], None]


def find_bench(name: str) -> WorldBench:
    """Returns the parts of ``micro`` or ``emoji``."""
    if name == "emoji":
        from .emoji import evaluate, pictures, report, settings

        return WorldBench(
            settings.load_emoji_bench,
            evaluate.evaluate_emoji,
            report.title_of,
            report.to_report,
            pictures.write_pictures,
            pictures.write_videos,
        )
    from . import micro, sheets
    from .report import title_of, to_report
    from .settings import load_micro_settings

    return WorldBench(
        load_micro_settings,
        micro.evaluate_micro,
        title_of,
        to_report,
        sheets.write_pictures,
        sheets.write_videos,
    )
