"""Trains ``MicroVideoNetwork`` on true micro-world videos: minutes on one thread, reproducible by seed."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils.precision import one_thread
from ...worlds.micro.raster import EXTENT, SHAPES
from ...worlds.micro.world import ALL, COLOURS, Scenes, rasterise, sample_trajectories
from .micro import HEADS, MOTION_CLASSES, SPEED_EDGES, MicroVideoNetwork
from .registry import FEATURES
from .resize import prepare

NUM_FRAMES = 16
FPS_RANGE = (4.0, 30.0)
IMAGE_SIZES = (16, 32, 64)  # one for each batch, so that the size of a video matters little
BATCH_SIZE = 32
NUM_STEPS = 1500
LEARNING_RATE = 4e-3
VALIDATION_SEED = 2**31  # far above usual seeds of training
STAR, SPIN, STILL = SHAPES.index("star"), MOTION_CLASSES.index("spin"), MOTION_CLASSES.index("still")


class TrainingBatch(NamedTuple):
    """Videos ``(B, 3, F, 32, 32)`` and their labels by head, ``(B,)``."""

    video: Tensor
    labels: dict[str, Tensor]


def sample_training_scenes(num: int, generator: torch.Generator, *, mixed: bool) -> tuple[Scenes, Tensor]:
    """Samples scenes and the kind of motion of each.

    Args:
        num: Number of scenes.
        generator: Source of randomness.
        mixed: Whether a shape drawn at random replaces the one that the motion belongs to: in this world the
            shape determines the motion, but features should tell the two apart.

    Returns:
        The scenes, whose appearances hold the visible shape, and the kind of motion ``(num,)``.
    """
    appearances = ALL[torch.randint(len(ALL), (num,), generator=generator)].clone()
    low, high = FPS_RANGE
    fps = low * (high / low) ** torch.rand(num, generator=generator)
    scenes = sample_trajectories(appearances, fps, NUM_FRAMES, generator)
    motion = appearances[:, 0].clone()
    if mixed:
        shape = torch.randint(len(SHAPES), (num,), generator=generator)
        places = scenes.places.clone()
        # The new shape is scaled to reach no further than the old one, so that it stays inside the frame.
        places[..., 2] *= (EXTENT.amin(dim=1)[motion] / EXTENT.amax(dim=1)[shape])[:, None]
        places[..., 3] *= (shape == STAR)[:, None]  # turns of other shapes cannot be seen
        motion[(motion == SPIN) & (shape != STAR)] = STILL
        appearances[:, 0] = shape
        scenes = Scenes(appearances, places)
    return scenes, motion


def speed_of(places: Tensor) -> Tensor:
    """Returns the mean change per frame ``(N,)`` of places ``(N, F, 4)``: movement, growth and turn."""
    step = places.diff(dim=1)
    turn = step[..., 3] * places[:, 1:, 2]
    return (step[..., :3].square().sum(dim=-1) + turn.square()).sqrt().mean(dim=1)


def sample_batch(num: int, generator: torch.Generator, *, mixed: bool, image_size: int) -> TrainingBatch:
    """Samples a batch, resized for the network; for ``mixed`` see ``sample_training_scenes``."""
    scenes, motion = sample_training_scenes(num, generator, mixed=mixed)
    shape, colour, size, background = scenes.appearances.unbind(dim=1)
    labels = {
        "thing": shape * len(COLOURS) + colour,
        "size": size,
        "background": background,
        "motion": motion,
        "speed": torch.bucketize(speed_of(scenes.places), torch.tensor(SPEED_EDGES)),
    }
    return TrainingBatch(prepare(rasterise(scenes, image_size), FEATURES["micro_video"].input), labels)


def train(
    seed: int = 0, num_steps: int = NUM_STEPS, progress: Callable[[int, float], None] | None = None
) -> MicroVideoNetwork:
    """Trains the network on one thread; half of each batch is mixed.

    Args:
        seed: Seed of the weights and the videos.
        num_steps: Number of batches.
        progress: Called after each step with its number and loss.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = MicroVideoNetwork()
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=num_steps)
    generator = torch.Generator().manual_seed(seed)
    with one_thread():  # sums of several threads differ in their last bits
        for step in range(num_steps):
            image_size = IMAGE_SIZES[step % len(IMAGE_SIZES)]
            halves = [
                sample_batch(BATCH_SIZE // 2, generator, mixed=mixed, image_size=image_size)
                for mixed in (False, True)
            ]
            video = torch.cat([half.video for half in halves])
            logits = network.classify(network(video))
            loss = torch.stack(
                [
                    F.cross_entropy(logits[name], torch.cat([half.labels[name] for half in halves]))
                    for name in HEADS
                ]
            ).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if progress is not None:
                progress(step + 1, loss.item())
    return network.eval()


@torch.no_grad()
def accuracy(
    network: MicroVideoNetwork, num: int = 1024, *, mixed: bool, image_size: int = 64
) -> dict[str, float]:
    """Returns the accuracy of each head, and of shape and of colour alone, on videos not trained on."""
    generator = torch.Generator().manual_seed(VALIDATION_SEED + mixed)
    right: dict[str, int] = {}
    for start in range(0, num, 64):
        batch = sample_batch(min(64, num - start), generator, mixed=mixed, image_size=image_size)
        found = {name: x.argmax(dim=1) for name, x in network.classify(network(batch.video)).items()}
        both = {name: (found[name], batch.labels[name]) for name in HEADS}
        thing, asked = both["thing"]
        both["shape"] = (thing // len(COLOURS), asked // len(COLOURS))
        both["colour"] = (thing % len(COLOURS), asked % len(COLOURS))
        for name, (a, b) in both.items():
            right[name] = right.get(name, 0) + int((a == b).sum())
    return {name: count / num for name, count in right.items()}
