"""Prompts: as many of each kind as are wanted, one tone of each hidden thing."""

from lightning_mav.evaluation.worlds.emoji.prompts import choose_prompts, family
from lightning_mav.evaluation.worlds.emoji.settings import EmojiBench
from lightning_mav.evaluation.worlds.emoji.truth import NEVER, SEEN, THINGS, TONES_HIDDEN, Entry

TONES = ("1f3fb", "1f3fd", "1f3ff")


def entry(code, animation):
    tones = [tone for tone in TONES if tone in code]
    thing = "-".join(part for part in code.split("-") if part not in TONES)
    return Entry(code, "?", f"name of {code}", [], thing, tones, animation)


ENTRIES = [
    *(entry(f"1f48{digit}-{tone}", THINGS) for digit in range(5) for tone in TONES),
    *(entry(f"1f49{digit}-{tone}", SEEN) for digit in range(5) for tone in TONES[1:]),
    *(entry(f"1f49{digit}-{TONES[0]}", TONES_HIDDEN) for digit in range(5)),
    *(entry(f"1f60{digit}", NEVER) for digit in range(5)),
    entry("1f468-200d-1f373", THINGS),
    entry("1f469-1f3fd-200d-1f373", SEEN),
]  # fmt: skip


def test_one_tone_of_each_hidden_thing_and_all_hidden_tones():
    prompts = choose_prompts(ENTRIES, EmojiBench(num_seen=4, num_never=2))
    things = [prompts.entries[row].thing for row in prompts.rows(THINGS)]
    assert sorted(things) == sorted({one.thing for one in ENTRIES if one.animation == THINGS})
    assert {prompts.entries[row].code for row in prompts.rows(TONES_HIDDEN)} == {
        one.code for one in ENTRIES if one.animation == TONES_HIDDEN
    }
    assert (len(prompts.rows(SEEN)), len(prompts.rows(NEVER))) == (4, 2)
    assert prompts.kinds() == [SEEN, TONES_HIDDEN, THINGS, NEVER]
    assert prompts.texts == [one.name for one in prompts.entries]


def test_the_seed_decides_and_fewer_prompts_are_the_first_of_more():
    few, many, other = (
        choose_prompts(ENTRIES, EmojiBench(seed=seed, num_seen=num)) for seed, num in ((0, 3), (0, 8), (1, 8))
    )
    seen = [[prompts.entries[row].code for row in prompts.rows(SEEN)] for prompts in (few, many, other)]
    assert seen[0] == seen[1][:3]
    assert seen[1] != seen[2]


def test_kinds_take_turns():
    prompts = choose_prompts(ENTRIES, EmojiBench(num_seen=2, num_tones=1, num_things=2, num_never=1))
    kinds = [prompts.entries[row].animation for row in prompts.mixed()]
    assert kinds == [SEEN, TONES_HIDDEN, THINGS, NEVER, SEEN, THINGS]
    assert sorted(prompts.mixed()) == list(range(6))


def test_a_family_joins_genders_and_tones_and_nothing_else():
    cooks = ("1f468-200d-1f373", "1f469-1f3fd-200d-1f373", "1f9d1-1f3ff-200d-1f373")
    assert len({family(code) for code in cooks}) == 1
    runners = ("1f3c3", "1f3c3-1f3fb", "1f3c3-200d-2642", "1f3c3-1f3ff-200d-2640")
    assert len({family(code) for code in runners}) == 1
    assert len({family(code) for code in (*cooks, *runners, "1f468-200d-1f33e")}) == 3


def test_a_sibling_is_the_same_thing_seen_in_another_gender():
    prompts = choose_prompts(ENTRIES, EmojiBench())
    with_sibling = [prompts.entries[row].code for row in prompts.rows(THINGS) if prompts.has_sibling[row]]
    assert with_sibling == ["1f468-200d-1f373"]
