"""Reads the files of votes that raters send."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...utils.errors import UsageError, first_line
from ...utils.paths import visible
from ...utils.textfile import is_blank, parse_json, shortened
from .key import FORMAT, QUESTIONS, Study

Votes = dict[tuple[int, str], bool]


@dataclass(frozen=True)
class Ballot:
    """The votes of one rater.

    Args:
        rater: Name or code of the rater.
        votes: Whether system A was chosen, by the number of the pair (from 0) and the question.
    """

    rater: str
    votes: Votes


def read_ballots(paths: Sequence[Path], study: Study) -> list[Ballot]:
    """Reads files of votes; a folder stands for all ``*.json`` files in it.

    Raises:
        UsageError: If a file is broken or belongs to another study, a vote is for no video of its pair, a
            question is answered twice, or two files are of the same rater.
    """
    files = [file for path in paths for file in (visible(path, "*.json") if path.is_dir() else [path])]
    if not files:
        raise UsageError(f"{paths[0]}: holds no files of votes (*.json)")
    ballots, seen = [], dict[str, Path]()
    for path in files:
        ballot = _read(path, study)
        rater = ballot.rater.casefold()
        if rater in seen:
            raise UsageError(
                f"{path}: is of the rater {ballot.rater!r}, as {seen[rater]} is; keep one of the two"
            )
        seen[rater] = path
        ballots.append(ballot)
    return ballots


def _read(path: Path, study: Study) -> Ballot:
    remedy = "leave it out, or ask the rater to save it again"
    try:
        found = parse_json(path.read_bytes())
        if found["format"] != FORMAT or not isinstance(found["study"], str):
            raise ValueError("its format is not known")
        if found["study"] == study.id:
            rater = " ".join(str(found["rater"]).split())
            if is_blank(rater):
                raise ValueError("it names no rater")
            return Ballot(shortened(rater), _votes(found["votes"], study))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); {remedy}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(f"{path}: is no whole file of votes ({first_line(error)}); {remedy}") from error
    other = shortened(found["study"], 16)
    raise UsageError(
        f"{path}: votes on another study, {other}, not on {study.id}; leave it out, or name its --key"
    )


def _votes(entries: list[dict[str, Any]], study: Study) -> Votes:
    votes: Votes = {}
    if not isinstance(entries, list) or not entries:
        raise ValueError("it holds no votes")
    for number, entry in enumerate(entries, 1):
        pair, question, choice = entry["pair"], entry["question"], entry["choice"]
        if type(pair) is not int or not 1 <= pair <= len(study.pairs) or question not in QUESTIONS:
            raise ValueError(f"vote {number} is on no pair and question of this study")
        sides = study.pairs[pair - 1]
        if choice not in (sides.a, sides.b):
            raise ValueError(f"vote {number} is for no video of pair {pair}")
        if (pair - 1, question) in votes:
            raise ValueError(f"vote {number} is the second one on the {question} of pair {pair}")
        votes[pair - 1, question] = choice == sides.a
    return votes
