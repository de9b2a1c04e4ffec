"""Byte-pair merges as CLIP's tokenizer reads them: how they are applied, learnt and written."""

import gzip
import heapq
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


def learn_merges(texts: Iterable[str], max_merges: int | None = None) -> list[Merge]:
    """Merges the most frequent neighbours until each word of the texts is one token.

    Equal counts are settled alphabetically, so the result depends on the texts alone.

    Args:
        texts: Sentences of ASCII words without punctuation; their case does not matter.
        max_merges: Merges at most; rare words then remain several tokens.
    """
    counts = Counter(word for text in texts for word in text.lower().split())
    words: dict[Word, int] = {(*word[:-1], word[-1] + "</w>"): count for word, count in counts.items()}
    pairs: Counter[Merge] = Counter()
    holders: dict[Merge, set[Word]] = {}  # so that a merge need not look at all words
    for word, count in words.items():
        for pair in pairwise(word):
            pairs[pair] += count
            holders.setdefault(pair, set()).add(word)
    merges: list[Merge] = []
    # Entries whose count has changed since are passed over.
    queue = [(-count, pair) for pair, count in pairs.items()]
    heapq.heapify(queue)
    while queue and len(merges) != max_merges:
        count, best = heapq.heappop(queue)
        if pairs.get(best) != -count:
            continue
        merges.append(best)
        changed: set[Merge] = set()
        for word in holders.pop(best):
            times, merged = words.pop(word), merge(word, best)
            words[merged] = times
            for pair in pairwise(word):
                pairs[pair] -= times
                holders.get(pair, set()).discard(word)
            for pair in pairwise(merged):
                pairs[pair] += times
                holders.setdefault(pair, set()).add(merged)
            changed.update(pairwise(word), pairwise(merged))
        for pair in changed:
            if pairs[pair]:
                heapq.heappush(queue, (-pairs[pair], pair))
            else:
                del pairs[pair]
    return merges


def write_merges(merges: Iterable[Merge], path: str | Path) -> None:
    """Writes a gzipped vocabulary file: a header line, then one merge a line.

    The last line has no line end: the tokenizer would read an empty merge after it.
    """
    lines = ["#version: lightning-mav", *(" ".join(merge) for merge in merges)]
    Path(path).write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))
