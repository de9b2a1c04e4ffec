"""Trains ``EmojiJudge`` on altered stills and on frames of the clips that training shows."""

import math
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ....data.codecs.pixels import from_uint8, spread
from ....utils.precision import autocast_context, one_thread
from ...intervals import wilson
from ..sampling import Progress, part_of
from .judge import SIZE, EmojiJudge
from .truth import SEEN, VALIDATION, codes_of, read_animations, read_entries, read_stills

NUM_STEPS, BATCH_SIZE = 2000, 128
LEARNING_RATE = 3e-3
FRAMES_PER_CLIP = 12
SCALE = 20.0  # of the cosines, before the softmax
SHIFT, TURN, GROWTH = 0.1, 0.15, 0.15  # of half a frame; radians; share
CONTRAST, BRIGHTNESS, NOISE, BLUR = 0.1, 0.05, 0.1, 0.3  # small: skin tones must stay apart


def training_pictures(root: Path, progress: Progress | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Reads stills ``(N, 3, 32, 32)``, frames of seen clips ``(M, 3, 32, 32)`` and their stills ``(M,)``.

    Raises:
        UsageError: If the world is missing or damaged.
    """
    entries = read_entries(root)
    stills = read_stills(root, entries, SIZE, len(entries), part_of(progress, "stills"))
    clips = read_animations(root, SEEN, SIZE, codes_of(entries, SEEN), part_of(progress, "clips"))
    frames, labels = [], []
    for row, entry in enumerate(entries):
        if entry.code in clips:
            own = clips[entry.code].frames
            chosen = spread(len(own), FRAMES_PER_CLIP)
            frames.append(from_uint8(own[chosen]))
            labels += [row] * FRAMES_PER_CLIP
    return stills, torch.cat(frames) if frames else stills[:0], torch.tensor(labels, dtype=torch.long)


def validation_clips(root: Path, progress: Progress | None = None) -> dict[int, Tensor]:
    """Reads the clips of the validation set, ``(F, 3, 32, 32)`` bytes, by the number of their still.

    Raises:
        UsageError: If the world is missing or damaged.
    """
    entries = read_entries(root)
    part = part_of(progress, "validation clips")
    clips = read_animations(root, VALIDATION, SIZE, codes_of(entries, VALIDATION), part)
    return {row: clips[entry.code].frames for row, entry in enumerate(entries) if entry.code in clips}


def judge_accuracy(judge: EmojiJudge, stills: Tensor, clips: dict[int, Tensor]) -> dict[str, float]:
    """Finds the still nearest to each clip of the validation set, which training does not see.

    Args:
        judge: The network.
        stills: All stills ``(N, 3, 32, 32)`` in [-1, 1].
        clips: What ``validation_clips`` returns.

    Returns:
        ``value, low, high, n``: the share that is right with its 95% interval; ``n`` is 0 without such clips.
    """
    if not clips:
        return {"value": 0.0, "low": 0.0, "high": 1.0, "n": 0}
    shown = judge.of_videos(from_uint8(frames).movedim(0, 1) for frames in clips.values())
    nearest = (shown @ judge.of_images(stills).T).argmax(dim=1)
    return wilson(nearest == torch.tensor([*clips]))


def train_judge(
    stills: Tensor,
    frames: Tensor,
    labels: Tensor,
    *,
    num_steps: int = NUM_STEPS,
    seed: int = 0,
    progress: Callable[[int, int, float], None] | None = None,
) -> EmojiJudge:
    """Trains the network on one thread; half of each batch are stills, half are frames of clips.

    Args:
        stills: All stills ``(N, 3, 32, 32)`` in [-1, 1]; each is a class.
        frames: Frames of clips, ``(M, 3, 32, 32)`` in [-1, 1].
        labels: The still that each frame belongs to, ``(M,)``.
        num_steps: Number of batches.
        seed: Seed of the weights and of the batches.
        progress: Called as ``progress(step, num_steps, loss)``.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = EmojiJudge().train()
        classes = nn.Parameter(F.normalize(torch.randn(len(stills), network.features.out_features), dim=1))
    generator = torch.Generator().manual_seed(seed)
    parameters = [*network.parameters(), classes]
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=num_steps)
    with one_thread():  # sums of several threads differ in their last bits
        for step in range(1, num_steps + 1):
            half = BATCH_SIZE // 2 if len(frames) else 0
            which = torch.randint(len(stills), (BATCH_SIZE - half,), generator=generator)
            images, targets = stills[which], which
            if half:
                moving = torch.randint(len(frames), (half,), generator=generator)
                images, targets = torch.cat([images, frames[moving]]), torch.cat([targets, labels[moving]])
            with autocast_context("cpu"):
                features = network(altered(images, generator))
            logits = SCALE * features.float() @ F.normalize(classes, dim=1).T
            loss = F.cross_entropy(logits, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if progress is not None:
                progress(step, num_steps, loss.item())
    return network.eval()


def altered(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shifts, turns, resizes, blurs and brightens ``(B, 3, S, S)`` a little, and adds noise."""

    def uniform(limit: float, *shape: int) -> Tensor:
        return (2 * torch.rand(len(images), *shape, generator=generator) - 1) * limit

    angle, scale, shift = uniform(TURN), 1 + uniform(GROWTH), uniform(SHIFT, 2)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    matrix = torch.stack(
        [torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)], 1
    )
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    blurred = F.interpolate(F.avg_pool2d(moved, 2), size=SIZE, mode="bilinear", align_corners=False)
    is_blurred = torch.rand(len(images), 1, 1, 1, generator=generator) < BLUR
    moved = torch.where(is_blurred, blurred, moved)
    bright = moved * (1 + uniform(CONTRAST, 1, 1, 1)) + uniform(BRIGHTNESS, 1, 1, 1)
    sigma = NOISE * torch.rand(len(images), 1, 1, 1, generator=generator) / math.sqrt(2)
    return bright + sigma * torch.randn(bright.shape, generator=generator)
