"""Byte-pair merges as CLIP's tokenizer reads them: how they are applied, learnt and written."""

import gzip
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

VOCABULARIES = Path(__file__).with_name("vocabularies")  # NAME.txt.gz for each world

Word = tuple[str, ...]
Merge = tuple[str, str]


def merge(word: Word, pair: Merge) -> Word:
    """Joins each occurrence of ``pair`` in ``word``, from the left."""
    merged: list[str] = []
    for part in word:
        if merged and (merged[-1], part) == pair:
            merged[-1] += part
        else:
            merged.append(part)
    return tuple(merged)


def learn_merges(texts: Iterable[str]) -> list[Merge]:
    """Merges the most frequent neighbours until each word of the texts is one token.

    Equal counts are settled alphabetically, so the result depends on the texts alone.

    Args:
        texts: Sentences of ASCII words without punctuation; their case does not matter.
    """
    counts = Counter(word for text in texts for word in text.lower().split())
    words: dict[Word, int] = {(*word[:-1], word[-1] + "</w>"): count for word, count in counts.items()}
    merges: list[Merge] = []
    while True:
        pairs: Counter[Merge] = Counter()
        for word, count in words.items():
            for pair in pairwise(word):
                pairs[pair] += count
        if not pairs:
            return merges
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        words = {merge(word, best): count for word, count in words.items()}


def write_merges(merges: Iterable[Merge], path: str | Path) -> None:
    """Writes a gzipped vocabulary file: a header line, then one merge a line.

    The last line has no line end: the tokenizer would read an empty merge after it.
    """
    lines = ["#version: lightning-mav", *(" ".join(merge) for merge in merges)]
    Path(path).write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))
