"""The networks that are compared, and a step of their training. Sizes follow our ``channels``."""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lightning_mav.nn import Pseudo3DUNet
from lightning_mav.training.compiling import compile_network

from . import machine

Network = tuple[nn.Module, Callable[[Tensor], Tensor]]  # a module, and how to call it on a video

FRAMES, SIZE = 16, 64
MULTS = (1, 2, 3, 4)
CONTEXT = (4, 512)  # tokens, channels of each
# Of Karlo's decoder, the largest open unCLIP.
KARLO = {"channels": 320, "num_blocks": 3, "head_channels": 64, "embed": 768, "context": 1536}


def unet(
    channels: int,
    *,
    num_blocks: int = 1,
    attention_levels: Sequence[int] = (1, 2, 3),
    head_channels: int = 32,
    embed: int = 512,
    context: int = 512,
    checkpoint: bool = False,
) -> Pseudo3DUNet:
    """This project's U-Net, as the decoder uses it."""
    return Pseudo3DUNet(
        channels=channels,
        channel_mults=MULTS,
        num_blocks=num_blocks,
        attention_levels=attention_levels,
        head_channels=head_channels,
        norm_groups=32,
        image_embed_dim=embed,
        context_channels=context,
        fps_condition=True,
        checkpoint=checkpoint,
    )


def call_unet(model: Pseudo3DUNet, video: Tensor) -> Tensor:
    """Calls it on a video, with all its conditions."""
    ones = video.new_ones(len(video))
    embed = video.new_ones(len(video), model.image_embed_dim)
    return model(video, 500 * ones, image_embed=embed, fps=8 * ones)


def ours(channels: int, **settings: Any) -> Network:
    """Our U-Net on the device."""
    model = unet(channels, **settings).to(machine.device())
    return model, partial(call_unet, model)


def make_a_video_pytorch(channels: int, *, num_blocks: int = 1) -> Network:
    """The same widths and attention at the same levels; its blocks have one convolution more."""
    from make_a_video_pytorch import SpaceTimeUnet

    # It asks for attention in a way that torch means to remove.
    warnings.filterwarnings("ignore", category=FutureWarning, message=".*sdp_kernel")
    model = SpaceTimeUnet(
        dim=channels,
        dim_mult=MULTS,
        resnet_block_depths=(num_blocks,) * 4,
        temporal_compression=(False,) * 4,
        self_attns=(False, True, True, True),
        attn_pos_bias=False,
        flash_attn=True,
    ).to(machine.device())
    return model, lambda video: model(video, timestep=500 * video.new_ones(len(video)))


def diffusers_unet3d(channels: int, *, num_blocks: int = 2) -> Network:
    """ModelScope's architecture at our widths: two blocks a level, attention at all levels but the last."""
    from diffusers import UNet3DConditionModel

    return _diffusers(UNet3DConditionModel, channels, layers_per_block=num_blocks, attention_head_dim=32)


def diffusers_motion(channels: int, *, num_blocks: int = 1) -> Network:
    """AnimateDiff's architecture with our widths, blocks a level, attention levels and heads."""
    from diffusers import UNetMotionModel

    return _diffusers(
        UNetMotionModel,
        channels,
        per_frame=True,
        layers_per_block=num_blocks,
        down_block_types=("DownBlockMotion", *["CrossAttnDownBlockMotion"] * 3),
        up_block_types=(*["CrossAttnUpBlockMotion"] * 3, "UpBlockMotion"),
        num_attention_heads=tuple(max(1, channels * mult // 32) for mult in MULTS),
        motion_num_attention_heads=tuple(max(1, channels * mult // 32) for mult in MULTS),
    )


def _diffusers(architecture: Any, channels: int, *, per_frame: bool = False, **settings: Any) -> Network:
    model = architecture(
        sample_size=SIZE,
        in_channels=3,
        out_channels=3,
        block_out_channels=tuple(channels * mult for mult in MULTS),
        cross_attention_dim=CONTEXT[1],
        **settings,
    ).to(machine.device())

    def call(video: Tensor) -> Tensor:
        # One takes the context of each video, the other that of each frame.
        copies = len(video) * (video.shape[2] if per_frame else 1)
        return model(video, 500, video.new_ones(copies, *CONTEXT)).sample

    return model, call


NETWORKS: dict[str, Callable[..., Network]] = {
    "ours": ours,
    "make-a-video-pytorch": make_a_video_pytorch,
    "diffusers-unet3d": diffusers_unet3d,
    "diffusers-motion": diffusers_motion,
}
PEERS = [name for name in NETWORKS if name != "ours"]


class Training:
    """A network in training; calling it makes a step: forward, mean square of the output, backward, AdamW.

    Args:
        name: One of ``NETWORKS``.
        precision: ``fp32``, or ``bf16`` for the forward pass under autocast.
        channels: Channels at full resolution.
        frames: Frames of the video.
        size: Height and width of the video.
        batch: Videos in a step.
        **settings: Further arguments of the network.
    """

    def __init__(
        self,
        name: str,
        precision: str,
        *,
        channels: int = 64,
        frames: int = FRAMES,
        size: int = SIZE,
        batch: int = 1,
        **settings: Any,
    ) -> None:
        torch.manual_seed(0)
        self.model, self.call = NETWORKS[name](channels, **settings)
        self.model.train()
        for parameter in self.model.parameters():
            if not parameter.any():  # outputs that start at zero make gradients of zeros, which are cheap
                nn.init.normal_(parameter, std=0.02)
        self.precision = precision
        self.video = torch.randn(batch, 3, frames, size, size, device=machine.device())
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-5, fused=True)

    @property
    def num_parameters(self) -> int:
        """Number of trainable parameters."""
        return sum(p.numel() for p in self.model.parameters() if p.requires_grad)

    def compile(self, parts: str = "blocks") -> None:
        """Compiles blocks or norms, as a training does; ``torch.compiler.set_stance`` leaves that out."""
        compile_network(self.model, parts)

    def gradient(self) -> None:
        """Forward and backward pass."""
        with machine.autocast(self.precision):
            loss = self.call(self.video).float().square().mean()
        loss.backward()

    def __call__(self) -> None:
        """Makes a step, and keeps no gradients: other networks need the room."""
        self.gradient()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
