"""Verdicts: what tells two variants apart, item by item or by their intervals."""

import pytest
import torch

from lightning_mav.evaluation.ablations import figure
from lightning_mav.evaluation.intervals import mean_interval, student_95
from lightning_mav.evaluation.verdicts import compare, verdict

MIRRORED = {"holds": "does not hold", "does not hold": "holds", "unclear": "unclear"}
ITEMS = torch.arange(3.0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def false_alarms(draw, num=2000):
    """Share of comparisons of two alike that are called either way."""
    words = [compare("x", figure(draw(), ITEMS), figure(draw(), ITEMS)).word for _ in range(num)]
    return sum(word != "unclear" for word in words) / num


@pytest.mark.parametrize(
    ("better", "than", "expected"),
    [
        ((0.5, 0.7), (0.1, 0.4), "holds"),
        ((0.1, 0.4), (0.5, 0.7), "does not hold"),
        ((0.3, 0.6), (0.5, 0.7), "unclear"),
        ((0.5, 0.6), (0.1, 0.9), "unclear"),
        ((0.4, 0.6), (0.1, 0.4), "unclear"),
    ],
)
def test_of_other_items_intervals_that_touch_decide_nothing(better, than, expected):
    better = {"low": better[0], "high": better[1], "items": "a"}
    than = {"low": than[0], "high": than[1], "items": "b"}
    assert compare("motion", better, than) == (expected, None, None)
    assert compare("motion", than, better).word == compare("flicker", better, than).word == MIRRORED[expected]


def test_numbers_of_the_same_items_are_told_apart_where_their_intervals_overlap():
    hard = torch.randn(24, generator=generator())
    gain = 0.2 + 0.1 * torch.randn(24, generator=generator(1))
    better, than = figure(hard + gain, ITEMS), figure(hard, ITEMS)
    assert than["high"] > better["low"]
    found = compare("psnr", better, than)
    assert found.word == "holds"
    assert found.gain["low"] < gain.mean().item() < found.gain["high"]
    assert compare("loss", than, better) == found
    assert compare("psnr", than, better).word == compare("loss", better, than).word == "does not hold"
    assert compare("psnr", better, figure(hard, ITEMS + 1)).word == "unclear"


@pytest.mark.parametrize(
    ("wins", "losses", "expected"),
    [(0, 0, "unclear"), (3, 0, "unclear"), (9, 1, "holds"), (30, 20, "unclear")],
)
def test_shares_are_told_apart_by_what_only_one_has_right(wins, losses, expected):
    both = torch.tensor([True] * 50 + [False] * 40)
    a = torch.cat([both, torch.arange(wins + losses) < wins])
    b = torch.cat([both, torch.arange(wins + losses) >= wins])
    assert compare("motion", figure(a, ITEMS), figure(b, ITEMS)) == (expected, None, (wins, losses))
    assert compare("motion", figure(b, ITEMS), figure(a, ITEMS)).word == MIRRORED[expected]


def test_two_alike_are_called_different_once_in_twenty():
    source = generator()
    assert 0.035 < false_alarms(lambda: torch.randn(24, generator=source)) < 0.065
    assert 0.035 < false_alarms(lambda: torch.rand(192, generator=source) < 0.3) < 0.065


def test_a_claim_fares_as_its_worst_comparison():
    assert verdict(["holds", "holds"]) == "holds"
    assert verdict(["holds", "unclear"]) == "unclear"
    assert verdict(["unclear", "does not hold", "holds"]) == "does not hold"


@pytest.mark.parametrize(
    ("degrees", "expected"), [(2, 4.303), (3, 3.182), (5, 2.571), (11, 2.201), (23, 2.069), (95, 1.985)]
)
def test_students_t_has_known_values(degrees, expected):
    assert student_95(degrees) == pytest.approx(expected, rel=0.035 if degrees == 2 else 0.01)


def test_intervals_of_means_cover_the_truth_19_times_in_20():
    values = torch.randn(2000, 8, generator=generator())
    intervals = [mean_interval(row.tolist()) for row in values]
    assert 0.935 < sum(i["low"] < 0 < i["high"] for i in intervals) / len(intervals) < 0.965
    assert intervals[0]["n"] == 8
    with pytest.raises(ValueError, match="three values, got 2"):
        mean_interval([1.0, 2.0])
