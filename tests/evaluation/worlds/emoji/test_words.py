"""Words: which of the names of another package count as never seen, and what a perfect encoder scores."""

from types import SimpleNamespace

import pytest
import torch

from lightning_mav.evaluation.worlds.emoji.truth import Entry
from lightning_mav.evaluation.worlds.emoji.words import judge_words

ENTRIES = [
    Entry(f"c{i}", "?", name, [], thing, [], "seen")
    for i, (name, thing) in enumerate(
        [("red heart", "a"), ("hand: light skin tone", "b"), ("hand: dark skin tone", "b"), ("rocket", "d")]
        + [(f"thing {letter}", letter) for letter in "efghijkl"]
    )
]
CAPTIONS = ["red heart", "Love, red Heart emoji", "a rocket with space-ship", "dark skin tone hand"]


class Perfect:
    """A CLIP that sees what a text means: the still of the number that ``meant`` gives."""

    def __init__(self, meant):
        self.meant = meant

    def parameters(self):
        return iter([torch.zeros(1)])

    def tokenize(self, texts, warn=None):
        return torch.tensor([[self.meant[text]] for text in texts])

    def encode_text(self, tokens):
        return 3 * torch.eye(len(ENTRIES))[tokens[:, 0]], None

    def encode_image(self, images):
        return torch.eye(len(ENTRIES))[images[:, 0, 0, 0].long()]


def judge(meant, others):
    names = {entry.name: i for i, entry in enumerate(ENTRIES)}
    cascade = SimpleNamespace(clip=Perfect(names | meant))
    stills = torch.arange(len(ENTRIES))[:, None, None, None].expand(-1, 3, 2, 2).float()
    return judge_words(cascade, ENTRIES, stills, others, CAPTIONS)


def test_a_perfect_encoder_scores_1_and_names_within_captions_are_apart():
    meant = {"love": 0, "space ship": 3, "spaceship": 3, "kitty": 5, "ship dark": 2, "gone": 0}
    others = [
        ("c0", "love"),
        ("c3", "space ship"),
        ("c3", "spaceship"),
        ("c5", "kitty"),
        ("c2", "ship dark"),
    ]
    found = judge(meant, [*others, ("c3", "Rocket"), ("elsewhere", "gone")])
    assert {kind: shares["top 1"]["n"] for kind, shares in found.items()} == {
        "names of training": 12,
        "names of another package, within captions": 2,  # love, space ship
        # "ship dark" is no phrase of one caption; "Rocket" is a name of training, "gone" no emoji here.
        "names of another package, never seen": 3,
        "names of other emoji": 12,
    }
    for kind, shares in found.items():
        is_control = kind == "names of other emoji"
        assert shares["top 1"]["value"] == (0 if is_control else 1)
        assert shares["top 5"]["value"] < 1 if is_control else shares["top 5"]["value"] == 1


def test_the_thing_counts_not_its_tone():
    found = judge({"mitten": 1}, [("c2", "mitten")])
    assert found["names of another package, never seen"]["top 1"]["value"] == 1


def test_a_wrong_answer_is_counted():
    found = judge({"puppy": 4, "kitty": 5}, [("c6", "puppy"), ("c5", "kitty")])
    assert found["names of another package, never seen"]["top 1"] == pytest.approx(
        {"value": 0.5, "low": 0.0945, "high": 0.9055, "n": 2}, abs=1e-3
    )


def test_without_other_names_their_rows_are_left_out():
    assert judge({}, []).keys() == {"names of training", "names of other emoji"}
