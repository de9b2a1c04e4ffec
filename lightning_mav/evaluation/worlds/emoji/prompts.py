"""Which emoji are asked for: seen moving, hidden in one tone, hidden wholly, and never animated."""

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

from ....worlds.emoji.names import thing_of
from .settings import EmojiBench
from .truth import NEVER, SEEN, THINGS, TONES_HIDDEN, Entry

KINDS = (SEEN, TONES_HIDDEN, THINGS, NEVER)
# Man, woman and person; the signs that make a person a man or a woman. These mostly move alike.
PERSONS, GENDERS = ("1f468", "1f469", "1f9d1"), ("2640", "2642")


@dataclass(frozen=True)
class Prompts:
    """What is asked for.

    Args:
        entries: One for each video.
        has_sibling: Whether training shows the same in another gender moving, for each.
    """

    entries: list[Entry]
    has_sibling: list[bool]

    @property
    def texts(self) -> list[str]:
        """Names, which are the prompts."""
        return [entry.name for entry in self.entries]

    def rows(self, *kinds: str) -> list[int]:
        """Returns the numbers of the prompts of these kinds."""
        return [row for row, entry in enumerate(self.entries) if entry.animation in kinds]

    def kinds(self) -> list[str]:
        """Returns the kinds that are asked for, each once."""
        return list(dict.fromkeys(entry.animation for entry in self.entries))

    def mixed(self) -> list[int]:
        """Returns the numbers of all prompts, kinds in turn as far as they go."""
        parts = [self.rows(kind) for kind in self.kinds()]
        return [rows[i] for i in range(max(map(len, parts), default=0)) for rows in parts if i < len(rows)]


def choose_prompts(entries: list[Entry], settings: EmojiBench) -> Prompts:
    """Draws prompts of each kind; of things that are hidden wholly, one tone each."""
    wanted = (settings.num_seen, settings.num_tones, settings.num_things, settings.num_never)
    seen = {family(entry.code) for entry in entries if entry.animation == SEEN}
    chosen = []
    for kind, num in zip(KINDS, wanted, strict=True):
        rng = Random(f"{settings.seed} {kind}")
        own = [entry for entry in entries if entry.animation == kind]
        rng.shuffle(own)
        if kind == THINGS:
            own = list({entry.thing: entry for entry in own}.values())
        chosen += own[:num]
    return Prompts(chosen, [family(entry.code) in seen for entry in chosen])


def label(kind: str) -> str:
    """Returns what a kind of prompts is called."""
    return "never animated" if kind == NEVER else kind


def family(code: str) -> str:
    """Returns a code without tones and genders: the same for man, woman and person."""
    parts = thing_of(code).split("-")
    parts = ["1f9d1" if part in PERSONS else part for part in parts if part not in GENDERS]
    return "-".join(_without_dangling(parts))


def _without_dangling(parts: Iterable[str]) -> list[str]:
    kept = list(parts)
    while kept and kept[-1] == "200d":  # joined the sign that was taken away
        kept.pop()
    return kept
