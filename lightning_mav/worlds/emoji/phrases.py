"""Phrases that teach CLIP's text half what words mean, and the stills that each of them may mean.

A phrase that names a still has a right answer. For any other, a sentence encoder says how near the phrase is
to the names and keywords of all things. Skin tones are left to rules, which know them better.
"""

import gzip
import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Protocol

import torch
from torch import Tensor

from ...utils.errors import writing
from ...utils.paths import replacing
from ...utils.textfile import parse_json
from .names import Emoji, flag_letters

FILE = "phrases.jsonl.gz"  # in the folder of a world
NEUTRAL = ("{}", "{}", "{}", "a {}", "the {}", "{} emoji", "emoji of a {}", "a picture of a {}")
FULL_TONES = (
    "{name}: {tone} skin tone",
    "{name} with {tone} skin tone",
    "{tone} skin tone {name}",
    "{name}, {tone} skin tone",
)
SHORT_TONES = ("{name} with {tone} skin", "{tone} skin {name}", "{tone}-skinned {name}", "{tone} {name}")
NAME_REPEATS = 4  # of each full name, which must be learnt best
BLOCK = 512  # phrases compared at a time
LEAST_SHARE = 0.001  # of an image; smaller ones are left out


class Teacher(Protocol):
    """A sentence encoder: ``embed`` returns unit vectors ``(N, D)``, ``words`` the words that it knows."""

    words: list[str]

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Embeds texts."""
        ...


@dataclass(frozen=True)
class Phrase:
    """A phrase to learn.

    Args:
        text: The phrase.
        meaning: The same without skin tones and without words such as "a picture of": what is looked up.
        tones: Skin tones that it asks for.
        still: Number of the still that it names, if it names one.
    """

    text: str
    meaning: str
    tones: tuple[str, ...] = ()
    still: int | None = None


def make_phrases(emoji: Sequence[Emoji], words: Sequence[str], num_mixed: int, rng: Random) -> list[Phrase]:
    """Returns names and keywords in many forms, every word alone, and words put together.

    Args:
        emoji: The stills, in their order.
        words: Words of any kind.
        num_mixed: How many phrases to put together from words, names and keywords.
        rng: Source of randomness.
    """
    phrases = NAME_REPEATS * [
        Phrase(one.full_name.lower(), one.name.lower(), one.tones, i) for i, one in enumerate(emoji)
    ]
    for i, one in enumerate(emoji):
        forms = _forms(one)
        phrases += [_dress(rng.choice(forms), one.tones, i, rng) for _ in range(8)]
        if one.tones:
            phrases += [_dress(rng.choice(one.keywords or forms), one.tones, None, rng) for _ in range(4)]
        else:
            phrases += [_dress(form, (), i, rng) for form in forms]
            phrases += [_dress(word, (), None, rng) for word in one.keywords]
            pairs = [pair.lower() for pair in (*forms, *one.keywords) if pair.count(" ") == 1]
            phrases += [Phrase(pair.replace(" ", ""), pair) for pair in pairs if ":" not in pair]
    phrases += [Phrase(word, word) for word in words]
    return phrases + [_dress(text, (), None, rng) for text in _mixed(emoji, words, num_mixed, rng)]


def _forms(one: Emoji) -> list[str]:
    """Returns a name in the orders in which people say it; flags also by the letters of their code."""
    names = [one.name]
    if letters := flag_letters(one.code):
        names.append(f"flag: {letters}")
    forms = []
    for name in names:
        parts = name.split(": ")
        forms += [name] if len(parts) == 1 else [name, " ".join(parts), " ".join(reversed(parts))]
    return forms


def _dress(name: str, tones: tuple[str, ...], still: int | None, rng: Random) -> Phrase:
    """Puts a name or keyword into one of several ways to say it, with its skin tones."""
    name = name.lower()
    around, text = rng.choice(NEUTRAL), name
    if tones:
        distinct = list(dict.fromkeys(tones))
        way = rng.choice(FULL_TONES if len(distinct) > 1 else FULL_TONES + SHORT_TONES)
        text = way.format(name=name, tone=" and ".join(distinct).removesuffix(" skin tone"))
    return Phrase(around.format(text), name, tones, still)


def _mixed(emoji: Sequence[Emoji], words: Sequence[str], num: int, rng: Random) -> Iterator[str]:
    """Puts together what people might ask for; much of it is nonsense, which the teacher places too."""
    things = [one for one in emoji if not one.tones]
    own = sorted({word for one in things for text in (one.name, *one.keywords) for word in text.split()})
    for _ in range(num):
        one, other = rng.choice(things), rng.choice(things)
        related = [*one.keywords, one.name]
        yield " ".join(
            rng.choice(
                (
                    (rng.choice(own), rng.choice(own)),
                    (rng.choice(own), rng.choice(own), rng.choice(own)),
                    (rng.choice(words), rng.choice(own)),
                    (rng.choice(words), rng.choice(words)),
                    (rng.choice(own), one.name),
                    (rng.choice(words), rng.choice(related)),
                    (rng.choice(related), rng.choice(related)),
                    (rng.choice(related), rng.choice([*other.keywords, other.name])),
                )
            )
        )


class Meanings:
    """Says which things a text may mean: a thing is as near as its name and its nearest keyword together.

    Args:
        emoji: The stills, in their order.
        teacher: Sentence encoder.
        temperature: Differences of nearness that count; smaller is sharper.
        num_targets: Things to name at most.
    """

    def __init__(
        self, emoji: Sequence[Emoji], teacher: Teacher, temperature: float = 0.05, num_targets: int = 16
    ) -> None:
        self.teacher, self.temperature = teacher, temperature
        self.stills = {(one.thing, one.tones): i for i, one in enumerate(emoji)}
        first: dict[str, Emoji] = {}
        for one in sorted(emoji, key=lambda one: len(one.tones)):
            first.setdefault(one.thing, one)
        self.things = list(first)
        self.named = {one.name.lower(): thing for thing, one in first.items()}
        self.plain = {thing: self.stills[thing, one.tones] for thing, one in first.items()}
        self.num_targets = min(num_targets, len(self.things))
        self.names = teacher.embed([one.name.lower() for one in first.values()])
        keywords = sorted({word.lower() for one in first.values() for word in one.keywords})
        self.keywords = teacher.embed(keywords) if keywords else self.names[:0]
        places = {word: i for i, word in enumerate(keywords)}
        pairs = [(i, places[word.lower()]) for i, one in enumerate(first.values()) for word in one.keywords]
        self.owners, self.owned = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).unbind(1)

    def nearness(self, embed: Tensor) -> Tensor:
        """Compares ``(N, D)`` embedded texts with all things: ``(N, things)``."""
        near = (embed @ self.keywords.T)[:, self.owned]
        best = torch.zeros(len(embed), len(self.things))
        best.scatter_reduce_(1, self.owners.expand_as(near), near, "amax", include_self=False)
        return embed @ self.names.T + best

    def targets(self, phrases: Sequence[Phrase], named: float = 0.9) -> Iterator[dict[int, float]]:
        """Yields for each phrase the share of each still that it may mean.

        Args:
            phrases: Phrases.
            named: Share of the still that a phrase names.
        """
        texts = list(dict.fromkeys(phrase.meaning for phrase in phrases))
        embed, places = self.teacher.embed(texts), {text: i for i, text in enumerate(texts)}
        for start in range(0, len(phrases), BLOCK):
            block = phrases[start : start + BLOCK]
            near = self.nearness(embed[[places[phrase.meaning] for phrase in block]])
            near, things = near.topk(self.num_targets)
            shares = (near / self.temperature).softmax(dim=1).tolist()
            for phrase, row, own in zip(block, things.tolist(), shares, strict=True):
                still = phrase.still
                if still is None and (thing := self.named.get(phrase.meaning)):  # not "guard": "man guard"
                    still = self._still(thing, phrase.tones)
                found = dict.fromkeys([still] if still is not None else [], named)
                rest = 1 - sum(found.values())
                for number, share in zip(row, own, strict=True):
                    still = self._still(self.things[number], phrase.tones)
                    found[still] = found.get(still, 0.0) + rest * share
                yield found

    def _still(self, thing: str, tones: tuple[str, ...]) -> int:
        """Number of a thing's still in these tones, or else in none."""
        return self.stills.get((thing, tones), self.plain[thing])


def write_phrases(path: Path, emoji: Sequence[Emoji], teacher: Teacher, *, num_mixed: int, seed: int) -> None:
    """Writes gzipped lines of JSON: ``text``, and numbers of ``images`` with their ``shares``.

    Args:
        path: File to write.
        emoji: The stills, in their order.
        teacher: Sentence encoder.
        num_mixed: See ``make_phrases``.
        seed: Decides the phrases.
    """
    phrases = make_phrases(emoji, teacher.words, num_mixed, Random(seed))
    # Without the time in its header, the same phrases give the same file.
    with (
        replacing(path) as part,
        part.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file,
    ):
        for phrase, target in zip(phrases, Meanings(emoji, teacher).targets(phrases), strict=True):
            kept = {still: round(share, 4) for still, share in target.items() if share >= LEAST_SHARE}
            line = {"text": phrase.text, "images": list(kept), "shares": list(kept.values())}
            file.write(json.dumps(line).encode() + b"\n")


def set_aside(root: Path, codes: Sequence[str]) -> None:
    """Renames phrases that number other stills; before shards change, so that none is ever misread.

    Args:
        root: Folder of the world; its ``emoji.json`` says which stills the phrases number.
        codes: The stills that it is to have.

    Raises:
        UsageError: If they cannot be renamed.
    """
    path, old = root / FILE, root / f"old-{FILE}"
    try:
        before = [entry["code"] for entry in parse_json((root / "emoji.json").read_bytes())]
    except (OSError, ValueError, LookupError, TypeError):
        before = []
    if path.exists() and before != codes:
        with writing(old, "move it away"):
            path.replace(old)
        what = f"{path} numbers other stills: it is now {old.name}, and --phrases writes new ones"
        warnings.warn(what, stacklevel=2)
