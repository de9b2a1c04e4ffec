"""Judges of the variants of an ablation: figures with 95% intervals, and the values behind them.

A judge samples from its variant and returns figures by metric. The prompts, the true clips and the noise
are the same for all variants.
"""

import hashlib
import inspect
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils.precision import autocast_context
from ...worlds.micro.world import render_videos
from ..intervals import mean_interval, wilson
from ..metrics import psnr
from ..worlds.baselines import (
    FILLING,
    fill_windows,
    flicker,
    frames_between,
    shrink,
    true_embeds,
    true_windows,
)
from ..worlds.prompts import choose_prompts
from ..worlds.sampling import CascadeSampler, without_time
from ..worlds.scores import read, right
from .verdicts import Estimate

Estimates = dict[str, Estimate]  # by metric

SPLITS = {"seen": False, "held_out": True}
LOSS_STEPS = 5  # evenly spaced diffusion steps; a clip's loss is the mean over them


def judge_decoder(sampler: CascadeSampler, *, split: str | None = None, untrained: bool = False) -> Estimates:
    """Do key frames look and move as their prompts ask, and how well are true clips denoised?

    The loss on true clips is given at each frame rate of the settings, and as the mean over the rates.

    Args:
        sampler: The cascade.
        split: Prompts to take: ``seen`` in videos, ``held_out`` of them, or None for both.
        untrained: Whether to reset the temporal layers to their initial values.
    """
    prompts = choose_prompts(sampler.settings.num_per_class)
    chosen = torch.ones_like(prompts.held_out)
    if split is not None:
        _check("split", split, tuple(SPLITS))
        chosen = prompts.held_out == SPLITS[split]
    appearances = prompts.appearances[chosen]
    texts = [text for text, is_chosen in zip(prompts.texts, chosen.tolist(), strict=True) if is_chosen]
    video = sampler.key_frames(sampler.embeds(texts), untrained=untrained)
    shares = {name: figure(found, appearances) for name, found in right(appearances, read(video)).items()}
    clips = appearances[: sampler.settings.num_windows]
    losses = {rate: _losses(sampler, clips, rate, untrained=untrained) for rate in sampler.settings.rates}
    shares |= {f"loss_{rate:g}_fps": figure(loss, clips) for rate, loss in losses.items()}
    return shares | {"loss": figure(torch.stack(list(losses.values())).mean(dim=0), clips)}


def _losses(sampler: CascadeSampler, appearances: Tensor, fps: float, *, untrained: bool) -> Tensor:
    """Returns the decoder's loss ``(N,)`` on true clips of ``(N, 4)``, at the same noise for all variants.

    It tells networks apart before detectors can read their samples. Each rate has the same scenes and noise.
    """
    cascade, generator = sampler.cascade, sampler.generator("loss")
    decoder = without_time(cascade.decoder) if untrained else cascade.decoder
    size, num_frames = decoder.image_size, decoder.num_frames
    truth = render_videos(appearances, fps, num_frames, size, generator).to(cascade.device)
    t = torch.linspace(0, decoder.diffusion.num_timesteps, LOSS_STEPS + 2)[1:-1].long().to(cascade.device)
    rates = torch.full((LOSS_STEPS,), fps, device=cascade.device)
    losses = []
    for clip in truth.split(1):
        x_0 = clip.expand(LOSS_STEPS, -1, -1, -1, -1)
        eps = torch.randn(x_0.shape, generator=generator).to(cascade.device)
        with torch.inference_mode(), autocast_context(cascade.device):
            image_embed = cascade.clip.encode_image(clip[:, :, num_frames // 2]).expand(LOSS_STEPS, -1)
            losses.append(decoder.loss(x_0, t=t, eps=eps, image_embed=image_embed, fps=rates).item())
    return torch.tensor(losses)


def judge_prior(sampler: CascadeSampler) -> Estimates:
    """How near are sampled embeddings to those of true images, and are stills made from them right?"""
    prompts = choose_prompts(sampler.settings.num_per_class)
    image_embed = sampler.embeds(prompts.texts)
    cosine = F.cosine_similarity(image_embed.float(), true_embeds(sampler, prompts), dim=-1)
    stills = right(prompts.appearances, read(sampler.images(image_embed)))
    found = {"cosine": cosine, **stills}
    return {name: figure(values, prompts.appearances) for name, values in found.items()}


def judge_interpolation(sampler: CascadeSampler, *, method: str = "generated") -> Estimates:
    """How near are frames generated between true key frames to the true ones?

    Args:
        sampler: The cascade; its setting ``frame_skip`` is the distance between key frames.
        method: ``generated``, or a baseline without a network: the nearest key frame ``repeated``, or both
            neighbours ``blended``.
    """
    _check("method", method, FILLING)
    truth = true_windows(sampler, choose_prompts(sampler.settings.num_per_class))
    video = fill_windows(sampler, truth, method)
    found = psnr(frames_between(sampler, video), frames_between(sampler, truth))
    return {"psnr": figure(found, truth)}


def judge_sr_lt(sampler: CascadeSampler, *, method: str = "together") -> Estimates:
    """How near are enlarged true clips to the originals, and do they flicker?

    Args:
        sampler: The cascade.
        method: ``together`` for all frames of a window at once, ``per_frame`` for each frame as an image of
            its own, or ``bicubic``.
    """
    model = sampler.cascade.sr_lt
    assert model is not None
    size = sampler.cascade.decoder.image_size * model.scale
    return _judge_upsampling(sampler, "sr_lt", method, size, model.num_frames, sampler.settings.num_sr_videos)


def judge_sr_h(sampler: CascadeSampler, *, method: str = "together") -> Estimates:
    """Do enlarged frames flicker?

    Args:
        sampler: The cascade.
        method: ``together`` with the same noise for all frames, ``per_frame`` with different noise for each,
            or ``bicubic``.
    """
    cascade = sampler.cascade
    assert cascade.sr_lt is not None
    assert cascade.sr_h is not None
    size = cascade.decoder.image_size * cascade.sr_lt.scale * cascade.sr_h.scale
    return _judge_upsampling(sampler, "sr_h", method, size, 8, sampler.settings.num_noise_videos)


def _judge_upsampling(
    sampler: CascadeSampler, stage: str, method: str, size: int, num_frames: int, num_clips: int
) -> Estimates:
    _check("method", method, ("together", "per_frame", "bicubic"))
    prompts = choose_prompts(sampler.settings.num_per_class).first(num_clips)
    fps = sampler.settings.fast_fps
    truth = render_videos(prompts.appearances, fps, num_frames, size, sampler.generator(stage))
    low, video = shrink(getattr(sampler.cascade, stage), truth)
    if method == "together":
        video = sampler.enlarge(low, stage)
    elif method == "per_frame":
        video = sampler.enlarge_per_frame(low, stage)
    flickers = torch.tensor([flicker(video[[i]], truth[[i]]) for i in range(num_clips)])
    return {"flicker": figure(flickers, truth), "psnr": figure(psnr(video, truth), truth)}


Judge = Callable[..., Estimates]
# Judges by name, and the last stage of the cascade that each needs.
JUDGES: dict[str, tuple[Judge, str]] = {
    "decoder": (judge_decoder, "decoder"),
    "prior": (judge_prior, "decoder"),
    "interpolation": (judge_interpolation, "interpolation"),
    "sr_lt": (judge_sr_lt, "sr_lt"),
    "sr_h": (judge_sr_h, "sr_h"),
}


def options(judge: str) -> list[str]:
    """Returns the names of a judge's options."""
    return list(inspect.signature(JUDGES[judge][0]).parameters)[1:]


def figure(values: Tensor, items: Tensor) -> Estimate:
    """Returns the mean of values with its 95% interval, the values, and a checksum of their items.

    Args:
        values: ``(N,)``: whether each item is right (Wilson's interval), or numbers (Student's interval).
        items: What was judged, ``(N, ...)``; variants with the same items can be compared item by item.
    """
    interval = wilson(values) if values.dtype == torch.bool else mean_interval(values.tolist())
    digest = hashlib.sha256(items.cpu().contiguous().numpy().tobytes()).hexdigest()[:16]
    return interval | {"values": values.tolist(), "items": digest}


def _check(name: str, value: Any, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
