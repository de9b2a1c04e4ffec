"""Layout of reports: the order of what they show, and the number of digits."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from .results import Figure, ShownVideo, Table

ARROWS = {"lower": "\N{DOWNWARDS ARROW}", "higher": "\N{UPWARDS ARROW}"}
MISSING = "-"
NUM_RANKED = 4  # best samples, and worst samples, shown for each score
_NUMBER = re.compile(r"[-+]?\d[\d.,]*%?( \[.*\])?|-|")


class Ranking(NamedTuple):
    """The best and the worst samples by one score, the most extreme ones first."""

    score: str
    best: list[ShownVideo]
    worst: list[ShownVideo]


def decimals(values: Iterable[float]) -> int:
    """Returns the decimal places of numbers shown together: two, or more for four significant digits."""
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    return 2 if largest >= 10 or largest == 0 else min(8, 3 - math.floor(math.log10(largest)))


def figure_decimals(*figures: Figure) -> int:
    """Returns the decimal places of a figure, or of the same figure of several reports."""
    return decimals(
        number
        for figure in figures
        for number in (figure.value, figure.low, figure.high, *figure.published.values())
        if number is not None
    )


def score_decimals(samples: Iterable[ShownVideo]) -> dict[str, int]:
    """Returns the decimal places of each score, the same for all samples."""
    values: dict[str, list[float]] = {}
    for sample in samples:
        for name, value in sample.scores.items():
            values.setdefault(name, []).append(value)
    return {name: decimals(found) for name, found in values.items()}


def interval(figure: Figure, digits: int) -> str:
    """Returns ``[low, high]``, or an empty string if there is no interval."""
    if figure.low is None or figure.high is None:
        return ""
    return f"[{figure.low:.{digits}f}, {figure.high:.{digits}f}]"


def systems(figures: Iterable[Figure]) -> list[str]:
    """Returns the systems that have published numbers, in the order of first appearance."""
    return list(dict.fromkeys(system for figure in figures for system in figure.published))


def rankings(samples: Sequence[ShownVideo], num: int = NUM_RANKED) -> list[Ranking]:
    """Returns the best and the worst samples by every score that at least two samples have.

    No sample is in both lists; samples of equal score are ranked in their given order.
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
    """Returns for each column whether it holds only numbers, and so is better aligned right."""
    return [all(_NUMBER.fullmatch(row[i]) for row in table.rows) for i in range(len(table.header))]
