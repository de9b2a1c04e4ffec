"""The micro-world's vocabulary for CLIP, learnt from its captions.

``python -m lightning_mav.worlds.micro.vocabulary`` writes it to ``nn/vocabularies/micro.txt.gz``. Every word
of the world is one token there; any other text falls back to bytes, so nothing is ever out of vocabulary.
"""

from ...nn.bpe import VOCABULARIES, learn_merges, write_merges
from .world import ALL, caption, captions


def texts() -> list[str]:
    """Returns the captions of all appearances, each in all its forms."""
    return [text for appearance in ALL for text in (caption(appearance), *captions(appearance))]


if __name__ == "__main__":
    write_merges(learn_merges(texts()), VOCABULARIES / "micro.txt.gz")
