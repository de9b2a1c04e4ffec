"""What a report shows: in which order, and with how many digits."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from .results import Figure, ShownVideo, Table

ARROWS = {"lower": "\N{DOWNWARDS ARROW}", "higher": "\N{UPWARDS ARROW}"}
MISSING = "-"
NUM_RANKED = 4  # best samples shown by each score, and worst
_NUMBER = re.compile(r"[-+]?\d[\d.,]*%?( \[.*\])?|-|")


class Ranking(NamedTuple):
    """The ends of the samples in the order of one score, the best and the worst of each first."""

    score: str
    best: list[ShownVideo]
    worst: list[ShownVideo]


def decimals(values: Iterable[float]) -> int:
    """Returns the digits after the point for numbers that stand together: two, or four significant ones."""
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    return 2 if largest >= 10 or largest == 0 else min(8, 3 - math.floor(math.log10(largest)))


def figure_decimals(*figures: Figure) -> int:
    """Returns the digits after the point that a figure, or the same one of several reports, is shown with."""
    return decimals(
        number
        for figure in figures
        for number in (figure.value, figure.low, figure.high, *figure.published.values())
        if number is not None
    )


def score_decimals(samples: Iterable[ShownVideo]) -> dict[str, int]:
    """Returns the digits after the point of each score of the samples, the same for all of them."""
    values: dict[str, list[float]] = {}
    for sample in samples:
        for name, value in sample.scores.items():
            values.setdefault(name, []).append(value)
    return {name: decimals(found) for name, found in values.items()}


def interval(figure: Figure, digits: int) -> str:
    """Returns ``[low, high]``, or nothing where there is none."""
    if figure.low is None or figure.high is None:
        return ""
    return f"[{figure.low:.{digits}f}, {figure.high:.{digits}f}]"


def systems(figures: Iterable[Figure]) -> list[str]:
    """Returns the systems that there are numbers in print of, in the order they are met."""
    return list(dict.fromkeys(system for figure in figures for system in figure.published))


def rankings(samples: Sequence[ShownVideo], num: int = NUM_RANKED) -> list[Ranking]:
    """Returns the best and the worst samples by every score that at least two samples have.

    No sample is both; of equal ones the first comes first.
    """
    names = dict.fromkeys(name for sample in samples for name in sample.scores)
    found = []
    for name in names:
        scored = [sample for sample in samples if name in sample.scores]
        ranked = sorted(scored, key=lambda sample: -sample.scores[name])
        count = min(num, len(ranked) // 2)
        if count:
            found.append(Ranking(name, ranked[:count], ranked[::-1][:count]))
    return found


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested settings as one mapping from dotted keys; empty mappings stay as they are."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def format_value(value: Any) -> str:
    """Returns a setting as text: words as they are, all else as in JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def numeric_columns(table: Table) -> list[bool]:
    """Says of each column whether it holds numbers alone, and is better set flush right."""
    return [all(_NUMBER.fullmatch(row[i]) for row in table.rows) for i in range(len(table.header))]
