"""The pseudo-3D U-Net that decoder, interpolation and both super-resolution stages share."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..utils.configured import Configured
from .blocks import Block, ImageEmbedding, StepEmbedding
from .norm import GroupNorm
from .old_names import rename_in_place
from .pseudo3d import PseudoConv3d, TemporalAttention, TemporalConv, to_frames, to_video
from .sizes import check_sizes


class UNetConditions(NamedTuple):
    """What a network computes from its conditions: all that does not depend on the diffusion step.

    Attributes:
        embed: Sum of the embedded conditions, ``(B, E)``, or 0.
        context: Context tokens, ``(B, L, C_context)``, or None.
        x_cond: As it was given.
        h_cond: What the first convolution makes of ``x_cond``, ``(B*F, C, H, W)``, or 0.
    """

    embed: Tensor | float
    context: Tensor | None
    x_cond: Tensor | None
    h_cond: Tensor | float


class Pseudo3DUNet(nn.Module, Configured):
    """ADM U-Net (Dhariwal and Nichol, 2021; unCLIP, appendix C) with time added (Make-A-Video, section 3.2).

    Args:
        in_channels: Channels of ``x_t``.
        out_channels: Channels of the output.
        cond_channels: Channels of ``x_cond``, which is concatenated to ``x_t``: 3 for the upsampled video
            (super-resolution), 4 for masked video and mask (interpolation), 0 for none.
        channels: Channels at full resolution.
        channel_mults: Multiplier of ``channels`` at each level; the resolution halves from one to the next.
        num_blocks: Residual blocks per level on the way down; one more on the way up.
        attention_levels: Levels with attention; the middle has it, too, if any level has.
        head_channels: Channels per attention head.
        norm_groups: Groups of each GroupNorm.
        film: Whether the step scales and shifts (decoder) or is added (super-resolution).
        dropout: Dropout in the residual blocks.
        image_embed_dim: Dimension of the CLIP image embedding; 0 for none.
        context_channels: Channels of the context tokens made from the embedding.
        num_text_tokens: Tokens of a text that is the same for all, see ``ImageEmbedding``; 0 for none.
        fps_condition: Whether the frame rate is a condition; starts as a no-op.
        noise_level_condition: Whether the noise level of ``x_cond`` is a condition; starts as a no-op.
        residual: Whether ``x_cond`` (the first of its channels, as many as the output has) is added to the
            output. The network then predicts ``x_0`` as a correction of its upsampled or blended input.
        temporal: Whether there are temporal layers; without them this is an image network.
        checkpoint: Whether training keeps only the input of each block and computes the rest again in the
            backward pass: much less memory, for about a third more time.

    Raises:
        ValueError: If an argument is out of its range, or does not go with the others.

    Examples:
        >>> sizes = {"channels": 16, "channel_mults": (1, 2), "num_blocks": 1, "norm_groups": 4}
        >>> net = Pseudo3DUNet(**sizes, attention_levels=(1,), head_channels=16, image_embed_dim=64)
        >>> net(torch.randn(2, 3, 5, 16, 16), torch.tensor([10, 500]), image_embed=torch.randn(2, 64)).shape
        torch.Size([2, 3, 5, 16, 16])
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        *,
        cond_channels: int = 0,
        channels: int = 320,
        channel_mults: Sequence[int] = (1, 2, 3, 4),
        num_blocks: int = 3,
        attention_levels: Sequence[int] = (1, 2, 3),
        head_channels: int = 64,
        norm_groups: int = 32,
        film: bool = True,
        dropout: float = 0.0,
        image_embed_dim: int = 0,
        context_channels: int = 1536,
        num_text_tokens: int = 0,
        fps_condition: bool = False,
        noise_level_condition: bool = False,
        residual: bool = False,
        temporal: bool = True,
        checkpoint: bool = False,
    ) -> None:
        check_sizes(locals())
        super().__init__()
        self.in_channels, self.cond_channels = in_channels, cond_channels
        self.image_embed_dim = image_embed_dim
        self.temporal, self.residual = temporal, residual
        embed_channels = 4 * channels
        block = partial(
            Block,
            embed_channels=embed_channels,
            head_channels=head_channels,
            norm_groups=norm_groups,
            context_channels=context_channels if image_embed_dim else 0,
            film=film,
            dropout=dropout,
            temporal=temporal,
            checkpoint=checkpoint,
        )
        no_op = partial(StepEmbedding, channels, embed_channels, zero_init=True)
        self.time_embedding = StepEmbedding(channels, embed_channels)
        self.image_embedding = (
            ImageEmbedding(image_embed_dim, embed_channels, context_channels, num_text_tokens=num_text_tokens)
            if image_embed_dim
            else None
        )
        self.fps_embedding = no_op() if fps_condition else None
        self.noise_level_embedding = no_op() if noise_level_condition else None
        self.conv_in = PseudoConv3d(in_channels + cond_channels, channels, temporal=temporal)
        self._add_blocks(block, [channels * mult for mult in channel_mults], num_blocks, attention_levels)
        self.conv_norm_out = GroupNorm(norm_groups, channels, silu=True)
        self.conv_out = PseudoConv3d(channels, out_channels, temporal=temporal)
        self.clear_output()
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.register_load_state_dict_pre_hook(rename_in_place)

    def _add_blocks(
        self, block: Callable[..., Block], widths: Sequence[int], num_blocks: int, attention: Sequence[int]
    ) -> None:
        """Adds the levels' blocks; on the way up each block sees, beside its input, one of the way down."""
        self.down_blocks, self.up_blocks = nn.ModuleList(), nn.ModuleList()
        width = self.conv_in.spatial.out_channels
        skips = [width]
        for level, out in enumerate(widths):
            blocks = nn.ModuleList()
            for _ in range(num_blocks):
                blocks.append(block(width, out, attention=level in attention))
                width = out
            if level < len(widths) - 1:
                blocks.append(block(out, out, resample="down"))
            self.down_blocks.append(blocks)
            skips += [out] * len(blocks)
        middle = [block(width, width, attention=bool(attention)), block(width, width)]
        self.mid_block = nn.ModuleList(middle)
        for level, out in reversed(list(enumerate(widths))):
            blocks = nn.ModuleList()
            for _ in range(num_blocks + 1):
                blocks.append(block(width + skips.pop(), out, attention=level in attention))
                width = out
            if level > 0:
                blocks.append(block(out, out, resample="up"))
            self.up_blocks.append(blocks)

    def conditions(
        self,
        *,
        image_embed: Tensor | None = None,
        x_cond: Tensor | None = None,
        fps: Tensor | None = None,
        noise_level: Tensor | None = None,
        drop: Tensor | None = None,
    ) -> UNetConditions:
        """Computes all that the diffusion step does not change; arguments as for ``forward``."""
        embed: Tensor | float = 0.0
        context = None
        if self.image_embedding is not None:
            if image_embed is None:  # unconditional
                image_embed = self.image_embedding.null[None]
            embed, context = self.image_embedding(image_embed, drop)
        if self.fps_embedding is not None and fps is not None:
            # Motion per frame is inversely proportional to fps, so take the logarithm. The factor is only
            # 10, so that close rates get similar embeddings: some of them never occur in training.
            embed = embed + self.fps_embedding(10 * fps.log())
        if self.noise_level_embedding is not None and noise_level is not None:
            embed = embed + self.noise_level_embedding(1000 * noise_level)
        h_cond: Tensor | float = 0.0
        if x_cond is not None:
            weight = self.conv_in.spatial.weight[:, -x_cond.shape[1] :]
            h_cond = F.conv2d(to_frames(self._padded(x_cond)), weight, padding=self.conv_in.spatial.padding)
        return UNetConditions(embed, context, x_cond, h_cond)

    def forward(
        self, x_t: Tensor, t: Tensor, *, conditions: UNetConditions | None = None, **cond: Tensor | None
    ) -> Tensor:
        """Maps a noised video ``(B, C, F, H, W)`` to the prediction, ``(B, C_out, F, H, W)``.

        Args:
            x_t: Noised video, of any size; an image has ``F = 1``. One frame also stands for all frames of
                ``x_cond``.
            t: Diffusion steps, ``(B,)``.
            conditions: Result of ``self.conditions`` for ``cond``, computed once for all steps of a sample.
            cond: Instead, for a single call, the conditions:
                image_embed, CLIP image embedding, ``(B, D)``;
                x_cond, video concatenated to ``x_t``, ``(B, C_cond, F, H, W)``;
                fps, frames per second, ``(B,)``; noise_level, that of ``x_cond``, ``(B,)``, in [0, 1];
                drop, which image embeddings to leave out, ``(B,)`` of booleans.
        """
        embed, context, x_cond, h_cond = conditions or self.conditions(**cond)
        emb = self.time_embedding(t) + embed
        num_frames = (x_t if x_cond is None else x_cond).shape[2]
        # The first convolution of x_t and x_cond side by side is the sum of those of each.
        conv = self.conv_in.spatial
        h = F.conv2d(
            to_frames(self._padded(x_t)), conv.weight[:, : x_t.shape[1]], conv.bias, padding=conv.padding
        )
        if isinstance(h_cond, Tensor) and len(h) < len(h_cond):  # one frame for all
            h = (h_cond.unflatten(0, (len(h), -1)) + h[:, None]).flatten(0, 1)
        else:
            h = h + h_cond
        h = self.conv_in.over_time(h, num_frames)
        skips = [h]
        for block in chain(*self.down_blocks):
            h = block(h, emb, context, num_frames)
            skips.append(h)
        for block in self.mid_block:
            h = block(h, emb, context, num_frames)
        for block in chain(*self.up_blocks):
            if block.resnet.resample is None:
                h = torch.cat([h, skips.pop()], dim=1)
            h = block(h, emb, context, num_frames)
        out = to_video(self.conv_out(self.conv_norm_out(h), num_frames), num_frames)
        out = out[..., : x_t.shape[-2], : x_t.shape[-1]]
        return out + x_cond[:, : out.shape[1]] if self.residual and x_cond is not None else out

    def _padded(self, video: Tensor) -> Tensor:
        """Repeats the last rows and columns until the sizes can be halved from level to level."""
        factor = 2 ** (len(self.down_blocks) - 1)
        bottom, right = (-size % factor for size in video.shape[-2:])
        return F.pad(video, (0, right, 0, bottom, 0, 0), mode="replicate") if bottom or right else video

    def clear_output(self) -> None:
        """Sets the last convolution to zero: the output is zero, or the condition of a residual network."""
        for parameter in self.conv_out.spatial.parameters():
            nn.init.zeros_(parameter)
        if self.conv_out.temporal is not None:  # its kernel may stay: it sees zeros now
            nn.init.zeros_(self.conv_out.temporal.bias)  # type: ignore[arg-type]

    def temporal_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yields what inflation adds to an image network: temporal layers and the fps embedding, by name."""
        for name, module in self.named_modules():
            if isinstance(module, TemporalConv | TemporalAttention) or name == "fps_embedding":
                for key, parameter in module.named_parameters():
                    yield f"{name}.{key}", parameter
