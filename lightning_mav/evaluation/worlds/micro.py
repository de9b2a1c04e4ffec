"""Evaluates what a cascade trained on the micro-world can do, with controls and baselines.

Prompts ask for combinations of shape and colour that training videos show, and for ones that only captioned
images show. Detectors, which are not learned, read shape, colour and motion off the pixels. They are tested
on true renders and on videos without motion.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...cascade import Cascade
from ...worlds.micro.world import render_videos
from ..report import Figure
from . import baselines, controls
from .distribution import clip_similarity, measure_distribution
from .prompts import NUM_CLASSES, Prompts, choose_prompts
from .sampling import CascadeSampler, Progress
from .scores import Reading, figures, read, read_truth, score
from .settings import MicroSettings
from .speeds import fps_response

# What can be judged, and the last stage of the cascade that is needed for it.
LAST_STAGE = {"cascade": "sr_h", "decoder": "decoder", "image": "decoder"}
ENLARGED = ("sr_lt", "sr_h")


@dataclass
class Evaluation:
    """Results of an evaluation.

    Args:
        report: Figures, ready for JSON.
        prompts: The prompts.
        video: The judged videos, ``(N, 3, F, S, S)``, of the first ``N`` prompts.
        fps: Their frame rate.
        reading: What detectors read off them.
        clip_sim: How near CLIP finds them to their prompts, ``(N,)``.
        figures: FVD, Inception Score and CLIPSIM of the key frames; empty for stills.
    """

    report: dict[str, Any]
    prompts: Prompts
    video: Tensor
    fps: float
    reading: Reading
    clip_sim: Tensor
    figures: list[Figure]


def evaluate_micro(
    cascade: Cascade, settings: MicroSettings, scope: str = "cascade", progress: Progress | None = None
) -> Evaluation:
    """Judges a cascade.

    Args:
        cascade: Stages to judge; ``LAST_STAGE[scope]`` is the last one needed.
        settings: Numbers of prompts, renders and steps.
        scope: ``image`` for stills of the decoder, ``decoder`` for its videos, ``cascade`` for everything.
        progress: Called as ``progress(part, done, total)``.
    """
    sampler = CascadeSampler(cascade, settings, progress)
    prompts = choose_prompts(settings.num_per_class)
    image_embed = sampler.embeds(prompts.texts)
    stills = sampler.images(image_embed)
    stages: dict[str, Any] = {
        "clip": baselines.compare_clip(sampler),
        "prior": baselines.compare_prior(sampler, prompts, image_embed),
        "decoder_image": baselines.compare_image_decoder(prompts, stills),
    }
    stages = {name: {"comparisons": rows} for name, rows in stages.items()}
    report: dict[str, Any] = {"controls": {}, "stages": stages, "fps_response": {}, "flicker": {}}
    measured: list[Figure] = []
    if scope == "image":
        videos = {"image": stills}
    else:
        videos = sample_videos(sampler, prompts, image_embed, LAST_STAGE[scope])
        measured = _judge_motion(sampler, prompts, image_embed, videos["decoder"], report)
    if scope == "cascade":
        _judge_upsampling(sampler, prompts, report)
    for entry in stages.values():
        entry["better"] = all(row["better"] for row in entry["comparisons"])

    blocks, readings = {}, {}
    for i, (name, video) in enumerate(videos.items()):
        readings[name] = read(video)
        blocks[name] = judge(sampler, prompts.first(len(video)), video, readings[name], name)
        if progress is not None:
            progress("judging", i + 1, len(videos))
    last = list(videos)[-1]
    report = {"judged": last, **blocks[last], **report, **blocks, "seconds": sampler.seconds}
    similarity = clip_similarity(cascade.clip, videos[last], prompts.texts[: len(videos[last])])
    fps = frame_rate(settings, last)
    return Evaluation(report, prompts, videos[last], fps, readings[last], similarity, measured)


def sample_videos(
    sampler: CascadeSampler, prompts: Prompts, image_embed: Tensor, until: str
) -> dict[str, Tensor]:
    """Samples the videos of each stage up to ``until``; later stages for fewer prompts.

    SR_h treats frames independently, so it runs only on every ``final_stride``-th, with the same result.
    """
    settings, videos = sampler.settings, {"decoder": sampler.key_frames(image_embed)}
    if until == "sr_h":
        num_between = NUM_CLASSES * settings.num_between_per_class
        num_final = NUM_CLASSES * settings.num_final_per_class
        videos["interpolation"] = sampler.between(videos["decoder"][:num_between], image_embed)
        videos["sr_lt"] = sampler.enlarge(videos["interpolation"][:num_final], "sr_lt")
        videos["sr_h"] = sampler.enlarge(videos["sr_lt"][:, :, :: settings.final_stride], "sr_h")
    return videos


def judge(
    sampler: CascadeSampler, prompts: Prompts, video: Tensor, reading: Reading, name: str
) -> dict[str, Any]:
    """Scores what was read off videos ``(N, 3, F, S, S)``, and the detectors on true videos like them."""
    settings, (num_frames, size) = sampler.settings, video.shape[2:4]
    fps = frame_rate(settings, name)
    num = settings.num_final_renders if name in ENLARGED else settings.num_renders
    tried = prompts.first(max(num, len(video)))
    truth = read_truth(tried.appearances, fps, num_frames, size, sampler.generator(f"detectors {name}"))
    split = score(tried, truth)
    detectors = figures(tried.appearances, truth) | {key: split[key] for key in ("seen", "held_out")}
    shape = {"num_frames": num_frames, "image_size": size, "fps": fps}
    return {**score(prompts, reading), "detectors": detectors, "video": shape}


def frame_rate(settings: MicroSettings, name: str) -> float:
    """Returns the frame rate at which the videos of a stage are judged."""
    if name in ("image", "decoder"):
        return settings.fps
    return settings.fast_fps / (settings.final_stride if name == "sr_h" else 1)


def _judge_motion(
    sampler: CascadeSampler, prompts: Prompts, image_embed: Tensor, video: Tensor, report: dict[str, Any]
) -> list[Figure]:
    """Compares the decoder's key frames with true ones, motionless ones and an untrained decoder's."""
    settings = sampler.settings
    few = image_embed[: settings.num_untrained]
    untrained = {rate: sampler.key_frames(few, rate, untrained=True) for rate in settings.rates}
    report["stages"]["decoder"] = baselines.compare_decoder(sampler, prompts, video, untrained[settings.fps])
    report["fps_response"] = fps_response(sampler, prompts, image_embed, video, untrained)
    generator = sampler.generator("controls")
    asked = prompts.first(max(settings.num_renders, len(video))).appearances
    truth = render_videos(asked, settings.fps, video.shape[2], video.shape[3], generator)
    known = {
        "truth": truth,
        "static": controls.static(truth),
        "jittered": controls.jittered(truth, generator),
        "shuffled": controls.shuffled(truth, generator),
    }
    report["controls"] = {name: controls.motion_shares(control, asked) for name, control in known.items()}
    # The same number of each, since FVD depends on it.
    as_many = {name: control[: len(video)] for name, control in known.items()}
    measured, report["distances"] = measure_distribution(sampler, prompts, video, as_many)
    asked = prompts.appearances[: len(few)].repeat(len(untrained), 1)
    report["controls"]["untrained"] = controls.motion_shares(torch.cat(list(untrained.values())), asked)
    return measured


def _judge_upsampling(sampler: CascadeSampler, prompts: Prompts, report: dict[str, Any]) -> None:
    stages, flickers = report["stages"], report["flicker"]
    stages["interpolation"] = {"comparisons": baselines.compare_interpolation(sampler, prompts)}
    for name, compare in (("sr_lt", baselines.compare_sr_lt), ("sr_h", baselines.compare_sr_h)):
        rows, flickers[name] = compare(sampler, prompts)
        stages[name] = {"comparisons": rows}
