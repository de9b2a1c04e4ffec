"""Does a name that training never saw find its still? Names of another package serve as such."""

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from ....cascade import Cascade
from ....prompts import embed_images, embed_texts
from ....utils.errors import UsageError
from ....utils.textfile import decode_caption, parse_json
from ...intervals import wilson
from .results import Share
from .truth import REMEDY, Entry, read_samples


def read_other_names(root: Path) -> list[tuple[str, str]]:
    """Reads codes and names of ``other_names.json``; none if the world has no such file.

    Raises:
        UsageError: If it is damaged.
    """
    path = root / "other_names.json"
    try:
        content = parse_json(path.read_bytes())
        if not isinstance(content, list):
            raise TypeError("it must be a list")
        return [(str(entry["code"]), str(entry["name"])) for entry in content]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); {REMEDY}") from error
    except (TypeError, KeyError, ValueError) as error:
        raise UsageError(f"{path}: is no list of names ({error}); {REMEDY}") from error


def read_captions(root: Path) -> list[str]:
    """Reads all captions that training sees.

    Raises:
        UsageError: If one is missing or damaged.
    """
    return read_samples(root / "images", ["txt"], lambda sample, _: decode_caption(sample.get("txt", b"")))


def is_within(name: str, captions: str) -> bool:
    """Returns whether a name is a phrase of a text of ``plain`` lines."""
    return f" {plain(name)} " in captions


def plain(text: str) -> str:
    """Returns a text in lower case with one space between words, and no punctuation."""
    return " ".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


def judge_words(
    cascade: Cascade,
    entries: list[Entry],
    stills: Tensor,
    other_names: list[tuple[str, str]],
    captions: Iterable[str],
) -> dict[str, dict[str, Share]]:
    """Finds the stills nearest to each name by CLIP.

    Args:
        cascade: Its CLIP is judged.
        entries: All emoji.
        stills: Their stills, ``(N, 3, S, S)``.
        other_names: Code and name, of names that training was not given.
        captions: All captions of training.

    Returns:
        By kind of name: ``top 1`` and ``top 5``, the shares whose thing is first, or among the first five.
        Names of another package that are phrases of a caption are counted apart. The control gives each
        emoji the name of another.
    """
    image = embed_images(stills, cascade.clip)
    known = "".join(f" {plain(caption)} \n" for caption in captions)
    row_of = {entry.code: row for row, entry in enumerate(entries)}
    names = {plain(entry.name) for entry in entries}
    others = [(code, name) for code, name in other_names if code in row_of and plain(name) not in names]
    own = [(entry.code, entry.name) for entry in entries]
    kinds = {
        "names of training": own,
        "names of another package, never seen": [one for one in others if not is_within(one[1], known)],
        "names of another package, within captions": [one for one in others if is_within(one[1], known)],
        "names of other emoji": [(code, own[i - len(own) // 2][1]) for i, (code, _) in enumerate(own)],
    }
    found = {}
    for kind, pairs in kinds.items():
        if not pairs:
            continue
        similarity = embed_texts([name for _, name in pairs], cascade.clip) @ image.T
        nearest = similarity.topk(min(5, len(entries)), dim=1).indices.tolist()
        right = torch.tensor(
            [
                [entries[i].thing == entries[row_of[code]].thing for i in five]
                for (code, _), five in zip(pairs, nearest, strict=True)
            ]
        )
        found[kind] = {"top 1": wilson(right[:, 0]), "top 5": wilson(right.any(dim=1))}
    return found
