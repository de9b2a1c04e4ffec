"""Upscaling in windows and tiles: the same as in one piece, without seams, in memory that does not grow."""

import itertools

import pytest
import torch

from lightning_mav.diffusion import GaussianDiffusion, Sampler
from lightning_mav.models import SRH, SRLT
from lightning_mav.models.sampling import Sampling
from lightning_mav.models.tiling import PlacedNoise, count_tiles, fade_in, spans
from lightning_mav.models.upscaling import upscale_frames
from lightning_mav.nn import Pseudo3DUNet
from lightning_mav.weights import load_stage, weights_files

ROUNDING = 1e-3  # of half precision, in which frames wait


def small_net(**options):
    sizes = {"channels": 8, "channel_mults": (1, 2), "num_blocks": 1, "attention_levels": (), "norm_groups": 4}
    net = Pseudo3DUNet(**sizes, cond_channels=3, noise_level_condition=True, residual=True, **options)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return net


@pytest.fixture(scope="module", autouse=True)
def seeded():
    torch.manual_seed(0)


def srlt(**options):
    return SRLT(small_net(fps_condition=True), GaussianDiffusion(prediction="x_0"), Sampler(num_steps=2), scale=2, **options)


def srh(**options):
    net = small_net(temporal=False)
    return SRH(net, GaussianDiffusion(prediction="x_0"), Sampler(num_steps=2, **options), scale=3)


def clip(num_frames, height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(num_frames, 3, height, width, generator=generator) * 2 - 1


def upscaled(models, frames, **options):
    found = upscale_frames(models, iter(frames), 25.0, sampling=Sampling(seed=1), precision="32-true", **options)
    return torch.stack([*found])


@pytest.mark.parametrize("num_frames", [1, 3, 16, 17, 27, 28, 29, 41])
@pytest.mark.parametrize("overlap", [0, 4])
def test_windows_are_those_of_the_stage(num_frames, overlap, monkeypatch):
    """Without noise, what is streamed is what the stage gives for the whole video."""
    model, video = srlt(overlap=overlap), clip(num_frames, 10, 14)
    zeros = lambda low, frames, generator: low.new_zeros(2, 1, 3, frames, *model.enlarged(low))  # noqa: E731
    monkeypatch.setattr(model, "sample_frame_noise", zeros)
    monkeypatch.setattr(PlacedNoise, "_block", lambda self, draw, frame, y, x, channels: torch.zeros(channels, 64, 64))
    whole = model.sample(video.transpose(0, 1)[None], torch.tensor([25.0]))[0].transpose(0, 1)
    torch.testing.assert_close(upscaled({"sr_lt": model}, video), whole, atol=ROUNDING, rtol=0)
