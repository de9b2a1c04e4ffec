"""How FVD answers to damage of five strengths.

``python -m lightning_mav.evaluation.features.sensitivity`` prints it.
"""

import argparse
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...worlds.micro.world import ALL, render_videos
from .micro_training import FPS_RANGE, NUM_FRAMES
from .network import load_features

STRENGTHS = (0.2, 0.4, 0.6, 0.8, 1.0)
IMAGE_SIZE = 32
MAX_NOISE = 0.5  # standard deviation in [-1, 1]
MAX_BLUR = 2.0  # standard deviation in pixels
BATCH_SIZE = 64

Damage = Callable[[Tensor, float, torch.Generator], Tensor]


def shuffle(video: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Puts that share of the frames of ``(B, 3, F, H, W)``, drawn anew for each video, in another order."""
    num_frames = video.shape[2]
    order = torch.arange(num_frames).repeat(len(video), 1)
    for row in order:
        moved = torch.randperm(num_frames, generator=generator)[: round(strength * num_frames)]
        row[moved.sort().values] = row[moved]
    return video.gather(2, order[:, None, :, None, None].expand_as(video))


def freeze(video: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Stops that share of the frames at the end: they show what the last frame before them does."""
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


def draw_videos(num: int, seed: int) -> Tensor:
    """Draws true videos of all appearances in turn at random frame rates, ``(num, 3, 16, 32, 32)``."""
    generator = torch.Generator().manual_seed(seed)
    low, high = FPS_RANGE
    fps = low * (high / low) ** torch.rand(num, generator=generator)
    appearances = ALL[torch.randperm(len(ALL), generator=generator).repeat(-(-num // len(ALL)))[:num]]
    return render_videos(appearances, fps, NUM_FRAMES, IMAGE_SIZE, generator)


def measure(network: nn.Module, num: int, seed: int = 0) -> dict[str, list[float]]:
    """Returns FVD between ``num`` true videos and ``num`` others, damaged at each of ``STRENGTHS``.

    Under ``none`` is the one of the others as they are.
    """
    from ..metrics import frechet_distance_of  # which imports this package

    def features(video: Tensor) -> Tensor:
        return torch.cat([network(chunk) for chunk in video.split(BATCH_SIZE)])

    real, others = features(draw_videos(num, seed)), draw_videos(num, seed + 1)
    generator = torch.Generator().manual_seed(seed)
    distances = {"none": [frechet_distance_of(real, features(others))]}
    for name, damage in DAMAGES.items():
        distances[name] = [
            frechet_distance_of(real, features(damage(others, strength, generator))) for strength in STRENGTHS
        ]
    return distances


def main() -> None:
    """Prints the table in docs/metrics.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num", type=int, default=2048, help="videos on either side (default: 2048)")
    parser.add_argument("--seed", type=int, default=0, help="of the videos (default: 0)")
    args = parser.parse_args()
    distances = measure(load_features("micro_video"), args.num, args.seed)
    print(f"two disjoint samples: {distances.pop('none')[0]:.3f}\n")  # noqa: T201
    print(f"| damage | {' | '.join(f'{strength:.0%}' for strength in STRENGTHS)} |")  # noqa: T201
    print(f"| --- |{' ---: |' * len(STRENGTHS)}")  # noqa: T201
    for name, values in distances.items():
        print(f"| {name} | {' | '.join(f'{value:.2f}' for value in values)} |")  # noqa: T201


if __name__ == "__main__":
    main()
