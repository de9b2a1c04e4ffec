"""Evaluates what a cascade trained on the emoji can do, with controls and ceilings.

An independent network reads which emoji a video shows. What moves is compared with true animations that
training never saw.
"""

from pathlib import Path

import torch
from torch import Tensor

from ....cascade import Cascade
from ....data.codecs.pixels import from_uint8
from ...features import load_features
from ...intervals import wilson
from ...report import Figure
from ..sampling import CascadeSampler, Progress, part_of
from .judge import EmojiJudge, load_judge, nearest_still
from .moving import judge_distribution, judge_motion, true_clips
from .prompts import Prompts, choose_prompts, label
from .results import EmojiEvaluation, Share, Truth
from .settings import EmojiBench
from .truth import (
    SEEN,
    THINGS,
    TONES_HIDDEN,
    Animation,
    Entry,
    codes_of,
    read_animations,
    read_entries,
    read_stills,
)
from .upsampling import compare_enlarging, enlarge_some, read_large
from .words import judge_words, read_captions, read_other_names

SIZE = 32  # height and width of true animations
TRUE_CLIPS, OTHERS = ", true clips", "videos of other prompts"  # ceiling and control


def evaluate_emoji(
    cascade: Cascade,
    settings: EmojiBench,
    scope: str = "cascade",
    progress: Progress | None = None,
    judge: EmojiJudge | None = None,
) -> EmojiEvaluation:
    """Judges a cascade.

    Args:
        cascade: Stages to judge.
        settings: Numbers of prompts and steps.
        scope: ``image`` for stills of the decoder, ``decoder`` for key frames, ``cascade`` for everything.
        progress: Called as ``progress(part, done, total)``.
        judge: Reads which still a video shows; None loads ``emoji/judge``.

    Raises:
        UsageError: If the world or the judge is missing or damaged.
    """
    if judge is None:
        judge = load_judge()
    sampler, root = CascadeSampler(cascade, settings, progress), Path(settings.data)
    entries = read_entries(root)
    prompts = choose_prompts(entries, settings)
    # Everything is read before sampling, which takes hours: what is missing or damaged is said at once.
    truth = read_truth(root, entries, prompts, progress)
    other_names, captions = read_other_names(root), read_captions(root)
    large = read_large(root, entries, settings) if scope == "cascade" else {}
    measure = None if scope == "image" else load_features("micro_video")
    image_embed = sampler.embeds(prompts.texts)
    video = sampler.images(image_embed) if scope == "image" else sampler.key_frames(image_embed)
    features = judge.of_images(truth.stills)
    nearest = nearest_still(judge, features, video)
    found = EmojiEvaluation(settings, prompts, video, truth, nearest, seconds=sampler.seconds)
    found.words = judge_words(cascade, entries, truth.stills, other_names, captions)
    clips = true_clips(sampler, prompts, truth)
    for kind in prompts.kinds():
        rows = prompts.rows(kind)
        found.appearance[label(kind)] = judge_appearance(prompts, entries, rows, nearest[rows])
        if known := [row for row in rows if row in clips]:
            read = nearest_still(judge, features, [clips[row] for row in known])
            found.appearance[f"{label(kind)}{TRUE_CLIPS}"] = judge_appearance(prompts, entries, known, read)
    rows = [*range(len(nearest))]
    found.appearance[OTHERS] = judge_appearance(prompts, entries, rows, nearest.roll(1))
    if measure is not None:
        judge_motion(sampler, found, clips, image_embed)
        judge_distribution(found, measure, clips, true_clips(sampler, prompts, truth, "other true clips"))
    if scope == "cascade":
        found.final = enlarge_some(sampler, found, image_embed)
        rows = list(found.final)
        read = nearest_still(judge, features, map(from_uint8, found.final.values()))
        for kind, shown in (("final videos", read), ("key frames of these", nearest[rows])):
            found.appearance[kind] = judge_appearance(prompts, entries, rows, shown)
        found.stages = {name: compare_enlarging(sampler, name, large) for name in ("sr_lt", "sr_h")}
    found.figures = [*_figures(found), *found.figures]
    return found


def read_truth(root: Path, entries: list[Entry], prompts: Prompts, progress: Progress | None) -> Truth:
    """Reads stills, hidden animations, and seen ones of the prompts and of other tones of hidden tones."""
    stills = read_stills(root, entries, SIZE, len(entries), part_of(progress, "stills"))
    hidden = {entry.thing for entry in prompts.entries if entry.animation == TONES_HIDDEN}
    asked = {entry.code for entry in prompts.entries}
    seen = [e.code for e in entries if e.animation == SEEN and (e.code in asked or e.thing in hidden)]
    animations: dict[str, Animation] = {}
    wanted = {kind: codes_of(entries, kind) for kind in (THINGS, TONES_HIDDEN)} | {SEEN: seen}
    for kind, codes in wanted.items():
        animations |= read_animations(root, kind, SIZE, codes, part_of(progress, f"clips, {kind}"))
    return Truth(entries, stills, animations)


def judge_appearance(
    prompts: Prompts, entries: list[Entry], rows: list[int], nearest: Tensor
) -> dict[str, Share]:
    """Returns the shares of videos that show the right thing, the right tones, and both."""
    pairs = [(prompts.entries[row], entries[int(i)]) for row, i in zip(rows, nearest, strict=True)]
    right = {
        "both": [a.code == b.code for a, b in pairs],
        "thing": [a.thing == b.thing for a, b in pairs],
        "tone": [a.tones == b.tones for a, b in pairs if a.tones],
    }
    return {name: wilson(torch.tensor(values)) for name, values in right.items() if values}


def _figures(found: EmojiEvaluation) -> list[Figure]:
    figures = [
        Figure(f"appearance, {kind}", **shares["both"], better="higher")
        for kind, shares in found.appearance.items()
        if kind != OTHERS and not kind.endswith(TRUE_CLIPS)
    ]
    figures += [
        Figure(f"own animation {top}, {table}", **rows["generated"][top], better="higher")
        for table, rows in found.motion.items()
        for top in ("top 1", "top 5")
    ]
    figures += [
        Figure(f"word finds its still, top 5, {kind}", **shares["top 5"], better="higher")
        for kind, shares in found.words.items()
    ]
    return figures
