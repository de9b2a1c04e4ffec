"""A report as a page that needs nothing but the files in its folder."""

from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import quote

import jinja2
from markdown_it import MarkdownIt
from markupsafe import Markup

from . import layout
from .results import Figure, Report

PAGES = Path(__file__).parent / "pages"
STILLS = (".gif", ".png", ".jpg", ".jpeg", ".webp")
EAGER = 48  # videos whose first frame is loaded at once; more would exceed what browsers keep open
WIDTH, MARGIN = 200, 8  # of a chart, in pixels


class Interval(NamedTuple):
    """A measured figure on the line of a chart, in pixels; ``which`` names its report."""

    which: str
    text: str
    at: float
    low: float | None
    high: float | None


class Tick(NamedTuple):
    """A published number on the same line."""

    text: str
    at: float


class Chart(NamedTuple):
    """Figures of the same name and the published numbers, on one line."""

    intervals: list[Interval]
    ticks: list[Tick]
    ends: tuple[str, str]


def to_html(report: Report) -> str:
    """Returns ``index.html``."""
    charts = [chart_of([("", figure)]) for figure in report.figures]
    figures = list(zip(report.figures, charts, strict=True))
    return render("report.html", report=report, figures=figures)


def render(name: str, **values: Any) -> str:
    """Fills in a template of ``pages``; all values are escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGES, encoding="utf-8"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"link": link, "prose": prose, "format_value": layout.format_value}
    environment.globals |= {
        "arrows": layout.ARROWS,
        "eager": EAGER,
        "figure_decimals": layout.figure_decimals,
        "flatten": layout.flatten,
        "interval": layout.interval,
        "is_still": is_still,
        "missing": layout.MISSING,
        "numeric_columns": layout.numeric_columns,
        "rankings": layout.rankings,
        "score_decimals": layout.score_decimals,
        "systems": layout.systems,
        "width": WIDTH,
    }
    return environment.get_template(name).render(**values)


def chart_of(figures: list[tuple[str, Figure]]) -> Chart | None:
    """Draws figures of one name, each with the name of its report; None if all numbers are equal."""
    first = figures[0][1]
    digits = layout.figure_decimals(*(figure for _, figure in figures))
    numbers = list(first.published.values())
    for _, figure in figures:
        numbers += [value for value in (figure.value, figure.low, figure.high) if value is not None]
    low, high = min(numbers), max(numbers)
    if low == high:
        return None

    def place(value: float) -> float:
        return round(MARGIN + (WIDTH - 2 * MARGIN) * (value - low) / (high - low), 1)

    intervals = []
    for which, figure in figures:
        text = f"{which} {figure.value:.{digits}f} {layout.interval(figure, digits)}".strip()
        ends = (None if end is None else place(end) for end in (figure.low, figure.high))
        intervals.append(Interval(which, text, place(figure.value), *ends))
    ticks = [Tick(f"{system} {value:.{digits}f}", place(value)) for system, value in first.published.items()]
    return Chart(intervals, ticks, (f"{low:.{digits}f}", f"{high:.{digits}f}"))


def link(name: str, base: str = "") -> str:
    """Returns the relative URL of a file in a report's folder, whose path from the page is ``base``."""
    path = quote(f"{base}/{name}" if base else name)
    return f"./{path}"  # so that a name that begins with "//" is no host


def is_still(name: str) -> bool:
    """Returns whether a browser shows the file as an image, animated or not, instead of a video."""
    return PurePosixPath(name).suffix.lower() in STILLS


def prose(text: str) -> Markup:
    """Renders Markdown without HTML and without images, which could be fetched from elsewhere."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    return Markup(markdown.render(text))
