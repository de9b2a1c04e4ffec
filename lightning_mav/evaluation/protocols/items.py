"""What a protocol asks for: prompts, each with a number and a seed of its own, and the real videos beside."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ...utils.numbers import seed_from
from .settings import ProtocolSettings

KEY_DIGITS = 8


@dataclass(frozen=True)
class Item:
    """One video to generate.

    Args:
        id: Its number within the protocol, from 0.
        prompt: What is asked for.
        label: Its class or video, where it has one.
        seed: Seed of its noise: the same prompt comes more than once.
    """

    id: int
    prompt: str
    label: str | None
    seed: int

    @property
    def key(self) -> str:
        """Its name in shards."""
        return f"{self.id:0{KEY_DIGITS}d}"


class Protocol(ABC):
    """How one benchmark is run.

    Args:
        settings: All that can be chosen.

    Raises:
        UsageError: If a file that it needs is missing; nothing is generated before.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    notes: ClassVar[str]  # what is fixed by the paper and what is not, in Markdown
    published: ClassVar[Mapping[str, Mapping[str, float]]] = {}  # by figure, then by system
    published_num: ClassVar[int | None] = None  # samples that those rest on
    published_resolution: ClassVar[str] = "256x256"  # of those samples

    def __init__(self, settings: ProtocolSettings) -> None:
        self.settings = settings

    @abstractmethod
    def items(self) -> list[Item]:
        """Returns all that is to be generated; the same settings and files give the same."""

    @abstractmethod
    def real_files(self) -> list[Path]:
        """Returns the real videos that generated ones are compared with.

        Raises:
            UsageError: If one is missing.
        """


def make_items(prompts: Iterable[tuple[str, str | None]], seed: int) -> list[Item]:
    """Numbers prompts and their labels, and gives each a seed that depends on nothing but its number."""
    return [Item(i, prompt, label, item_seed(seed, i)) for i, (prompt, label) in enumerate(prompts)]


def item_seed(seed: int, number: int) -> int:
    """Returns the seed of an item's noise, 63 bits."""
    return seed_from(seed, number)
