"""A report as Markdown, to read in a terminal or on a page of a repository."""

import json
import re
from collections.abc import Iterable, Sequence
from urllib.parse import quote

from .layout import MISSING, figure_decimals, interval, systems
from .results import Figure, Report, Table

_SPECIAL = re.compile(r"[\\`*<&|]|\](?=[(\[:])")


def to_markdown(report: Report) -> str:
    """Returns the report without its samples, which ``index.html`` shows."""
    parts = [f"# {_text(report.title)}"]
    parts += [report.notes.strip()] if report.notes.strip() else []
    if report.figures:
        parts += ["## Figures", _figures(report.figures)]
    if report.samples:
        parts.append(f"[index.html](index.html) shows {len(report.samples)} samples.")
    for table in report.tables:
        parts += [f"## {_text(table.title)}", to_table(table)]
    for title, name in report.images:
        parts += [f"## {_text(title)}", f"![{_text(title)}]({quote(name)})"]
    settings = {
        "bench": report.bench,
        "figures": [{"name": figure.name, "settings": figure.settings} for figure in report.figures],
        "settings": report.settings,
        "weights": report.weights,
        "versions": report.versions,
        "device": report.device,
        "seconds": report.seconds,
    }
    parts += ["## Settings, weights and versions", f"```json\n{json.dumps(settings, indent=2)}\n```"]
    return "\n\n".join(parts) + "\n"


def _figures(figures: Sequence[Figure]) -> str:
    named = systems(figures)
    rows = []
    for figure in figures:
        digits = figure_decimals(figure)
        measured = f"{figure.value:.{digits}f} {interval(figure, digits)}".strip()
        published = (
            f"{figure.published[system]:.{digits}f}" if system in figure.published else MISSING
            for system in named
        )
        rows.append([figure.name, measured, str(figure.n), figure.better, *published])
    text = to_table(Table("", ["figure", "measured here", "n", "better", *named], rows))
    legend = "Measured here on n samples, with 95% intervals."
    return f"{text}\n\n{legend}" + (" The other columns are published numbers." if named else "")


def to_table(table: Table) -> str:
    """Returns a table without its title."""
    rule = ["---"] * len(table.header)
    return "\n".join([_row(map(_text, table.header)), _row(rule), *(_row(map(_text, r)) for r in table.rows)])


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _text(text: str) -> str:
    """Escapes characters with a special meaning in Markdown, or in HTML within it."""
    return _SPECIAL.sub(r"\\\g<0>", " ".join(text.split()))
