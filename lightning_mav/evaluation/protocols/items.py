"""Protocols: numbered prompts, each with a seed of its own, and the real videos to compare with."""

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
        prompt: Its text prompt.
        label: Its class or video, where it has one.
        seed: Seed of its noise; items of the same prompt have different seeds.
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
        settings: Settings of the protocol.

    Raises:
        UsageError: If a file that it needs is missing; this is checked before anything is generated.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    notes: ClassVar[str]  # what is fixed by the paper and what is not, in Markdown
    published: ClassVar[Mapping[str, Mapping[str, float]]] = {}  # by figure, then by system
    published_num: ClassVar[int | None] = None  # number of samples behind those
    published_resolution: ClassVar[str] = "256x256"  # of those samples

    def __init__(self, settings: ProtocolSettings) -> None:
        self.settings = settings

    @abstractmethod
    def items(self) -> list[Item]:
        """Returns the items to generate; the same settings and files give the same items."""

    @abstractmethod
    def real_files(self) -> list[Path]:
        """Returns the real videos that generated ones are compared with.

        Raises:
            UsageError: If one is missing.
        """


def make_items(prompts: Iterable[tuple[str, str | None]], seed: int) -> list[Item]:
    """Numbers prompts and their labels, and gives each a seed derived from ``seed`` and its number."""
    return [Item(i, prompt, label, seed_from(seed, i)) for i, (prompt, label) in enumerate(prompts)]
