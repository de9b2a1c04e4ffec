"""Judges what follows the key frames: final videos, and super-resolution beside bicubic."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ....data.codecs.pixels import to_uint8
from ....models import SuperResolution, resize_frames
from ..baselines import comparison, flicker, mean_psnr, shrink
from ..sampling import CascadeSampler
from .results import EmojiEvaluation
from .truth import VALIDATION, Entry, read_animations, read_stills

NUM_CLIPS, NUM_FRAMES = 8, 8


def enlarge_some(sampler: CascadeSampler, found: EmojiEvaluation, image_embed: Tensor) -> dict[int, Tensor]:
    """Takes prompts of each kind in turn to the end of the cascade; returns bytes by number."""
    rows = found.prompts.mixed()[: sampler.settings.num_final]
    between = sampler.between(found.video[rows], image_embed[rows])
    final = sampler.enlarge(sampler.enlarge(between, "sr_lt"), "sr_h", keep=to_uint8)
    return dict(zip(rows, final, strict=True))


def compare_enlarging(sampler: CascadeSampler, found: EmojiEvaluation, name: str) -> dict[str, Any]:
    """How near are enlarged true stills and clips to the originals, beside bicubic? Do clips flicker?"""
    model: SuperResolution = getattr(sampler.cascade, name)
    sr_lt, settings = sampler.cascade.sr_lt, sampler.settings
    assert sr_lt is not None
    size = sampler.cascade.decoder.image_size * sr_lt.scale * (model.scale if name == "sr_h" else 1)
    root, entries = Path(settings.data), found.truth.entries
    sets = {
        "stills": true_stills_of(root, entries, size, settings.num_enlarged),
        "clips": true_clips_of(root, entries, size, settings.fast_fps),
    }
    compared: dict[str, Any] = {"comparisons": []}
    for kind, videos in sets.items():
        if not videos:
            continue
        truth = torch.stack(videos)
        low, bicubic = shrink(model, truth)
        enlarged = sampler.enlarge(low, name, f"{name} {kind}", size=4)
        values = mean_psnr(enlarged, truth), mean_psnr(bicubic, truth)
        row = comparison(f"PSNR of {kind}, dB", values[0], "bicubic", values[1], len(truth))
        compared["comparisons"].append(row)
        if kind == "clips":
            compared["flicker"] = {"generated": flicker(enlarged, truth), "bicubic": flicker(bicubic, truth)}
    return compared


def true_stills_of(root: Path, entries: list[Entry], size: int, num: int) -> list[Tensor]:
    """Returns some true stills ``(3, 1, size, size)``; none if the world's stills are smaller."""
    some = entries[:: max(1, len(entries) // num)][:num]
    stills = read_stills(root, some, None, len(entries))[:, :, None]
    return list(resize_frames(stills, size, mode="area")) if stills.shape[-1] >= size else []


def true_clips_of(root: Path, entries: list[Entry], size: int, fps: float) -> list[Tensor]:
    """Returns short true clips ``(3, NUM_FRAMES, size, size)``; none if the world's clips are smaller."""
    codes = {entry.thing: entry.code for entry in entries if entry.animation == VALIDATION}
    animations = read_animations(root, VALIDATION, None, list(codes.values())[:NUM_CLIPS]).values()
    clips = [animation.clip(0.0, fps, NUM_FRAMES) for animation in animations]
    return [resize_frames(clip[None], size, mode="area")[0] for clip in clips if clip.shape[-1] >= size]
