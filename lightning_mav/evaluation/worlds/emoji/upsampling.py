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
from .settings import EmojiBench
from .truth import VALIDATION, Entry, read_animations, read_stills

NUM_CLIPS, NUM_FRAMES = 8, 8


def enlarge_some(sampler: CascadeSampler, found: EmojiEvaluation, image_embed: Tensor) -> dict[int, Tensor]:
    """Takes prompts of each kind in turn to the end of the cascade; returns bytes by number."""
    rows = found.prompts.mixed()[: sampler.settings.num_final]
    between = sampler.between(found.video[rows], image_embed[rows])
    final = sampler.enlarge(sampler.enlarge(between, "sr_lt"), "sr_h", keep=to_uint8)
    return dict(zip(rows, final, strict=True))


def compare_enlarging(sampler: CascadeSampler, name: str, large: dict[str, list[Tensor]]) -> dict[str, Any]:
    """How near are enlarged true stills and clips to the originals, beside bicubic? Do clips flicker?

    Args:
        sampler: Draws the enlarged ones.
        name: ``sr_lt`` or ``sr_h``.
        large: What ``read_large`` returns; what is smaller than the stage's own videos is left out.
    """
    model: SuperResolution = getattr(sampler.cascade, name)
    sr_lt = sampler.cascade.sr_lt
    assert sr_lt is not None
    size = sampler.cascade.decoder.image_size * sr_lt.scale * (model.scale if name == "sr_h" else 1)
    compared: dict[str, Any] = {"comparisons": []}
    for kind, videos in large.items():
        fitting = [resize_frames(x[None], size, mode="area") for x in videos if x.shape[-1] >= size]
        if not fitting:
            continue
        truth = torch.cat(fitting)
        low, bicubic = shrink(model, truth)
        enlarged = sampler.enlarge(low, name, f"{name} {kind}", size=4)
        values = mean_psnr(enlarged, truth), mean_psnr(bicubic, truth)
        row = comparison(f"PSNR of {kind}, dB", values[0], "bicubic", values[1], len(truth))
        compared["comparisons"].append(row)
        if kind == "clips":
            compared["flicker"] = {"generated": flicker(enlarged, truth), "bicubic": flicker(bicubic, truth)}
    return compared


def read_large(root: Path, entries: list[Entry], settings: EmojiBench) -> dict[str, list[Tensor]]:
    """Reads some true ``stills`` and short ``clips`` at their own size, ``(3, F, S, S)`` in [-1, 1].

    Raises:
        UsageError: If one is missing or damaged.
    """
    some = entries[:: max(1, len(entries) // settings.num_enlarged)][: settings.num_enlarged]
    stills = read_stills(root, some, None, len(entries))[:, :, None]
    codes = {entry.thing: entry.code for entry in entries if entry.animation == VALIDATION}
    animations = read_animations(root, VALIDATION, None, list(codes.values())[:NUM_CLIPS]).values()
    return {
        "stills": [*stills],
        "clips": [one.clip(0.0, settings.fast_fps, NUM_FRAMES) for one in animations],
    }
