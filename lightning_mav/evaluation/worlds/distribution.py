"""FVD, Inception Score and CLIPSIM of micro-world videos, with networks that this project trained."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...clip import Clip
from ...weights import sha256
from ...worlds.micro.world import render_videos
from ..features import FeatureNetwork, load_features
from ..intervals import bootstrap_interval
from ..metrics import clip_sim, frechet_distance_of, inception_score
from ..report import Figure
from .prompts import Prompts
from .sampling import CascadeSampler

NUM_RESAMPLES = 200
BATCH_SIZE = 64


def measure_distribution(
    sampler: CascadeSampler, prompts: Prompts, video: Tensor, controls: dict[str, Tensor]
) -> tuple[list[Figure], dict[str, float]]:
    """Compares key frames with true clips of the same prompts.

    Args:
        sampler: The cascade; its CLIP computes CLIPSIM.
        prompts: The prompts.
        video: Key frames ``(N, 3, F, S, S)`` of the first ``N`` prompts.
        controls: Other videos by name, whose FVD serves as a reference.

    Returns:
        The figures, and the FVD of each of the controls.
    """
    features, logits = load_features("micro_video"), load_features("micro_video_logits")
    settings, (num_frames, size) = sampler.settings, video.shape[2:4]
    asked = prompts.first(max(settings.num_renders, len(video))).appearances
    truth = render_videos(asked, settings.fps, num_frames, size, sampler.generator("real videos"))
    real, generated = _in_batches(features, truth), _in_batches(features, video)
    facts = {"num_frames": num_frames, "image_size": size, "fps": settings.fps}
    real_set = {"kind": "true clips of the same prompts", "num_videos": len(truth)}
    similarity = clip_similarity(sampler.cascade.clip, video, prompts.texts[: len(video)])
    num_samples = {"num_samples": len(video)}  # FVD and IS are biased by it
    with_truth = {"features": features.settings(), "real": real_set, **num_samples}
    without = {"features": logits.settings(), **num_samples}
    clip_file = sampler.cascade.files.get("clip")
    clip = "that of the cascade" if clip_file is None else sha256(clip_file)
    rows: list[tuple[str, str, Callable[..., float], list[Tensor], dict[str, Any]]] = [
        ("FVD", "lower", frechet_distance_of, [real, generated], with_truth),
        ("IS", "higher", inception_score, [_in_batches(logits, video)], without),
        ("CLIPSIM", "higher", lambda found: float(found.double().mean()), [similarity], {"clip": clip}),
    ]
    figures = []
    for name, better, statistic, groups, own in rows:
        low, high = bootstrap_interval(statistic, groups, NUM_RESAMPLES, settings.seed)
        depends = {**facts, **own, "num_resamples": NUM_RESAMPLES}
        figures.append(Figure(name, statistic(*groups), low, high, len(video), better, depends))
    return figures, {
        name: frechet_distance_of(real, _in_batches(features, control)) for name, control in controls.items()
    }


def clip_similarity(clip: Clip, video: Tensor, texts: list[str]) -> Tensor:
    """Returns CLIPSIM of each video ``(N, 3, F, S, S)`` with its text, ``(N,)``."""
    device, found = clip.image_mean.device, []
    for start in range(0, len(video), BATCH_SIZE):
        rows = slice(start, start + BATCH_SIZE)
        found.append(clip_sim(clip, video[rows].to(device), texts[rows]).cpu())
    return torch.cat(found)


def _in_batches(network: FeatureNetwork, video: Tensor) -> Tensor:
    return torch.cat([network(batch) for batch in video.split(BATCH_SIZE)])
