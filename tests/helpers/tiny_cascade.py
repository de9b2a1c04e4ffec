"""A cascade of tiny, random stages, saved as a trained one is."""

import functools

import torch
from torch import nn

from lightning_mav.clip import Clip
from lightning_mav.diffusion import GaussianDiffusion, Sampler
from lightning_mav.models import SRH, SRLT, Decoder, Interpolation, Prior
from lightning_mav.nn import Pseudo3DUNet
from lightning_mav.nn.prior import PriorTransformer
from lightning_mav.weights import save_weights

D, W = 8, 16

# Settings of the smallest evaluation of it.
TINY = {
    "batch_size": 6, "num_final_per_class": 1, "num_renders": 12, "num_final_renders": 12, "num_untrained": 6,
    "num_clip_renders": 1, "num_windows": 3, "num_sr_videos": 2, "num_sr_images": 3, "num_noise_videos": 1,
    "speed_fps": [12.0], "num_speed_per_class": 1, "num_speed_renders": 12,
}  # fmt: skip


def save_tiny_cascade(folder):
    """Writes clip, prior, decoder (16 frames of 8 px), interpolation, sr_lt (16 px) and sr_h (48 px)."""
    torch.manual_seed(0)
    unet = functools.partial(
        Pseudo3DUNet, channels=8, channel_mults=(1,), num_blocks=1, attention_levels=(), norm_groups=4
    )
    embed = {"image_embed_dim": D, "context_channels": 8, "fps_condition": True}
    low = {"cond_channels": 3, "noise_level_condition": True}
    text = {"context_length": 77, "width": W, "heads": 2, "layers": 1}
    vision = {"patch_size": 4, "width": 16, "head_width": 8, "layers": 1}
    prior = PriorTransformer(D, text_width=W, width=16, num_layers=1, num_heads=2)
    x_0, v = (
        (lambda: GaussianDiffusion("cosine", prediction="x_0")),
        (lambda: GaussianDiffusion(prediction="v")),
    )
    sampler = functools.partial(Sampler, num_steps=2)
    stages = {
        "clip": Clip(D, image_size=8, vision=vision, text=text),
        "prior": Prior(prior, x_0(), sampler()),
        "decoder": Decoder(unet(**embed), v(), sampler(guidance_scale=2.0), image_size=8),
        "interpolation": Interpolation(unet(cond_channels=4, **embed), v(), sampler()),
        "sr_lt": SRLT(unet(fps_condition=True, **low), x_0(), Sampler(num_steps=1), scale=2),
        "sr_h": SRH(unet(**low), x_0(), Sampler(num_steps=1), scale=3),
    }
    for name, stage in stages.items():
        for parameter in stage.parameters():
            nn.init.normal_(parameter, std=0.2)  # a fresh network predicts zeros, whatever it is given
        save_weights(stage, folder / f"{name}.safetensors")
    return folder
