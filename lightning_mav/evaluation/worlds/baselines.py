"""Has each stage learnt something? Compares every stage with a baseline that does without it."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...models import SuperResolution, blend_frames, resize_frames
from ...utils.precision import autocast_context
from ...worlds.micro.world import ALL, COLOURS, SHAPES, caption, render_images, render_videos
from ..intervals import wilson
from ..metrics import psnr
from .prompts import Prompts
from .sampling import CascadeSampler
from .scores import figures, read

CHANCE = 1 / (len(SHAPES) * len(COLOURS))
STILL = 1 / 255  # pixels that change less are at rest
FILLING = ("generated", "repeated", "blended")  # ways to fill in frames between key frames


def comparison(
    metric: str, value: float, baseline: str, baseline_value: float, n: int, *, lower_is_better: bool = False
) -> dict[str, Any]:
    """Returns a row that compares a value with its baseline."""
    better = value < baseline_value if lower_is_better else value > baseline_value
    return {
        "metric": metric,
        "value": value,
        "baseline": baseline,
        "baseline_value": baseline_value,
        "better": bool(better),
        "n": n,
    }


def movement(video: Tensor) -> float:
    """Returns the mean absolute difference of consecutive frames of ``(N, 3, F, S, S)``."""
    return video.float().diff(dim=2).abs().mean().item()


def mean_psnr(video: Tensor, truth: Tensor) -> float:
    """Returns the mean over videos ``(N, 3, F, S, S)`` of their PSNR in dB."""
    return psnr(video, truth).mean().item()


def flicker(video: Tensor, truth: Tensor) -> float:
    """Returns the mean absolute difference of consecutive frames where the truth is at rest."""
    still = (truth.diff(dim=2).abs() < STILL).all(dim=1, keepdim=True).expand_as(truth[:, :, 1:])
    return video.diff(dim=2).abs()[still].mean().item()


def compare_clip(sampler: CascadeSampler) -> list[dict[str, Any]]:
    """Retrieval: is the caption nearest to an image, among all 288, of the right shape and colour?"""
    clip, device = sampler.cascade.clip, sampler.cascade.device
    appearances = ALL.repeat_interleave(sampler.settings.num_clip_renders, dim=0)
    images = render_images(appearances, clip.image_size, sampler.generator("clip"))
    with torch.inference_mode(), autocast_context(device):
        text_embed, _, _ = clip.encode_text(clip.tokenize([caption(a) for a in ALL]).to(device))
        image_embed = clip.encode_image(images.to(device))
    nearest = _cosines(image_embed, text_embed).argmax(dim=1)
    right = (ALL[nearest, :2] == appearances[:, :2]).all(dim=1)
    row = comparison("shape and colour of the nearest caption", 0, "chance", CHANCE, len(right))
    return [row | wilson(right) | {"better": right.float().mean().item() > CHANCE}]


def compare_prior(sampler: CascadeSampler, prompts: Prompts, image_embed: Tensor) -> list[dict[str, Any]]:
    """Are sampled embeddings nearer to that of a true image of their prompt than to those of others?"""
    cosines = _cosines(image_embed, true_embeds(sampler, prompts))
    other = (prompts.appearances[:, None] != prompts.appearances).any(dim=-1)
    matched, shuffled = cosines.diagonal().mean().item(), cosines[other].mean().item()
    return [comparison("cosine to the true embedding", matched, "shuffled captions", shuffled, len(cosines))]


def true_embeds(sampler: CascadeSampler, prompts: Prompts) -> Tensor:
    """Returns the embeddings ``(N, D)`` of an image of what each prompt asks for, float32 on the CPU."""
    clip, device = sampler.cascade.clip, sampler.cascade.device
    images = render_images(prompts.appearances, clip.image_size, sampler.generator("prior"))
    with torch.inference_mode(), autocast_context(device):
        return clip.encode_image(images.to(device)).float().cpu()


def compare_image_decoder(prompts: Prompts, images: Tensor) -> list[dict[str, Any]]:
    """Do stills ``(N, 3, 1, S, S)`` have the right shape and colour?"""
    share = figures(prompts.appearances, read(images))["appearance"]
    row = comparison("shape and colour", share["value"], "chance", CHANCE, len(images))
    return [row | share]


def compare_decoder(
    sampler: CascadeSampler, prompts: Prompts, video: Tensor, untrained: Tensor
) -> dict[str, Any]:
    """Do key frames change as much as true frames do, and not as unrelated images do?"""
    truth = render_videos(
        prompts.appearances,
        sampler.settings.fps,
        video.shape[2],
        video.shape[3],
        sampler.generator("decoder"),
    )
    moved = {"generated": movement(video), "true": movement(truth), "untrained": movement(untrained)}
    off = {
        key: abs(math.log(max(moved[key], 1e-6) / movement(truth[: len(clips)])))
        for key, clips in (("generated", video), ("untrained", untrained))
    }
    metric = "frame-to-frame movement, distance of its logarithm from the true one's"
    row = comparison(
        metric,
        off["generated"],
        "inflated, untrained decoder",
        off["untrained"],
        len(video),
        lower_is_better=True,
    )
    return {"comparisons": [row], "movement": moved}


def true_windows(sampler: CascadeSampler, prompts: Prompts) -> Tensor:
    """Renders windows ``(N, 3, F, S, S)`` that start and end with a key frame."""
    settings, cascade = sampler.settings, sampler.cascade
    assert cascade.interpolation is not None
    length = (cascade.interpolation.num_frames - 1) // settings.frame_skip * settings.frame_skip + 1
    appearances, size = prompts.first(settings.num_windows).appearances, cascade.decoder.image_size
    return render_videos(appearances, settings.fast_fps, length, size, sampler.generator("interpolation"))


def frames_between(sampler: CascadeSampler, windows: Tensor) -> Tensor:
    """Takes the frames of ``(N, 3, F, S, S)`` that are not key frames."""
    return windows[:, :, torch.arange(windows.shape[2]) % sampler.settings.frame_skip != 0]


def fill_windows(sampler: CascadeSampler, truth: Tensor, method: str) -> Tensor:
    """Fills in the frames between the key frames of ``(N, 3, F, S, S)``.

    Args:
        sampler: The cascade; its setting ``frame_skip`` is the distance between key frames.
        truth: True windows.
        method: ``generated``, or a baseline without a network: the nearest key frame ``repeated``, or both
            neighbours ``blended``.
    """
    cascade, skip = sampler.cascade, sampler.settings.frame_skip
    keys, time = truth[:, :, ::skip], torch.arange(truth.shape[2])
    if method == "repeated":
        return keys[:, :, (time + skip // 2) // skip]
    if method == "blended":
        return blend_frames(truth, (time % skip != 0).expand(len(truth), -1))
    with torch.inference_mode(), autocast_context(cascade.device):
        image_embed = cascade.clip.encode_image(truth[:, :, 0].to(cascade.device)).float().cpu()
    return sampler.between(keys, image_embed, "windows")


def compare_interpolation(sampler: CascadeSampler, prompts: Prompts) -> list[dict[str, Any]]:
    """How near are frames generated between true key frames to the true ones?"""
    truth = true_windows(sampler, prompts)
    between = frames_between(sampler, truth)
    generated, *others = (
        mean_psnr(frames_between(sampler, fill_windows(sampler, truth, method)), between)
        for method in FILLING
    )
    return [
        comparison("PSNR of the frames between, dB", generated, f"{method} key frames", value, len(truth))
        for method, value in zip(FILLING[1:], others, strict=True)
    ]


def compare_sr_lt(sampler: CascadeSampler, prompts: Prompts) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """How near are enlarged true clips to the originals, and do they flicker?"""
    settings, model = sampler.settings, sampler.cascade.sr_lt
    assert model is not None
    size = sampler.cascade.decoder.image_size * model.scale
    appearances = prompts.first(settings.num_sr_videos).appearances
    truth = render_videos(appearances, settings.fast_fps, model.num_frames, size, sampler.generator("sr_lt"))
    low, bicubic = shrink(model, truth)
    video = sampler.enlarge(low, "sr_lt", "sr_lt clips", size=4)
    row = comparison("PSNR, dB", mean_psnr(video, truth), "bicubic", mean_psnr(bicubic, truth), len(truth))
    return [row], {"generated": flicker(video, truth), "bicubic": flicker(bicubic, truth)}


def compare_sr_h(sampler: CascadeSampler, prompts: Prompts) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """How near are enlarged true images to the originals, and do frames of true clips flicker?"""
    settings, cascade = sampler.settings, sampler.cascade
    assert cascade.sr_lt is not None
    assert cascade.sr_h is not None
    model, generator = cascade.sr_h, sampler.generator("sr_h")
    size = cascade.decoder.image_size * cascade.sr_lt.scale * model.scale
    appearances = prompts.first(settings.num_sr_images).appearances
    truth = render_images(appearances, size, generator)[:, :, None]
    low, bicubic = shrink(model, truth)
    images = sampler.enlarge(low, "sr_h", "sr_h images", size=8)
    row = comparison("PSNR, dB", mean_psnr(images, truth), "bicubic", mean_psnr(bicubic, truth), len(truth))

    appearances = prompts.first(settings.num_noise_videos).appearances
    truth = render_videos(appearances, settings.fast_fps, 8, size, generator)
    low, bicubic = shrink(model, truth)
    flickers = {
        "generated": sampler.enlarge(low, "sr_h", "one noise"),
        "independent noise": sampler.enlarge_per_frame(low, "sr_h", "many noises"),
        "bicubic": bicubic,
    }
    return [row], {name: flicker(video, truth) for name, video in flickers.items()}


def shrink(model: SuperResolution, video: Tensor) -> tuple[Tensor, Tensor]:
    """Returns ``(N, 3, F, S, S)`` at the size of the stage before, and that upsampled bicubically."""
    low = resize_frames(video, video.shape[-1] // model.scale, mode="area")
    return low, model.upsample(low)


def _cosines(a: Tensor, b: Tensor) -> Tensor:
    """Returns the cosines ``(N, M)`` of ``(N, D)`` and ``(M, D)``, on the CPU."""
    return F.normalize(a.float().cpu(), dim=-1) @ F.normalize(b.float().cpu(), dim=-1).T
