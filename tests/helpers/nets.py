"""Sizes of small networks, and a small decoder."""

from lightning_mav.diffusion import GaussianDiffusion, Sampler
from lightning_mav.models import Decoder
from lightning_mav.nn import Pseudo3DUNet

SMALL = {"channels": 16, "channel_mults": (1, 2), "num_blocks": 1, "head_channels": 8, "norm_groups": 4}
DECODER = SMALL | {"attention_levels": (1,), "image_embed_dim": 6, "context_channels": 8}
SR = SMALL | {
    "attention_levels": (),
    "cond_channels": 3,
    "film": False,
    "noise_level_condition": True,
    "residual": True,
}
VIDEO = {"temporal": True, "fps_condition": True}


def tiny_decoder():
    unet = Pseudo3DUNet(
        channels=8,
        channel_mults=(1, 2),
        num_blocks=1,
        attention_levels=(1,),
        head_channels=4,
        norm_groups=4,
        image_embed_dim=5,
        context_channels=4,
    )
    return Decoder(unet, GaussianDiffusion("linear", prediction="v"), Sampler(num_steps=3), image_size=8)
