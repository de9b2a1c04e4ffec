"""Verdicts: what tells two variants apart, item by item or by their intervals."""

import pytest
import torch

from lightning_mav.evaluation.ablations.judges import figure
from lightning_mav.evaluation.ablations.verdicts import VERDICTS, compare, verdict
from lightning_mav.evaluation.intervals import (
    agreement,
    difference_interval,
    mean_interval,
    student_95,
    wilson,
)

MIRRORED = {word: word for word in VERDICTS} | {"holds": "does not hold", "does not hold": "holds"}
ITEMS = torch.arange(3.0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def false_alarms(draw, num=2000):
    """Share of comparisons of two alike that are called either way."""
    words = [compare("x", [figure(draw(), ITEMS)], [figure(draw(), ITEMS)]).word for _ in range(num)]
    return sum(word != "unclear" for word in words) / num


@pytest.mark.parametrize(
    ("better", "than", "expected"),
    [
        ((0.5, 0.7), (0.1, 0.4), "holds"),
        ((0.1, 0.4), (0.5, 0.7), "does not hold"),
        ((0.3, 0.6), (0.5, 0.7), "unclear"),
        ((0.5, 0.6), (0.1, 0.9), "unclear"),
        (
            (0.4, 0.6),
            (0.1, 0.4),
            "holds",
        ),  # they touch, but 0.25 is more than the root of 0.1 ** 2 + 0.15 ** 2
        ((0.4, 0.6), (0.2, 0.5), "unclear"),
    ],
)
def test_of_other_items_the_intervals_of_both_decide(better, than, expected):
    def between(ends, items):
        return {"value": sum(ends) / 2, "low": ends[0], "high": ends[1], "items": items}

    better, than = between(better, "a"), between(than, "b")
    found = compare("motion", [better], [than])
    assert (found.word, found.wins) == (expected, None)
    assert compare("motion", [than], [better]).word == MIRRORED[expected]
    assert compare("flicker", [better], [than]).word == MIRRORED[expected]
    assert compare("loss_6_fps", [better], [than]).word == MIRRORED[expected]


def test_numbers_of_the_same_items_are_told_apart_where_their_intervals_overlap():
    hard = torch.randn(24, generator=generator())
    gain = 0.2 + 0.1 * torch.randn(24, generator=generator(1))
    better, than = figure(hard + gain, ITEMS), figure(hard, ITEMS)
    assert than["high"] > better["low"]
    found = compare("psnr", [better], [than])
    assert found.word == "holds"
    assert found.gain["low"] < gain.mean().item() < found.gain["high"]
    assert compare("loss", [than], [better]) == found
    assert compare("psnr", [than], [better]).word == "does not hold"
    assert compare("loss", [better], [than]).word == "does not hold"
    assert compare("psnr", [better], [figure(hard, ITEMS + 1)]).word == "unclear"


@pytest.mark.parametrize(
    ("wins", "losses", "expected"),
    [(0, 0, "unclear"), (3, 0, "unclear"), (9, 1, "holds"), (30, 20, "unclear")],
)
def test_shares_are_told_apart_by_what_only_one_has_right(wins, losses, expected):
    both = torch.tensor([True] * 50 + [False] * 40)
    a = torch.cat([both, torch.arange(wins + losses) < wins])
    b = torch.cat([both, torch.arange(wins + losses) >= wins])
    found = compare("motion", [figure(a, ITEMS)], [figure(b, ITEMS)])
    assert (found.word, found.wins) == (expected, (wins, losses))
    assert found.gain["value"] == pytest.approx((wins - losses) / len(a))
    assert compare("motion", [figure(b, ITEMS)], [figure(a, ITEMS)]).word == MIRRORED[expected]


@pytest.mark.parametrize(
    ("gain", "spread", "smallest", "expected"),
    [
        (0.6, 0.1, 0.5, "holds"),
        (0.4, 0.1, 0.5, "unclear"),  # better, but less than what counts, and it may be more
        (0.3, 0.1, 0.5, "no difference that counts"),
        (0.0, 0.1, 0.5, "no difference that counts"),
        (0.0, 0.6, 0.5, "unclear"),
        (-0.3, 0.1, 0.5, "no difference that counts"),
        (-0.6, 0.1, 0.5, "does not hold"),
        (0.01, 0.001, 0.0, "holds"),
    ],
)
def test_a_gain_counts_from_the_smallest_effect_on(gain, spread, smallest, expected):
    than = {"value": 1.0, "low": 1.0, "high": 1.0, "items": "b"}
    better = {"value": 1 + gain, "low": 1 + gain - spread, "high": 1 + gain + spread, "items": "a"}
    assert compare("psnr", [better], [than], smallest=smallest).word == expected
    # Where less is better it is a share of the other's figure.
    than, half = ({key: x[key] / 2 for key in ("value", "low", "high")} for x in (than, better))
    found = compare("flicker", [half | {"items": "a"}], [than | {"items": "b"}], smallest=smallest)
    assert found.word == MIRRORED[expected]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-0.09, 0.09, "holds"),
        (0.01, 0.09, "holds"),
        (-0.11, 0.01, "unclear"),
        (-0.2, 0.2, "unclear"),
        (0.11, 0.2, "does not hold"),
        (-0.2, -0.11, "does not hold"),
    ],
)
def test_as_good_as_within_a_margin(low, high, expected):
    one = {"value": (low + high) / 2, "low": low, "high": high, "items": "a"}
    other = {"value": 0.0, "low": 0.0, "high": 0.0, "items": "b"}
    assert compare("motion", [one], [other], margin=0.1).word == expected


def test_chance_is_a_number_that_a_share_is_compared_with():
    def word(count):
        return compare("motion", [figure(torch.arange(96) < count, ITEMS)], 1 / 6, smallest=0.05).word

    assert [word(count) for count in (2, 16, 20, 40)] == ["does not hold", "unclear", "unclear", "holds"]


def runs(*values, items="a"):
    return [
        {"value": value, "low": value, "high": value, "items": items, "values": [value]} for value in values
    ]


def test_of_several_trainings_the_runs_of_a_seed_are_compared():
    found = compare("psnr", runs(31.0, 35.0, 33.0), runs(30.0, 34.1, 31.9))
    assert found.word == "holds"  # though runs lie further apart than variants
    assert found.gain == pytest.approx({"value": 1.0, "low": 1 - 0.2484, "high": 1 + 0.2484}, abs=1e-4)
    assert compare("psnr", runs(31.0, 30.0, 35.0), runs(30.0, 34.1, 31.9)).word == "unclear"
    assert compare("loss", runs(31.0, 35.0, 33.0), runs(30.0, 34.1, 31.9)).word == "does not hold"
    # A variant without training has one figure.
    assert compare("psnr", runs(31.0, 31.1, 31.2), runs(30.0)).word == "holds"
    assert compare("psnr", runs(30.0), runs(31.0, 31.1, 31.2)).word == "does not hold"
    assert compare("motion", runs(0.5, 0.6, 0.55), 1 / 6).word == "holds"
    # Two say little: 12.7 standard errors.
    assert compare("psnr", runs(31.0, 31.4), runs(30.0, 30.0)).word == "unclear"


def test_items_of_one_training_do_not_stand_for_trainings():
    source = generator()
    one, other = (figure(torch.randn(200, generator=source) + shift, ITEMS) for shift in (1.0, 0.0))
    assert compare("psnr", [one], [other]).word == "holds"
    swapped = compare("psnr", [one, other], [other, one])
    assert swapped.word == "unclear"


def test_two_alike_are_called_different_once_in_twenty():
    source = generator()
    assert 0.035 < false_alarms(lambda: torch.randn(24, generator=source)) < 0.065
    assert 0.035 < false_alarms(lambda: torch.rand(192, generator=source) < 0.3) < 0.065


def test_a_claim_fares_as_its_worst_comparison():
    assert verdict(["holds", "holds"]) == "holds"
    assert verdict(["holds", "unclear"]) == "unclear"
    assert verdict(["unclear", "does not hold", "holds"]) == "does not hold"
    assert verdict(["unclear", "no difference that counts"]) == "no difference that counts"
    assert verdict(["does not hold", "no difference that counts"]) == "does not hold"


@pytest.mark.parametrize(
    ("degrees", "expected"),
    [(1, 12.706), (2, 4.303), (3, 3.182), (5, 2.571), (11, 2.201), (23, 2.069), (95, 1.985)],
)
def test_students_t_has_known_values(degrees, expected):
    assert student_95(degrees) == pytest.approx(expected, rel=1e-4 if degrees <= 2 else 0.01)


def test_intervals_of_means_cover_the_truth_19_times_in_20():
    values = torch.randn(2000, 8, generator=generator())
    intervals = [mean_interval(row.tolist()) for row in values]
    assert 0.935 < sum(i["low"] < 0 < i["high"] for i in intervals) / len(intervals) < 0.965
    assert intervals[0]["n"] == 8
    with pytest.raises(ValueError, match="two values, got 1"):
        mean_interval([1.0])


def test_intervals_of_differences_are_those_of_newcombe():
    # Newcombe (1998), Interval estimation for the difference between independent proportions, table II.
    one, other = wilson(torch.arange(70) < 56), wilson(torch.arange(80) < 48)
    assert difference_interval(one, other) == pytest.approx(
        {"value": 0.2, "low": 0.0524, "high": 0.3339}, abs=1e-4
    )
    one, other = wilson(torch.arange(10) < 10), wilson(torch.arange(10) < 0)
    assert difference_interval(one, other)["low"] == pytest.approx(0.6075, abs=1e-4)


@pytest.mark.parametrize("p", [0.3, 0.95])
def test_intervals_of_paired_shares_cover_the_truth_19_times_in_20(p):
    source, covered = generator(), 0
    for _ in range(500):
        common = torch.rand(96, generator=source) < 0.7  # the two have most answers in common
        a, b = (torch.rand(96, generator=source) < p for _ in range(2))
        b = torch.where(common, a, b)
        gain = difference_interval(wilson(a), wilson(b), agreement(a.tolist(), b.tolist()))
        covered += gain["low"] < 0 < gain["high"]
    assert covered / 500 > 0.935
