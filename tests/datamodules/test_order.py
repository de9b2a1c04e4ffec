"""The order of samples: every one once a pass, from any position on, shards by shards."""

import numpy as np
import pytest

from lightning_mav.datamodules.order import MixedOrder, Order

LENGTHS = [7, 1, 0, 12, 5, 5, 9]


@pytest.mark.parametrize("group_size", [1, 10, 39, 1000])
def test_each_pass_has_every_sample_once(group_size):
    order = Order(LENGTHS, seed=3, group_size=group_size)
    passes = [[order(e * 39 + i) for i in range(39)] for e in range(3)]
    for samples in passes:
        assert sorted(samples) == list(range(39))
    assert passes[0] != passes[1] != passes[2]
    assert passes[0] != [Order(LENGTHS, seed=4, group_size=group_size)(i) for i in range(39)]


def test_any_position_can_be_asked_for_first():
    order = Order(LENGTHS, seed=0, group_size=10)
    expected = [order(i) for i in range(100)]
    for i in np.random.default_rng(0).permutation(100):
        assert order(int(i)) == expected[i]
        assert Order(LENGTHS, seed=0, group_size=10)(int(i)) == expected[i]


def test_a_few_shards_at_a_time_are_read():
    order = Order([10] * 50, seed=0, group_size=30)
    for first in range(0, 480, 30):
        assert len({order(i) // 10 for i in range(first, first + 30)}) == 3
    assert [order(i) for i in range(30)] != sorted(order(i) for i in range(30))


def test_mixed_sets_keep_their_weights_and_their_passes():
    def sets():
        return [Order([10], seed=0), Order([4, 3], seed=1)]

    order = MixedOrder(sets(), [3, 1], seed=0)
    drawn = [order(i) for i in range(4 * 70)]
    for first in range(0, 280, 4):
        assert sum(number >= 10 for number in drawn[first : first + 4]) == 1
    assert [number for number in drawn if number < 10] == [sets()[0](i) for i in range(210)]
    assert [number - 10 for number in drawn if number >= 10] == [sets()[1](i) for i in range(70)]
    assert len({tuple(number >= 10 for number in drawn[i : i + 4]) for i in range(0, 280, 4)}) == 4
    for i in (201, 5, 100):
        assert MixedOrder(sets(), [3, 1], seed=0)(i) == drawn[i]


def test_impossible_orders_are_refused():
    with pytest.raises(ValueError, match="no samples"):
        Order([0, 0], seed=0)
    with pytest.raises(ValueError, match=r"positive whole numbers, got \[1, 0\]"):
        MixedOrder([Order([1], 0), Order([1], 0)], [1, 0], seed=0)
