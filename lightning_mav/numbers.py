"""Numbers that users give: finite, and in a range."""

import math
from typing import Any

from .textfile import shortened

MAX_SEED = 2**63 - 1  # what torch's generators take
MAX_COUNT = 10**7  # of samples, steps, pixels and the like: beyond what memory holds
MAX_GUIDANCE = 10**4  # guidance that far leaves nothing of a picture, and numbers stay finite


def in_range(value: Any, low: float, high: float = math.inf) -> bool:
    """Whether a value is a finite number from ``low`` to ``high``; NaN, truth values and texts are not."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    # Not math.isfinite: it fails for whole numbers beyond 1e308.
    return low <= value <= high and value != math.inf


def range_text(low: float, high: float = math.inf) -> str:
    """Says which numbers are meant: ``from 1 to 30``, or ``at least 1, at most 10000000``."""
    if high <= 1000:
        return f"from {low} to {high}"
    return f"at least {low}" + (f", at most {high}" if high < math.inf else "")


def check_number(name: str, value: Any, low: float, high: float = math.inf) -> None:
    """Refuses what is not a finite number from ``low`` to ``high``.

    Raises:
        ValueError: If it is not, naming it.
    """
    if not in_range(value, low, high):
        raise ValueError(f"{name} must be {range_text(low, high)}, got {shortened(value)}")
