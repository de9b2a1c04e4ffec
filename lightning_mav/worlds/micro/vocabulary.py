"""A small byte-pair vocabulary in the format of CLIP's own, learnt from the micro-world's captions.

``python -m lightning_mav.worlds.micro.vocabulary`` writes ``bpe.txt.gz`` beside this file. Every word of the
world is one token there; any other text falls back to bytes, so nothing is ever out of vocabulary.
"""

import gzip
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

BPE_PATH = Path(__file__).with_name("bpe.txt.gz")

Word = tuple[str, ...]
Merge = tuple[str, str]


def learn_merges(texts: Iterable[str]) -> list[Merge]:
    """Merges the most frequent neighbours until each lower-case ASCII word is one token.

    Equal counts are settled alphabetically, so the result depends on the texts alone.
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


def merge(word: Word, pair: Merge) -> Word:
    """Joins each occurrence of ``pair`` in ``word``, from the left."""
    merged: list[str] = []
    for part in word:
        if merged and (merged[-1], part) == pair:
            merged[-1] += part
        else:
            merged.append(part)
    return tuple(merged)


def write_merges(merges: Iterable[Merge], path: str | Path = BPE_PATH) -> None:
    """Writes what CLIP's tokenizers read: a header line, then one merge a line.

    The last line has no line end: the tokenizer would read an empty merge after it.
    """
    lines = ["#version: lightning-mav", *(" ".join(merge) for merge in merges)]
    Path(path).write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))


if __name__ == "__main__":
    from .world import ALL, caption, captions

    TEXTS = [text for appearance in ALL for text in (caption(appearance), *captions(appearance))]
    write_merges(learn_merges(TEXTS))
