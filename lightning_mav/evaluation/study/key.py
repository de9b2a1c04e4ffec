"""The key of a study: which system made which video. Raters must not see it."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from ...utils.errors import UsageError
from ...utils.textfile import parse_json

FORMAT = 1  # increase when the key, the page or the votes change
QUESTIONS = ("quality", "faithfulness")
REMEDY = "name the file that 'mav study make' has written beside the page, with --key"


@dataclass(frozen=True)
class Pair:
    """Two videos of one prompt.

    Args:
        name: Name of the videos in both folders, without ending.
        prompt: Their prompt.
        a: Identifier of the video of system A; the page has it as ``videos/IDENTIFIER.mp4``.
        b: Identifier of the video of system B.
    """

    name: str
    prompt: str
    a: str
    b: str


@dataclass(frozen=True)
class Study:
    """A study, with its key.

    Args:
        id: Checksum of the pairs and their videos; the page and its votes name it.
        a: Folder of system A.
        b: Folder of system B.
        seed: Seed of the order, the sides and the identifiers.
        pairs: The pairs, in the order of the page; votes name them by their number, from 1.
    """

    id: str
    a: str
    b: str
    seed: int
    pairs: list[Pair]

    def to_dict(self) -> dict[str, object]:
        """Returns what the key's file holds."""
        return {"format": FORMAT, **dataclasses.asdict(self)}


def load_study(path: Path) -> Study:
    """Reads a key.

    Raises:
        UsageError: If it cannot be read, or is no key.
    """
    try:
        found = parse_json(path.read_bytes())
        if found.pop("format") != FORMAT:
            raise UsageError(f"{path}: written by another version of 'mav study make'; make the study again")
        study = Study(**{**found, "pairs": [Pair(**pair) for pair in found["pairs"]]})
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); {REMEDY}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(f"{path}: is no key of a study; {REMEDY}") from error
    return study
