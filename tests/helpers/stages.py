"""Stages that are built and ready to train, without a trainer."""

from types import SimpleNamespace

import torch

from helpers.configs import parse
from lightning_mav.clip import Clip
from lightning_mav.weights import save_weights


def save_tiny_clip(folder):
    """Saves a CLIP of random weights, which makes embeddings of width 6 from images of 16 px."""
    clip = Clip(
        6,
        image_size=16,
        vision={"width": 8, "layers": 1, "patch_size": 8, "head_width": 4},
        text={"width": 8, "heads": 2, "layers": 1},
    )
    return str(save_weights(clip, folder / "clip.safetensors"))


def build_stage(run, scale, *overrides):
    """Builds the stage of a run as ``mav train`` does; returns it, ready to train, and its data."""
    cli = parse(run, scale, *overrides)
    torch.manual_seed(0)
    made = cli.parser.instantiate_classes(cli.config).fit
    stage = made.model
    stage._trainer = SimpleNamespace(max_steps=10, precision="32-true", global_step=0)
    stage.log = stage.log_dict = lambda *args, **kwargs: None
    stage.setup("validate")
    return stage.train(), made.data
