"""What is hidden from training: whole things, single tones, and things to choose by."""

from collections import Counter, defaultdict

import pytest

from helpers.emoji_packages import PEOPLE, THINGS, codes
from lightning_mav.worlds.emoji.hidden import SEEN, TONES_HIDDEN, VALIDATION, split
from lightning_mav.worlds.emoji.hidden import THINGS as WHOLE

SHARES = {"things": 0.2, "tones": 0.5, "validation": 0.1}


@pytest.mark.parametrize("seed", range(5))
def test_a_hidden_thing_is_seen_in_no_tone_and_a_hidden_tone_in_others(seed):
    kinds = split(codes(), **SHARES, seed=seed)
    assert kinds.keys() == set(codes())
    by_thing = defaultdict(Counter)
    for code, kind in kinds.items():
        by_thing[code.partition("-")[0]][kind] += 1
    for counts in by_thing.values():
        if counts[WHOLE] or counts[VALIDATION]:
            assert len(counts) == 1
        if counts[TONES_HIDDEN]:
            assert counts[SEEN] > 0
    whole = [thing for thing, counts in by_thing.items() if counts[WHOLE]]
    assert sorted(thing in PEOPLE for thing in whole) == [False, False, True, True]  # a fifth of each kind
    assert sum(counts[VALIDATION] > 0 for counts in by_thing.values()) == 2
    assert sum(counts[TONES_HIDDEN] > 0 for counts in by_thing.values()) == round(0.5 * 7)


def test_the_split_depends_on_the_seed_and_not_on_the_order():
    first = split(codes(), **SHARES, seed=1)
    assert split(reversed(codes()), **SHARES, seed=1) == first
    assert split(codes(), **SHARES, seed=2) != first


def test_things_without_tones_have_none_to_hide():
    kinds = split(THINGS, **SHARES, seed=0)
    assert TONES_HIDDEN not in kinds.values()
