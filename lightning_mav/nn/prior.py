"""The diffusion prior's network: a causal Transformer that reads a text and a noised image embedding.

After unCLIP (arXiv 2204.06125, section 2.2). Submodules carry the names of Karlo's weights.
"""

from collections import OrderedDict
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from ..utils.configured import Configured
from ..utils.numbers import check_number
from .attention import attend
from .blocks import StepEmbedding

KeysValues = tuple[Tensor, Tensor]

NUM_EXTRA_TOKENS = 4  # text embedding, timestep, noised image embedding, learned query


class TextConditions(NamedTuple):
    """What the network computes from a text; it is the same at every step, since attention is causal.

    Attributes:
        past: Keys and values of text tokens and text embedding in each block.
        text_mask: Which of them are seen, ``(B, L + 1)``.
    """

    past: list[KeysValues]
    text_mask: Tensor


class Attention(nn.Module):
    """Self-attention with biased projections."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.to_q = nn.Linear(width, width)
        self.to_k = nn.Linear(width, width)
        self.to_v = nn.Linear(width, width)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: Tensor, mask: Tensor, past: KeysValues | None = None) -> tuple[Tensor, KeysValues]:
        """Maps ``(B, N, width)`` to the same, and returns its keys and values.

        Args:
            x: Tokens.
            mask: ``(B, 1, N, M)``, True where a key is seen.
            past: Keys and values of the M - N tokens before.
        """
        q, k, v = (
            rearrange(project(x), "b n (h d) -> b h n d", h=self.num_heads)
            for project in (self.to_q, self.to_k, self.to_v)
        )
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        return self.to_out[0](rearrange(attend(q, k, v, mask), "b h n d -> b n (h d)")), (k, v)


class TransformerBlock(nn.Module):
    """Pre-norm attention, and a two-layer perceptron that is four times as wide inside.

    There is no ``norm2``: Karlo keeps that for cross-attention.
    """

    def __init__(self, width: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn1 = Attention(width, num_heads)
        self.norm3 = nn.LayerNorm(width)
        wide = nn.Sequential(OrderedDict(proj=nn.Linear(width, 4 * width), gelu=nn.GELU()))
        net = nn.Sequential(wide, nn.Dropout(dropout), nn.Linear(4 * width, width))
        self.ff = nn.Sequential(OrderedDict(net=net))

    def forward(self, x: Tensor, mask: Tensor, past: KeysValues | None = None) -> tuple[Tensor, KeysValues]:
        """Maps ``(B, N, width)`` to the same; arguments and the rest as in ``Attention``."""
        attended, keys_values = self.attn1(self.norm1(x), mask, past)
        x = x + attended
        return x + self.ff(self.norm3(x)), keys_values


class PriorTransformer(nn.Module, Configured):
    """Predicts the whitened image embedding ``x_0`` from ``x_t`` and a text.

    The sequence is text tokens, text embedding, timestep, ``x_t`` and a learned query, from whose place the
    answer is read. Attention is causal, and never sees padding.

    Classifier-free guidance needs an empty text. Here its tokens are masked out and its embedding is a
    learned vector, so that a dropped text cannot leak by construction. Karlo has the tokens and the embedding
    of "" in their place; a network with its weights holds both.

    Args:
        embed_dim: Width D of image and text embeddings.
        text_width: Width W of the text's hidden states.
        width: Width of the Transformer.
        num_layers: Number of blocks.
        num_heads: Attention heads per block.
        context_length: Text tokens L at most.
        num_null_tokens: Tokens that stand for a dropped text; 0 for none.
        dropout: Share of perceptron units dropped in training.
    """

    def __init__(
        self,
        embed_dim: int,
        *,
        text_width: int,
        width: int,
        num_layers: int,
        num_heads: int,
        context_length: int = 77,
        num_null_tokens: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        counts = {"embed_dim": embed_dim, "text_width": text_width, "width": width, "num_heads": num_heads}
        for name, count in {**counts, "num_layers": num_layers, "context_length": context_length}.items():
            check_number(name, count, 1)
        check_number("num_null_tokens", num_null_tokens, 0, context_length)
        check_number("dropout", dropout, 0, 1)
        if width % (2 * num_heads):
            raise ValueError(f"width must be a multiple of 2 * num_heads, got {width=} and {num_heads=}")
        self.embed_dim = embed_dim
        self.time_embedding = StepEmbedding(width, width)
        self.proj_in = nn.Linear(embed_dim, width)
        self.embedding_proj = nn.Linear(embed_dim, width)
        self.encoder_hidden_states_proj = nn.Linear(text_width, width)
        self.null_text_embed = nn.Parameter(torch.zeros(embed_dim))
        self.num_null_tokens = num_null_tokens
        self.null_text_hidden: Tensor
        if num_null_tokens:
            self.register_buffer("null_text_hidden", torch.zeros(num_null_tokens, text_width))
        self.prd_embedding = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.positional_embedding = nn.Parameter(
            0.02 * torch.randn(1, context_length + NUM_EXTRA_TOKENS, width)
        )
        self.transformer_blocks = nn.ModuleList(
            TransformerBlock(width, num_heads, dropout) for _ in range(num_layers)
        )
        self.norm_out = nn.LayerNorm(width)
        self.proj_to_clip_embeddings = nn.Linear(width, embed_dim)
        # Statistics of the image embeddings, which whiten them: x_0 = (image_embed - clip_mean) / clip_std.
        self.clip_mean: Tensor
        self.clip_std: Tensor
        self.register_buffer("clip_mean", torch.zeros(1, embed_dim))
        self.register_buffer("clip_std", torch.ones(1, embed_dim))

    def whiten(self, image_embed: Tensor) -> Tensor:
        """Maps image embeddings ``(B, D)`` to zero mean and unit variance."""
        return (image_embed - self.clip_mean) / self.clip_std

    def unwhiten(self, x_0: Tensor) -> Tensor:
        """Undoes ``whiten``."""
        return x_0 * self.clip_std + self.clip_mean

    def conditions(
        self, *, text_embed: Tensor, text_hidden: Tensor, text_mask: Tensor, drop: Tensor | None = None
    ) -> TextConditions:
        """Reads the text, whose tokens see neither the step nor ``x_t``; arguments as for ``forward``."""
        if drop is not None:
            text_embed = torch.where(drop[:, None], self.null_text_embed, text_embed)
            seen = torch.arange(text_mask.shape[1], device=drop.device) < self.num_null_tokens
            text_mask = torch.where(drop[:, None], seen, text_mask)
            if n := self.num_null_tokens:
                first = torch.where(drop[:, None, None], self.null_text_hidden, text_hidden[:, :n])
                text_hidden = torch.cat([first, text_hidden[:, n:]], dim=1)
        # No token sees a column that is padding in every row: leave such columns out.
        kept = text_mask.any(dim=0)
        text_mask, text_hidden = text_mask[:, kept], text_hidden[:, kept]
        text_mask = F.pad(text_mask, (0, 1), value=True)
        tokens = [
            self.encoder_hidden_states_proj(text_hidden),
            rearrange(self.embedding_proj(text_embed), "b c -> b 1 c"),
        ]
        positions = self.positional_embedding[:, : 1 - NUM_EXTRA_TOKENS]
        x = torch.cat(tokens, dim=1) + positions[:, F.pad(kept, (0, 1), value=True)]
        mask, past = attention_mask(text_mask), []
        for block in self.transformer_blocks:
            x, keys_values = block(x, mask)
            past.append(keys_values)
        return TextConditions(past, text_mask)

    def forward(
        self, x_t: Tensor, t: Tensor, *, conditions: TextConditions | None = None, **text: Tensor | None
    ) -> Tensor:
        """Predicts ``x_0``, ``(B, D)``.

        Args:
            x_t: Noised, whitened image embedding, ``(B, D)``.
            t: Timestep, ``(B,)``.
            conditions: Result of ``self.conditions`` for the text, computed once for all steps of a sample.
            text: Instead, for a single call, the arguments of ``self.conditions``:
                text_embed, ``(B, D)``;
                text_hidden, hidden states of the text's tokens, ``(B, L, W)``;
                text_mask, ``(B, L)``, True for real tokens;
                drop, ``(B,)``, True where the text is to be ignored.
        """
        past, text_mask = conditions or self.conditions(**text)  # type: ignore[arg-type]
        tokens = [
            rearrange(self.time_embedding(t), "b c -> b 1 c"),
            rearrange(self.proj_in(x_t), "b c -> b 1 c"),
            repeat(self.prd_embedding, "1 1 c -> b 1 c", b=len(x_t)),
        ]
        x = torch.cat(tokens, dim=1) + self.positional_embedding[:, 1 - NUM_EXTRA_TOKENS :]
        mask = attention_mask(F.pad(text_mask, (0, len(tokens)), value=True))[:, :, -len(tokens) :]
        for block, keys_values in zip(self.transformer_blocks, past, strict=True):
            x, _ = block(x, mask, keys_values)
        return self.proj_to_clip_embeddings(self.norm_out(x[:, -1]))


def attention_mask(seen: Tensor) -> Tensor:
    """Returns a causal mask, ``(B, 1, N, N)``, that hides padding; every token sees itself.

    Args:
        seen: ``(B, N)``, False for padding.
    """
    causal = torch.ones(seen.shape[1], seen.shape[1], dtype=torch.bool, device=seen.device).tril()
    # A row that saw nothing at all would be NaN, hence the diagonal.
    oneself = torch.eye(seen.shape[1], dtype=torch.bool, device=seen.device)
    return rearrange(causal & seen[:, None] | oneself, "b n m -> b 1 n m")
