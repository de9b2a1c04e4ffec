"""Codes, names and captions of emoji."""

import random

import pytest

from lightning_mav.worlds.emoji.names import Emoji, captions, code_of, describe

ANNOTATIONS = {
    "1f469-200d-1f373": ("woman cook", ("chef", "woman")),
    "1f469-1f3fd-200d-1f373": ("woman cook: medium skin tone", ("chef", "medium skin tone", "woman")),
    "1f469-1f3fd-200d-1f9b0": ("woman: medium skin tone, red hair", ("red hair",)),
    "1f46d-1f3fb-200d-1f3ff": ("women holding hands: light skin tone, dark skin tone", ()),
    "1f1e9-1f1ea": ("flag: Germany", ("flag",)),
}


@pytest.mark.parametrize(
    ("stem", "code"),
    [
        ("1F469-1f3fd-200d-1f373", "1f469-1f3fd-200d-1f373"),
        ("2764-fe0f-200d-1f525", "2764-200d-1f525"),
        ("0023-fe0f-20e3", "23-20e3"),
        ("1f3f4-e0067_e0062_e0077_e006c_e0073", "1f3f4-e0067-e0062-e0077-e006c-e0073-e007f"),
    ],
)
def test_codes_are_the_same_however_a_file_writes_them(stem, code):
    assert code_of(stem) == code
    assert code_of(code) == code


def test_tones_are_taken_out_of_names_and_words():
    emoji = describe("1f469-1f3fd-200d-1f373", ANNOTATIONS)
    assert (emoji.name, emoji.tones, emoji.keywords) == (
        "woman cook",
        ("medium skin tone",),
        ("chef", "woman"),
    )
    assert emoji.thing == "1f469-200d-1f373"
    assert emoji.full_name == ANNOTATIONS["1f469-1f3fd-200d-1f373"][0]
    assert describe("1f469-1f3fd-200d-1f9b0", ANNOTATIONS).name == "woman: red hair"
    assert describe("1f46d-1f3fb-200d-1f3ff", ANNOTATIONS).tones == ("light skin tone", "dark skin tone")
    assert describe("1f1e9-1f1ea", ANNOTATIONS).full_name == "flag: Germany"
    assert describe("1f600", ANNOTATIONS) is None


@pytest.mark.parametrize("code", ANNOTATIONS)
def test_captions_say_the_tone_and_something_of_the_thing(code):
    emoji, rng = describe(code, ANNOTATIONS), random.Random(0)
    drawn = {captions(emoji, rng) for _ in range(300)}
    assert len(drawn) > 5
    known = {*emoji.name.replace(":", "").split(), *" ".join(emoji.keywords).split()}
    for caption in drawn:
        assert all(tone in caption for tone in emoji.tones), caption
        assert known & set(caption.replace(":", " ").replace(",", " ").split()), caption


def test_the_same_seed_draws_the_same_captions():
    emoji = Emoji("1f600", "face", ("grin", "happy", "smile"))
    assert [captions(emoji, random.Random(5)) for _ in range(3)] == [captions(emoji, random.Random(5))] * 3
