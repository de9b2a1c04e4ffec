"""The vocabulary of the emoji for CLIP, learnt from the phrases that teach its text half.

``python -m lightning_mav.worlds.emoji.vocabulary data/emoji/phrases.jsonl.gz`` writes it to
``nn/vocabularies/emoji.txt.gz``, in seconds. It is a quarter of OpenAI's; rare words are several tokens.
Weights go with the vocabulary that they were trained with: another order of merges numbers tokens otherwise.
"""

import gzip
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from ...nn.bpe import VOCABULARIES, learn_merges, write_merges

MAX_MERGES = 12_000


def words(path: Path) -> Iterator[str]:
    """Yields the words of each phrase of a file, without punctuation and letters beyond ASCII."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield " ".join(re.findall("[a-z]+", json.loads(line)["text"].lower()))


if __name__ == "__main__":
    write_merges(learn_merges(words(Path(sys.argv[1])), MAX_MERGES), VOCABULARIES / "emoji.txt.gz")
