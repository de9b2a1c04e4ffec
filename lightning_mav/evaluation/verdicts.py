"""Does a claim hold? A rule that compares the variants of an ablation, item by item where it can."""

from typing import Any, NamedTuple

import torch

from .intervals import mean_interval, wilson

LOWER_IS_BETTER = {"flicker", "loss"}
# What can be said of a claim, worst first.
VERDICTS = ("does not hold", "unclear", "holds")


class Outcome(NamedTuple):
    """How a comparison ended.

    Args:
        word: One of ``VERDICTS``.
        gain: By how much the better one is better, with the 95% interval of the mean of what the items
            differ by (above 0 is better, whatever the metric); None if it was not numbers that were compared
            item by item.
        wins: Items that only the better one has right, and only the other; None likewise, of shares.
    """

    word: str
    gain: dict[str, float] | None = None
    wins: tuple[int, int] | None = None


def compare(metric: str, better: dict[str, Any], than: dict[str, Any]) -> Outcome:
    """Says whether one variant is better than another by a metric.

    If both were judged on the same items, these are compared one by one: numbers by Student's paired test,
    shares by McNemar's, which asks whether the items that only one of the two has right divide like tosses
    of a coin. Else the 95% intervals decide, which must not touch.

    Args:
        metric: Its name.
        better: ``figure`` of the variant that should be better.
        than: That of the other.

    Returns:
        ``holds`` if it is better, ``does not hold`` if it is worse, at a level of 95%, else ``unclear``.
    """
    if better["items"] != than["items"]:
        if metric in LOWER_IS_BETTER:
            better, than = than, better
        return Outcome(_word(better["low"] - than["high"], better["high"] - than["low"]))
    if isinstance(better["values"][0], bool):
        pairs = list(zip(better["values"], than["values"], strict=True))
        wins = pairs.count((True, False)), pairs.count((False, True))
        share = wilson(torch.arange(sum(wins)) < wins[0]) if sum(wins) else {"low": 0, "high": 1}
        return Outcome(_word(share["low"] - 0.5, share["high"] - 0.5), wins=wins)
    sign = -1 if metric in LOWER_IS_BETTER else 1
    gain = mean_interval([sign * (a - b) for a, b in zip(better["values"], than["values"], strict=True)])
    return Outcome(_word(gain["low"], gain["high"]), gain=gain)


def verdict(words: list[str]) -> str:
    """Returns the worst of the comparisons that a claim consists of."""
    return min(words, key=VERDICTS.index)


def _word(low: float, high: float) -> str:
    """Says what an interval of a gain means."""
    if low > 0:
        return "holds"
    return "does not hold" if high < 0 else "unclear"
