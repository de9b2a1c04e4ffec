"""Two reports side by side: what differs, and whether their numbers may be compared at all."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, TypeVar

from .layout import ARROWS, MISSING, figure_decimals, flatten, format_value, interval
from .page import Chart, chart_of, render
from .results import Figure, Report, ShownVideo, Table

T = TypeVar("T")

Pair = tuple[T | None, T | None]


@dataclass(frozen=True)
class Row:
    """A figure of two reports.

    Args:
        a: That of the first; None if only the second has it.
        b: That of the second.
    """

    a: Figure | None
    b: Figure | None

    @property
    def either(self) -> Figure:
        """The figure of the first report, or else of the second."""
        figure = self.a or self.b
        assert figure is not None
        return figure

    @property
    def digits(self) -> int:
        """Number of decimal places that both are shown with."""
        return figure_decimals(*(figure for figure in (self.a, self.b) if figure))

    @property
    def overlap(self) -> bool | None:
        """Whether the intervals share a number; None unless both have one."""
        if not self.a or not self.b:
            return None
        (low_a, high_a), (low_b, high_b) = ((figure.low, figure.high) for figure in (self.a, self.b))
        if low_a is None or high_a is None or low_b is None or high_b is None:
            return None
        return max(low_a, low_b) <= min(high_a, high_b)

    @property
    def settings(self) -> list[str]:
        """Dotted keys of the settings that differ between the two figures."""
        return [key for key, *_ in differences(self.a.settings, self.b.settings)] if self.a and self.b else []

    @property
    def difference(self) -> str:
        """The second minus the first, and which is better."""
        if not self.a or not self.b:
            return MISSING
        gain = self.b.value - self.a.value
        if gain == 0:
            return "equal"
        better = "B" if (gain > 0) == (self.a.better == "higher") else "A"
        return f"{gain:+.{self.digits}f}, {better} better"

    @property
    def chart(self) -> Chart | None:
        """Both figures on the line of one chart."""
        return chart_of([(which, figure) for which, figure in (("A", self.a), ("B", self.b)) if figure])


def compare_figures(a: Report, b: Report) -> list[Row]:
    """Pairs figures by name, those of the first report first."""
    return [Row(*pair) for pair in paired(a.figures, b.figures, lambda figure: figure.name)]


def compare_samples(a: Report, b: Report) -> list[Pair[ShownVideo]]:
    """Pairs samples by prompt."""
    return paired(a.samples, b.samples, lambda sample: sample.prompt)


def paired(a: Sequence[T], b: Sequence[T], key: Callable[[T], str]) -> list[Pair[T]]:
    """Pairs items of the same key in their order; one without a partner is paired with None."""
    by_key: dict[str, tuple[list[T], list[T]]] = defaultdict(lambda: ([], []))
    for which, items in enumerate((a, b)):
        for item in items:
            by_key[key(item)][which].append(item)
    return [pair for both in by_key.values() for pair in zip_longest(*both)]


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Returns the dotted keys whose values differ, with both values as text; ``-`` where there is none."""
    flat_a, flat_b = flatten(a), flatten(b)
    return [
        (key, *(format_value(flat[key]) if key in flat else MISSING for flat in (flat_a, flat_b)))
        for key in dict.fromkeys((*flat_a, *flat_b))
        if key not in flat_a or key not in flat_b or flat_a[key] != flat_b[key]
    ]


def incomparable(a: Report, b: Report, rows: Sequence[Row]) -> str:
    """Returns one line on why the numbers must not be compared; empty if they may be."""
    reasons = [f"the bench is {a.bench} in A and {b.bench} in B"] if a.bench != b.bench else []
    reasons += [
        f"{row.either.name} has other settings ({', '.join(row.settings)})" for row in rows if row.settings
    ]
    return f"Not comparable: {'; '.join(reasons)}" if reasons else ""


def tables(a: Report, b: Report, rows: Sequence[Row]) -> list[Table]:
    """Returns the tables for the terminal, none of them empty: figures, settings and weights."""
    figures = []
    for row in rows:
        overlap = {True: "yes", False: "no", None: MISSING}[row.overlap]
        cells = [f"{row.either.name} {ARROWS[row.either.better]}"]
        for figure in (row.a, row.b):
            cells += _measured(figure, row.digits)
        figures.append([*cells, row.difference, overlap])
    header = ["figure", "A", "n", "B", "n", "B - A", "intervals overlap"]
    return [
        table for table in (Table("Figures", header, figures), *settings_tables(a, b, rows)) if table.rows
    ]


def settings_tables(a: Report, b: Report, rows: Sequence[Row]) -> list[Table]:
    """Returns what differs: what each figure depends on, settings of the run, weights."""
    of_figures = [
        [row.either.name, *difference]
        for row in rows
        if row.a and row.b
        for difference in differences(row.a.settings, row.b.settings)
    ]
    stages = dict.fromkeys((*a.weights, *b.weights))
    hashes = {
        stage: tuple(report.weights.get(stage, {}).get("sha256") for report in (a, b)) for stage in stages
    }
    weights = [
        [stage, *(_weights(report.weights.get(stage)) for report in (a, b))]
        for stage, (one, other) in hashes.items()
        if one != other
    ]
    of_run = [list(difference) for difference in differences(a.settings, b.settings)]
    return [
        Table("What figures depend on, where it differs", ["figure", "setting", "A", "B"], of_figures),
        Table("Settings that differ", ["setting", "A", "B"], of_run),
        Table("Weights that differ", ["stage", "A", "B"], weights),
    ]


def to_html(a: Report, b: Report, folders: tuple[str, str], names: tuple[str, str]) -> str:
    """Returns a page with both reports.

    Args:
        a: The first report.
        b: The second.
        folders: Paths of their folders relative to the page's folder, with ``/``.
        names: What to call them.
    """
    rows = compare_figures(a, b)
    return render(
        "compare.html",
        reports=list(zip("AB", (a, b), names, folders, strict=True)),
        rows=rows,
        warning=incomparable(a, b, rows),
        tables=[table for table in settings_tables(a, b, rows) if table.rows],
        pairs=compare_samples(a, b),
        folders=folders,
    )


def _measured(figure: Figure | None, digits: int) -> tuple[str, str]:
    if figure is None:
        return MISSING, MISSING
    return f"{figure.value:.{digits}f} {interval(figure, digits)}".strip(), str(figure.n)


def _weights(entry: Mapping[str, str] | None) -> str:
    return f"{entry.get('sha256', '')[:12]} {entry.get('file', '')}".strip() if entry else MISSING
