"""Phrases for CLIP's text half: what they say, and what a stand-in teacher makes of them."""

import gzip
import importlib.util
import json
from collections import Counter
from random import Random

import pytest
import torch
import torch.nn.functional as F

from lightning_mav.utils.errors import UsageError
from lightning_mav.worlds.emoji import teacher
from lightning_mav.worlds.emoji.names import Emoji, flag_letters
from lightning_mav.worlds.emoji.phrases import NAME_REPEATS, Meanings, Phrase, make_phrases, write_phrases

DARK = "dark skin tone"
EMOJI = [
    Emoji("1f408", "cat", ("pet", "feline")),
    Emoji("1f415", "dog", ("pet", "hound")),
    Emoji("1f469-200d-1f692", "woman firefighter", ("fire",)),
    Emoji("1f469-1f3ff-200d-1f692", "woman firefighter", ("fire",), (DARK,)),
    Emoji("1f1e8-1f1ed", "flag: Switzerland", ("flag",)),
]
SAME = {"kitty": "cat", "puppy": "dog"}


class StandIn:
    """Knows two words more than the names: texts are near if they share words."""

    words = ("kitty", "puppy", "stone")

    def embed(self, texts):
        rows = []
        for text in texts:
            row = torch.full((512,), 1e-3)
            for word in text.replace(":", "").split():
                row[int.from_bytes(SAME.get(word, word).encode()) % 509] += 1
            rows.append(row)
        return F.normalize(torch.stack(rows), dim=-1)


def means(text, tones=(), still=None):
    (target,) = Meanings(EMOJI, StandIn()).targets([Phrase(text, text, tones, still)])
    return max(target, key=target.get), target


def test_a_word_of_the_teacher_means_what_the_teacher_says():
    assert means("kitty")[0] == 0
    assert means("puppy")[0] == 1


def test_a_keyword_of_two_things_means_both():
    _, target = means("pet")
    assert target[0] == pytest.approx(target[1], abs=0.05)
    assert min(target[0], target[1]) > 10 * target[4]


def test_shares_add_up_to_one_and_a_name_has_most_of_its_own():
    _, target = means("cat", still=1)  # whatever the teacher thinks
    assert target[1] >= 0.9
    assert sum(target.values()) == pytest.approx(1)
    assert sum(means("stone")[1].values()) == pytest.approx(1)


def test_a_tone_is_that_of_the_still_and_without_one_it_is_the_plain_still():
    assert means("firefighter")[0] == 2
    assert means("firefighter", (DARK,))[0] == 3
    assert means("kitty", (DARK,))[0] == 0  # has no tones
    assert 3 not in means("fire")[1]


def test_a_keyword_that_is_the_name_of_another_thing_means_that_thing():
    emoji = [Emoji("1f482", "guard"), Emoji("1f482-200d-2642", "man guard", ("guard", "guard man"))]
    for meaning, expected in (("guard", 0), ("man guard", 1)):
        (target,) = Meanings(emoji, StandIn()).targets([Phrase(meaning, meaning)])
        assert target[expected] >= 0.9


def test_tones_are_said_in_many_ways():
    phrases = make_phrases([EMOJI[3]] * 30, StandIn.words, 0, Random(0))
    texts = {phrase.text for phrase in phrases if phrase.still is not None}
    ways = ("{}: dark skin tone", "{} with dark skin", "dark-skinned {}", "dark {}", "a dark {}")
    assert {way.format("woman firefighter") for way in ways} <= texts
    couple = Emoji("1f9d1-1f3fb", "couple", (), ("light skin tone", DARK))
    texts = {phrase.text for phrase in make_phrases([couple] * 30, StandIn.words, 0, Random(0))}
    assert "couple with light skin tone and dark skin tone" in texts
    assert all("dark skin tone" in text for text in texts - {*StandIn.words})


def test_every_name_keyword_and_word_is_a_phrase():
    phrases = make_phrases(EMOJI, StandIn.words, 50, Random(0))
    texts = Counter(phrase.text for phrase in phrases)
    assert all(texts[one.full_name.lower()] >= NAME_REPEATS for one in EMOJI)
    assert {one.full_name.lower() for one in EMOJI} | {"kitty", "puppy", "stone"} <= texts.keys()
    assert {"flag switzerland", "switzerland flag", "flag ch"} <= {phrase.meaning for phrase in phrases}
    assert {"pet", "feline", "hound"} <= {phrase.meaning for phrase in phrases}
    for phrase in phrases:
        assert phrase.text == phrase.text.lower()
        assert bool(phrase.tones) == ("dark" in phrase.text)
        assert "dark" not in phrase.meaning
        if phrase.still is not None:
            assert phrase.tones == EMOJI[phrase.still].tones


@pytest.mark.parametrize(
    ("code", "letters"),
    [
        ("1f1e8-1f1ed", "ch"),
        ("1f3f4-e0067-e0062-e0065-e006e-e0067-e007f", "gbeng"),
        ("1f408", ""),
        ("1f3f4-200d-2620", ""),
    ],
)
def test_letters_of_flags_are_read_from_their_code(code, letters):
    assert flag_letters(code) == letters


def test_the_same_seed_writes_the_same_file(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_phrases(tmp_path / name, EMOJI, StandIn(), num_mixed=50, seed=seed)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b != c
    assert a[4:8] == bytes(4)  # no time in the header
    for line in gzip.decompress(a).decode().splitlines():
        entry = json.loads(line)
        assert 0 < len(entry["images"]) == len(entry["shares"])
        assert sum(entry["shares"]) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("missing", [teacher.PACKAGE, "sentence_transformers"])
def test_a_missing_teacher_is_named_with_the_remedy(missing, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else object())
    with pytest.raises(UsageError, match=r"lightning-mav\[teacher\]"):
        teacher.MiniLM()
