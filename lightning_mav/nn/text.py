"""CLIP's text half: its tokenizer, and a Transformer that takes the text weights of open_clip's models.

Generation needs CLIP only to embed prompts, which takes milliseconds. To import open_clip, which imports
torchvision and timm, takes longer than to import torch. CLIP's weights fix what these two must compute;
tests compare it with open_clip.
"""

import gzip
import html
import math
from collections import OrderedDict
from itertools import pairwise
from pathlib import Path

import ftfy
import regex
import torch
from torch import Tensor, nn

from .bpe import Merge, merge

NUM_MERGES = 49152 - 256 - 2  # merges that CLIP uses; OpenAI's vocabulary file has more
MAX_KNOWN = 100_000  # words whose tokens are kept: training splits the same ones again and again
MAX_LETTERS = 4_000  # of a text; merging takes time quadratic in a word's length
SPECIAL = ("<start_of_text>", "<end_of_text>")
WORDS = regex.compile(
    "|".join(SPECIAL) + r"|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+", regex.IGNORECASE
)


class Tokenizer:
    """Byte-pair encoding as CLIP does it; any text has tokens.

    Args:
        path: Gzipped file of merges: a header line, then one merge a line.
    """

    def __init__(self, path: str | Path) -> None:
        lines = gzip.decompress(Path(path).read_bytes()).decode().split("\n")
        first_second = (line.split() for line in lines[1 : NUM_MERGES + 1])
        merges: list[Merge] = [(first, second) for first, second in first_second]
        self.letters = _letters()
        self.bytes = {letter: byte for byte, letter in self.letters.items()}
        singles = [*self.letters.values()]
        vocabulary = [*singles, *(f"{x}</w>" for x in singles), *(a + b for a, b in merges), *SPECIAL]
        self.encoder = {token: i for i, token in enumerate(vocabulary)}
        self.decoder = {i: token for token, i in self.encoder.items()}
        self.ranks = {pair: i for i, pair in enumerate(merges)}
        self.known: dict[str, tuple[str, ...]] = {}
        self.vocab_size = len(self.encoder)
        self.sot_token_id, self.eot_token_id = (self.encoder[token] for token in SPECIAL)

    def encode(self, text: str) -> list[int]:
        """Returns the tokens of a text, start and end left out; no more than 4,000 letters are read.

        Halves of characters, which no encoding can hold, become question marks.
        """
        text = " ".join(text.split())[:MAX_LETTERS].encode("utf-8", "replace").decode()
        text = html.unescape(html.unescape(ftfy.fix_text(text)))
        words = WORDS.findall(" ".join(text.split()).lower())
        return [self.encoder[token] for word in words for token in self._split(word)]

    def decode(self, tokens: list[int]) -> str:
        """Returns the text of tokens; bytes that are no text become question marks."""
        letters = "".join(self.decoder[token] for token in tokens)
        return bytes(self.bytes[x] for x in letters).decode(errors="replace").replace("</w>", " ")

    def _split(self, word: str) -> tuple[str, ...]:
        if word in SPECIAL:
            return (word,)
        if word in self.known:
            return self.known[word]
        letters = [self.letters[byte] for byte in word.encode()]
        parts = (*letters[:-1], f"{letters[-1]}</w>")
        while len(parts) > 1:
            best = min(pairwise(parts), key=lambda pair: self.ranks.get(pair, math.inf))
            if best not in self.ranks:
                break
            parts = merge(parts, best)
        if len(self.known) < MAX_KNOWN:
            self.known[word] = parts
        return parts


class TextTower(nn.Module):
    """The text half of ``open_clip.CLIP``: same submodules, same names, so that it takes the same weights.

    Args:
        embed_dim: Width of the common space.
        vocab_size: Number of tokens.
        width: Width of the Transformer.
        heads: Attention heads per block.
        layers: Number of blocks.
        context_length: Tokens at most.
        quick_gelu: Whether to use OpenAI's approximation of GELU.
    """

    attn_mask: Tensor

    def __init__(
        self,
        embed_dim: int,
        *,
        vocab_size: int,
        width: int = 512,
        heads: int = 8,
        layers: int = 12,
        context_length: int = 77,
        quick_gelu: bool = False,
    ) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(vocab_size, width)
        self.positional_embedding = nn.Parameter(torch.zeros(context_length, width))
        self.transformer = _Transformer(width, heads, layers, quick_gelu)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.zeros(width, embed_dim))
        mask = torch.full((context_length, context_length), -math.inf).triu(1)
        self.register_buffer("attn_mask", mask, persistent=False)


class _Transformer(nn.Module):
    def __init__(self, width: int, heads: int, layers: int, quick_gelu: bool) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(_Block(width, heads, quick_gelu) for _ in range(layers))

    def forward(self, x: Tensor, attn_mask: Tensor) -> Tensor:
        """Maps ``(B, L, W)`` to the same; ``attn_mask`` ``(L, L)`` is added to the logits."""
        for block in self.resblocks:
            x = block(x, attn_mask)
        return x


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, quick_gelu: bool) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(width)
        layers = {
            "c_fc": nn.Linear(width, 4 * width),
            "gelu": _QuickGELU() if quick_gelu else nn.GELU(),
            "c_proj": nn.Linear(4 * width, width),
        }
        self.mlp = nn.Sequential(OrderedDict(layers))

    def forward(self, x: Tensor, attn_mask: Tensor) -> Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=attn_mask)[0]
        return x + self.mlp(self.ln_2(x))


class _QuickGELU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


def _letters() -> dict[int, str]:
    """Maps every byte to a letter: itself if it is visible, else the next one beyond Latin-1."""
    seen = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    unseen = [byte for byte in range(256) if byte not in seen]
    return {byte: chr(byte) for byte in seen} | {byte: chr(256 + i) for i, byte in enumerate(unseen)}
