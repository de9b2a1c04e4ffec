"""Parts of the U-Net (Dhariwal and Nichol, 2021; unCLIP): residual block with attention, embeddings."""

from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .conv import RowConv
from .norm import GroupNorm
from .pseudo3d import PseudoAttention3d, PseudoConv3d, sinusoidal_embedding


class ResBlock(nn.Module):
    """Residual block with the diffusion step as a condition, resampling inside.

    Norm, SiLU, resampling of both branches, convolution; norm, condition, SiLU, dropout, convolution.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        embed_channels: Channels of the embedding of step and conditions.
        norm_groups: Groups of each GroupNorm.
        film: Whether the embedding scales and shifts the second norm (decoder) or is added (SR).
        dropout: Dropout before the second convolution.
        resample: Halves or doubles height and width, if given.
        temporal: Whether the convolutions are pseudo-3D.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embed_channels: int,
        *,
        norm_groups: int,
        film: bool = True,
        dropout: float = 0.0,
        resample: Literal["down", "up"] | None = None,
        temporal: bool = True,
    ) -> None:
        super().__init__()
        self.film = film
        self.resample = resample
        self.norm1 = GroupNorm(norm_groups, in_channels, silu=True)
        self.conv1 = PseudoConv3d(in_channels, out_channels, temporal=temporal)
        self.time_emb_proj = nn.Linear(embed_channels, (1 + film) * out_channels)
        self.norm2 = GroupNorm(norm_groups, out_channels, silu=True)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = PseudoConv3d(out_channels, out_channels, temporal=temporal)
        nn.init.zeros_(self.conv2.spatial.weight)
        nn.init.zeros_(self.conv2.spatial.bias)  # type: ignore[arg-type]
        self.conv_shortcut = (
            RowConv(in_channels, out_channels) if in_channels != out_channels else nn.Identity()
        )

    def forward(self, x: Tensor, emb: Tensor, num_frames: int) -> Tensor:
        """Maps frames ``(B*F, C_in, H, W)``, with ``(B, E)``, to ``(B*F, C_out, H', W')``."""
        h = self.norm1(x)
        if self.resample == "down":
            h, x = F.avg_pool2d(h, 2), F.avg_pool2d(x, 2)
        elif self.resample == "up":
            h, x = (F.interpolate(y, scale_factor=2, mode="nearest") for y in (h, x))
        h = self.conv1(h, num_frames)
        emb = self.time_emb_proj(F.silu(emb))
        if self.film:
            h = self.norm2(h, film=emb)
        else:
            h = self.norm2(h + emb.repeat_interleave(num_frames, dim=0)[:, :, None, None])
        h = self.conv2(self.dropout(h), num_frames)
        return self.conv_shortcut(x) + h


class Block(nn.Module):
    """Residual block with its attention, if any: the unit that is recomputed, compiled and sharded.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        embed_channels: Channels of the embedding of step and conditions.
        attention: Whether attention follows the residual block.
        head_channels: Channels per attention head.
        norm_groups: Groups of each GroupNorm.
        context_channels: Channels of the context tokens that attention sees; 0 for none.
        temporal: Whether there are temporal layers.
        checkpoint: Whether training keeps the input alone, and computes the rest again in the backward pass.
        kwargs: ``film``, ``dropout`` and ``resample`` of ``ResBlock``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embed_channels: int,
        *,
        attention: bool = False,
        head_channels: int,
        norm_groups: int,
        context_channels: int = 0,
        temporal: bool = True,
        checkpoint: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.checkpoint = checkpoint
        shared: dict[str, Any] = {"norm_groups": norm_groups, "temporal": temporal}
        self.resnet = ResBlock(in_channels, out_channels, embed_channels, **shared, **kwargs)
        self.attention: PseudoAttention3d | None = None
        if attention:
            shared |= {"head_channels": head_channels, "context_channels": context_channels}
            self.attention = PseudoAttention3d(out_channels, **shared)

    def forward(self, x: Tensor, emb: Tensor, context: Tensor | None, num_frames: int) -> Tensor:
        """Maps frames ``(B*F, C_in, H, W)`` to ``(B*F, C_out, H', W')``.

        Args:
            x: Frames.
            emb: Embedding of step and conditions, ``(B, E)``.
            context: Context tokens, ``(B, L, C_context)``, for attention.
            num_frames: F.
        """
        if self.checkpoint and torch.is_grad_enabled():
            return cast(Tensor, checkpoint(self._run, x, emb, context, num_frames, use_reentrant=False))
        return self._run(x, emb, context, num_frames)

    def _run(self, x: Tensor, emb: Tensor, context: Tensor | None, num_frames: int) -> Tensor:
        x = self.resnet(x, emb, num_frames)
        return x if self.attention is None else self.attention(x, context, num_frames)


class StepEmbedding(nn.Module):
    """Two-layer perceptron over the sinusoidal embedding of a number.

    Args:
        channels: Channels of the sinusoidal embedding.
        embed_channels: Channels of the output.
        zero_init: Whether the output starts at zero, so that a network to which the condition is added
            later starts as it was.
    """

    def __init__(self, channels: int, embed_channels: int, *, zero_init: bool = False) -> None:
        super().__init__()
        self.channels = channels
        self.linear_1 = nn.Linear(channels, embed_channels)
        self.linear_2 = nn.Linear(embed_channels, embed_channels)
        if zero_init:
            nn.init.zeros_(self.linear_2.weight)
            nn.init.zeros_(self.linear_2.bias)

    def forward(self, t: Tensor) -> Tensor:
        """Maps numbers ``(B,)`` to ``(B, E)``."""
        return self.linear_2(F.silu(self.linear_1(sinusoidal_embedding(t, self.channels))))


class ImageEmbedding(nn.Module):
    """Conditions on a CLIP image embedding: a term of the step embedding and extra context tokens.

    Both follow unCLIP, section 2.1. A dropped embedding is replaced by a learned one, for classifier-free
    guidance.

    A network that was also trained on texts can do without them if it always sees the same one, such as "".
    What it makes of that text is kept as constants, which are added to the other two.

    Args:
        image_embed_dim: Dimension of the CLIP embedding.
        embed_channels: Channels of the step embedding.
        context_channels: Channels of a context token.
        num_tokens: Number of context tokens.
        num_text_tokens: Number of constant context tokens of a text; 0 for no text.
    """

    text_embed: Tensor
    text_context: Tensor

    def __init__(
        self,
        image_embed_dim: int,
        embed_channels: int,
        context_channels: int,
        num_tokens: int = 4,
        num_text_tokens: int = 0,
    ) -> None:
        super().__init__()
        self.num_text_tokens = num_text_tokens
        if num_text_tokens:
            self.register_buffer("text_embed", torch.zeros(embed_channels))
            self.register_buffer("text_context", torch.zeros(num_text_tokens, context_channels))
        self.num_tokens = num_tokens
        self.null = nn.Parameter(torch.zeros(image_embed_dim))
        self.to_embed = nn.Linear(image_embed_dim, embed_channels)
        self.to_context = nn.Linear(image_embed_dim, num_tokens * context_channels)

    def forward(self, image_embed: Tensor, drop: Tensor | None) -> tuple[Tensor, Tensor]:
        """Maps ``(B, D)`` to a step embedding ``(B, E)`` and all context tokens, ``(B, L, C)``.

        ``drop``, ``(B,)`` of booleans, says which embeddings to leave out.
        """
        if drop is not None:
            image_embed = torch.where(drop[:, None], self.null.to(image_embed.dtype), image_embed)
        # The projection holds the tokens in its last place: the layout of the open unCLIP weights.
        context = self.to_context(image_embed).unflatten(-1, (-1, self.num_tokens)).transpose(1, 2)
        embed = self.to_embed(image_embed)
        if self.num_text_tokens:
            embed = embed + self.text_embed
            context = torch.cat([context, self.text_context.to(context).expand(len(context), -1, -1)], dim=1)
        return embed, context
