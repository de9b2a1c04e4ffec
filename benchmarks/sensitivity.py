"""How FVD of the project's own features reacts to damage of five strengths; ``--turns`` has no effect."""

import argparse
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_mav.evaluation.features import load_features
from lightning_mav.evaluation.features.micro_training import FPS_RANGE, NUM_FRAMES
from lightning_mav.evaluation.metrics import frechet_distance_of
from lightning_mav.worlds.micro.world import ALL, render_videos

from .report import Section, Table

STRENGTHS = (0.2, 0.4, 0.6, 0.8, 1.0)
IMAGE_SIZE = 32
MAX_NOISE = 0.5  # standard deviation in [-1, 1]
MAX_BLUR = 2.0  # standard deviation in pixels
BATCH_SIZE = 64

Damage = Callable[[Tensor, float, torch.Generator], Tensor]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this bench alone."""
    parser.add_argument("--num", type=int, default=2048, help="videos on either side (2048)")
    parser.add_argument("--seed", type=int, default=0, help="of the videos (0)")


def run(args: argparse.Namespace) -> Section:
    """Measures once: the same seed gives the same numbers."""
    distances = measure(load_features("micro_video"), args.num, args.seed)
    (undamaged,) = distances.pop("none")
    return Section(
        "sensitivity",
        "FVD against damage",
        [
            f"FVD between {args.num} true videos of the micro-world and {args.num} others, which are "
            "damaged: a share of the frames in another order; the last frames frozen; noise of up to "
            f"{MAX_NOISE} in [-1, 1]; Gaussian blur of up to {MAX_BLUR:g} pixels, at {IMAGE_SIZE} px. "
            f"Without damage the FVD of these two disjoint sets of {args.num} is {undamaged:.2f}. It is not "
            "0, since covariances of finite samples differ, and it falls as 1 / N.",
        ],
        [
            Table(
                ["damage", *(f"{strength:.0%}" for strength in STRENGTHS)],
                [[name, *(f"{value:.2f}" for value in values)] for name, values in distances.items()],
            )
        ],
    )


def shuffle(video: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Puts that share of the frames of ``(B, 3, F, H, W)``, drawn anew for each video, in another order."""
    num_frames = video.shape[2]
    order = torch.arange(num_frames).repeat(len(video), 1)
    for row in order:
        moved = torch.randperm(num_frames, generator=generator)[: round(strength * num_frames)]
        row[moved.sort().values] = row[moved]
    return video.gather(2, order[:, None, :, None, None].expand_as(video))


def freeze(video: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Stops that share of the frames at the end: they repeat the last frame before them."""
    last = round((1 - strength) * (video.shape[2] - 1))
    return video[:, :, torch.arange(video.shape[2]).clamp(max=last)]


def add_noise(video: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Adds noise of that share of ``MAX_NOISE``, independent in each pixel."""
    noise = torch.randn(video.shape, generator=generator)
    return (video + strength * MAX_NOISE * noise).clamp(-1, 1)


def blur(video: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Blurs each frame by a Gaussian of that share of ``MAX_BLUR``."""
    reach = int(4 * MAX_BLUR)
    x = torch.arange(-reach, reach + 1)
    kernel = torch.exp(-0.5 * (x / (strength * MAX_BLUR)) ** 2)
    kernel = kernel / kernel.sum()
    frames = F.pad(video.transpose(1, 2).flatten(0, 2)[:, None], (reach,) * 4, mode="replicate")
    frames = F.conv2d(F.conv2d(frames, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))
    return frames.view(len(video), -1, *frames.shape[-2:]).unflatten(1, (-1, 3)).transpose(1, 2)


DAMAGES: dict[str, Damage] = {"shuffle": shuffle, "freeze": freeze, "noise": add_noise, "blur": blur}


def sample_videos(num: int, seed: int) -> Tensor:
    """Samples true videos of all appearances in turn at random frame rates, ``(num, 3, 16, 32, 32)``."""
    generator = torch.Generator().manual_seed(seed)
    low, high = FPS_RANGE
    fps = low * (high / low) ** torch.rand(num, generator=generator)
    appearances = ALL[torch.randperm(len(ALL), generator=generator).repeat(-(-num // len(ALL)))[:num]]
    return render_videos(appearances, fps, NUM_FRAMES, IMAGE_SIZE, generator)


def measure(network: nn.Module, num: int, seed: int = 0) -> dict[str, list[float]]:
    """Returns FVD between ``num`` true videos and ``num`` others, damaged at each of ``STRENGTHS``.

    The entry ``none`` is the FVD without damage.
    """

    def features(video: Tensor) -> Tensor:
        return torch.cat([network(chunk) for chunk in video.split(BATCH_SIZE)])

    real, others = features(sample_videos(num, seed)), sample_videos(num, seed + 1)
    generator = torch.Generator().manual_seed(seed)
    distances = {"none": [frechet_distance_of(real, features(others))]}
    for name, damage in DAMAGES.items():
        distances[name] = [
            frechet_distance_of(real, features(damage(others, strength, generator))) for strength in STRENGTHS
        ]
    return distances
