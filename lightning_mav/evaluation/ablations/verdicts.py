"""Does a claim hold? A rule that compares the variants of an ablation, run by run or item by item."""

from typing import Any, NamedTuple

from ..intervals import agreement, difference_interval, mean_interval

LOWER_IS_BETTER = {"flicker", "loss"}  # first words of names of metrics, such as loss_6_fps
# What can be said of a claim, worst first.
VERDICTS = ("does not hold", "no difference that counts", "unclear", "holds")
# The same for variants that were trained once each: it says nothing about other trainings.
IN_ONE_RUN = {
    "holds": "better in this run",
    "does not hold": "worse in this run",
    "no difference that counts": "no difference that counts in this run",
    "unclear": "unclear in this run",
}
ALIKE_IN_ONE_RUN = IN_ONE_RUN | {"holds": "as good in this run", "does not hold": "not as good in this run"}

Estimate = dict[str, Any]  # value, low, high, n; values (one per item); items (checksum of the items)


class Outcome(NamedTuple):
    """How a comparison ended.

    Attributes:
        word: One of ``VERDICTS``.
        gain: How much better the first variant is, in units of the metric; above 0 means better for every
            metric. ``value`` is the gain, ``low`` and ``high`` are the ends of its 95% interval.
        wins: How many items only the first variant has right, and how many only the second; None unless
            shares of the same items were compared.
    """

    word: str
    gain: dict[str, float]
    wins: tuple[int, int] | None = None


def is_lower_better(metric: str) -> bool:
    """Whether lower values of a metric are better."""
    return metric.partition("_")[0] in LOWER_IS_BETTER


def compare(
    metric: str,
    better: list[Estimate],
    baseline: list[Estimate] | float,
    *,
    smallest: float = 0.0,
    margin: float | None = None,
) -> Outcome:
    """Says whether one variant is better than another by a metric, or as good as it.

    If variants were trained several times, runs of the same seed are compared, by Student's paired t-test.
    Otherwise items are compared. If both were judged on the same items, they are paired (Student's paired
    test for numbers, Newcombe's interval for shares); if not, the intervals of both are used.

    Args:
        metric: Its name.
        better: Figures of the variant that should be better, one per run; without training there is one.
        baseline: Figures of the other variant, or a number that the first should be better than.
        smallest: Smallest effect that counts; where lower is better, as a fraction of the baseline.
        margin: If given, the two should be as good as each other within this, instead of one better.

    Returns:
        The outcome: ``holds`` if the interval of the gain lies above 0 and the gain is at least
        ``smallest``; ``does not hold`` likewise below 0; ``no difference that counts`` if the whole interval
        is nearer to 0 than ``smallest``; else ``unclear``. With a margin ``holds`` if the interval lies
        within it, ``does not hold`` if it lies outside, else ``unclear``.
    """
    if isinstance(baseline, float):  # an exact number
        baseline = [{"value": baseline, "low": baseline, "high": baseline, "items": None}]
    gain, wins = _difference(better, baseline)
    if is_lower_better(metric):
        gain = {"value": -gain["value"], "low": -gain["high"], "high": -gain["low"]}
        wins = wins and wins[::-1]
        smallest *= sum(figure["value"] for figure in baseline) / len(baseline)
    word = _word(gain, smallest) if margin is None else _word_of_equality(gain, margin)
    return Outcome(word, gain, wins)


def _difference(
    ones: list[Estimate], others: list[Estimate]
) -> tuple[dict[str, float], tuple[int, int] | None]:
    """Returns the difference of two variants' figures and, for shares of the same items, the wins."""
    if (num_runs := max(len(ones), len(others))) > 1:
        # A variant without training has one figure, which every run of the other is compared with.
        runs = zip(ones * (num_runs // len(ones)), others * (num_runs // len(others)), strict=True)
        return _mean([one["value"] - other["value"] for one, other in runs]), None
    (one,), (other,) = ones, others
    if one["items"] != other["items"]:
        return difference_interval(one, other), None
    pairs = list(zip(one["values"], other["values"], strict=True))
    if not isinstance(one["values"][0], bool):
        return _mean([a - b for a, b in pairs]), None
    wins = pairs.count((True, False)), pairs.count((False, True))
    return difference_interval(one, other, agreement(one["values"], other["values"])), wins


def _mean(differences: list[float]) -> dict[str, float]:
    interval = mean_interval(differences)
    return {key: interval[key] for key in ("value", "low", "high")}


def verdict(words: list[str]) -> str:
    """Returns the worst of the comparisons that a claim consists of."""
    return min(words, key=VERDICTS.index)


def _word(gain: dict[str, float], smallest: float) -> str:
    """Says what the interval of a gain means."""
    if gain["low"] > 0 and gain["value"] >= smallest:
        return "holds"
    if gain["high"] < 0 and gain["value"] <= -smallest:
        return "does not hold"
    return "no difference that counts" if -smallest < gain["low"] and gain["high"] < smallest else "unclear"


def _word_of_equality(gain: dict[str, float], margin: float) -> str:
    """Says whether two are as good as each other (two one-sided tests, each at 2.5%)."""
    if -margin < gain["low"] and gain["high"] < margin:
        return "holds"
    return "does not hold" if gain["low"] > margin or gain["high"] < -margin else "unclear"
