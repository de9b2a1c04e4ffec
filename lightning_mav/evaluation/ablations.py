"""What tells the variants of an ablation apart: figures with 95% intervals, and a rule that compares them.

A judge draws what its variant makes and returns figures by metric. The prompts, the true clips and the noise
are the same for all variants.
"""

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..metrics import psnr
from ..micro.world import render_images, render_videos
from ..precision import autocast_context
from .baselines import FILLING, fill_windows, flicker, frames_between, shrink, true_windows
from .drawing import Drawing, without_time
from .intervals import Z_95
from .prompts import choose_prompts
from .scores import figures, read

Figures = dict[str, dict[str, float]]  # by metric: value, low, high, n

LOWER_IS_BETTER = {"flicker", "loss"}
# What can be said of a claim, worst first.
VERDICTS = ("does not hold", "unclear", "holds")
SPLITS = {"seen": False, "held_out": True}
LOSS_STEPS = 5  # diffusion steps, evenly spaced, that a clip's loss is the mean over


def judge_decoder(drawing: Drawing, *, split: str | None = None, untrained: bool = False) -> Figures:
    """Do key frames look and move as their prompts ask, and how well are true clips denoised?

    Args:
        drawing: The cascade.
        split: Prompts to take: ``seen`` in videos, ``held_out`` of them, or both.
        untrained: Whether to put the temporal layers back to their start.
    """
    prompts = choose_prompts(drawing.settings.num_per_class)
    chosen = torch.ones_like(prompts.held_out)
    if split is not None:
        _check("split", split, tuple(SPLITS))
        chosen = prompts.held_out == SPLITS[split]
    appearances = prompts.appearances[chosen]
    texts = [text for text, is_chosen in zip(prompts.texts, chosen.tolist(), strict=True) if is_chosen]
    video = drawing.key_frames(drawing.embeds(texts), untrained=untrained)
    loss = _losses(drawing, appearances[: drawing.settings.num_windows], untrained=untrained)
    return {**figures(appearances, read(video)), "loss": mean_interval(loss)}


def _losses(drawing: Drawing, appearances: Tensor, *, untrained: bool) -> list[float]:
    """Returns the decoder's loss on a true clip of each of ``(N, 4)``, at the same noise for all variants.

    It tells networks apart long before their samples can be read.
    """
    cascade, generator = drawing.cascade, drawing.generator("loss")
    decoder = without_time(cascade.decoder) if untrained else cascade.decoder
    fps, size, num_frames = drawing.settings.fps, decoder.image_size, decoder.num_frames
    truth = render_videos(appearances, fps, num_frames, size, generator).to(cascade.device)
    t = torch.linspace(0, decoder.diffusion.num_timesteps, LOSS_STEPS + 2)[1:-1].long().to(cascade.device)
    losses = []
    for clip in truth.split(1):
        x_0 = clip.expand(LOSS_STEPS, -1, -1, -1, -1)
        eps = torch.randn(x_0.shape, generator=generator).to(cascade.device)
        with torch.inference_mode(), autocast_context(cascade.device):
            image_embed = cascade.clip.encode_image(clip[:, :, num_frames // 2]).expand(LOSS_STEPS, -1)
            rates = torch.full((LOSS_STEPS,), fps, device=cascade.device)
            losses.append(decoder.loss(x_0, t=t, eps=eps, image_embed=image_embed, fps=rates).item())
    return losses


def judge_prior(drawing: Drawing) -> Figures:
    """How near are drawn embeddings to those of an image of the thing, and are stills of them right?"""
    clip, device = drawing.cascade.clip, drawing.cascade.device
    prompts = choose_prompts(drawing.settings.num_per_class)
    image_embed = drawing.embeds(prompts.texts)
    images = render_images(prompts.appearances, clip.image_size, drawing.generator("prior"))
    with torch.inference_mode(), autocast_context(device):
        true_embed = clip.encode_image(images.to(device)).float().cpu()
    cosine = F.cosine_similarity(image_embed.float(), true_embed, dim=-1)
    stills = figures(prompts.appearances, read(drawing.images(image_embed)))
    return {"cosine": mean_interval(cosine.tolist()), **stills}


def judge_interpolation(drawing: Drawing, *, method: str = "generated") -> Figures:
    """How near are frames between true key frames to those that were there?

    Args:
        drawing: The cascade; its setting ``frame_skip`` is the distance of the key frames.
        method: ``generated``, or what one gets without a network: the nearest key frame ``repeated``, or
            both neighbours ``blended``.
    """
    _check("method", method, FILLING)
    truth = true_windows(drawing, choose_prompts(drawing.settings.num_per_class))
    video = fill_windows(drawing, truth, method)
    found = psnr(frames_between(drawing, video), frames_between(drawing, truth))
    return {"psnr": mean_interval(found.tolist())}


def judge_sr_lt(drawing: Drawing, *, method: str = "together") -> Figures:
    """How near are enlarged true clips to the originals, and do they flicker?

    Args:
        drawing: The cascade.
        method: ``together`` with all frames of a window in view, ``per_frame`` with each frame an image of
            its own, or ``bicubic``.
    """
    model = drawing.cascade.sr_lt
    assert model is not None
    size = drawing.cascade.decoder.image_size * model.scale
    return _judge_upsampling(drawing, "sr_lt", method, size, model.num_frames, drawing.settings.num_sr_videos)


def judge_sr_h(drawing: Drawing, *, method: str = "together") -> Figures:
    """Do enlarged frames flicker?

    Args:
        drawing: The cascade.
        method: ``together`` with one noise for all frames, ``per_frame`` with a noise for each, or
            ``bicubic``.
    """
    cascade = drawing.cascade
    assert cascade.sr_lt is not None
    assert cascade.sr_h is not None
    size = cascade.decoder.image_size * cascade.sr_lt.scale * cascade.sr_h.scale
    return _judge_upsampling(drawing, "sr_h", method, size, 8, drawing.settings.num_noise_videos)


def _judge_upsampling(
    drawing: Drawing, stage: str, method: str, size: int, num_frames: int, num_clips: int
) -> Figures:
    _check("method", method, ("together", "per_frame", "bicubic"))
    prompts = choose_prompts(drawing.settings.num_per_class).first(num_clips)
    fps = drawing.settings.fast_fps
    truth = render_videos(prompts.appearances, fps, num_frames, size, drawing.generator(stage))
    low, video = shrink(getattr(drawing.cascade, stage), truth)
    if method == "together":
        video = drawing.enlarge(low, stage)
    elif method == "per_frame":
        video = drawing.enlarge_per_frame(low, stage)
    flickers = [flicker(video[[i]], truth[[i]]) for i in range(num_clips)]
    return {"flicker": mean_interval(flickers), "psnr": mean_interval(psnr(video, truth).tolist())}


Judge = Callable[..., Figures]
# Judges by name, and the last stage of the cascade that each needs.
JUDGES: dict[str, tuple[Judge, str]] = {
    "decoder": (judge_decoder, "decoder"),
    "prior": (judge_prior, "decoder"),
    "interpolation": (judge_interpolation, "interpolation"),
    "sr_lt": (judge_sr_lt, "sr_lt"),
    "sr_h": (judge_sr_h, "sr_h"),
}


def options(judge: str) -> list[str]:
    """Names what a judge can be told."""
    return list(inspect.signature(JUDGES[judge][0]).parameters)[1:]


def mean_interval(values: list[float]) -> dict[str, float]:
    """Returns the mean of independent values with Student's 95% interval: ``value, low, high, n``."""
    n = len(values)
    if n < 3:
        raise ValueError(f"an interval needs three values, got {n}")
    x = torch.tensor(values, dtype=torch.double)
    mean, half = x.mean().item(), student_95(n - 1) * x.std().item() / math.sqrt(n)
    return {"value": mean, "low": mean - half, "high": mean + half, "n": n}


def student_95(degrees: int) -> float:
    """Returns what 95% of Student's t distribution lie within.

    By the expansion in the normal deviate (Abramowitz and Stegun, 26.7.5); it is 3% too small for 2 degrees
    of freedom, less than 1% for more.
    """
    z = Z_95
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / degrees**power for power, term in enumerate(terms, start=1))


def compare(metric: str, better: dict[str, float], than: dict[str, float]) -> str:
    """Says whether one variant is better than another: only if their 95% intervals do not touch.

    Returns:
        ``holds`` if the interval of ``better`` lies wholly on the better side of that of ``than``,
        ``does not hold`` if it lies wholly on the worse side, else ``unclear``.
    """
    if metric in LOWER_IS_BETTER:
        better, than = than, better
    if better["low"] > than["high"]:
        return "holds"
    return "does not hold" if better["high"] < than["low"] else "unclear"


def verdict(comparisons: list[str]) -> str:
    """Returns the worst of the comparisons that a claim consists of."""
    return min(comparisons, key=VERDICTS.index)


def _check(name: str, value: Any, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
