"""Judges how videos move: beside the true animations, and as a distribution."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ...features import FeatureNetwork
from ...intervals import bootstrap_interval
from ...metrics import frechet_distance_of
from ...report import Figure
from .. import controls
from ..sampling import CascadeSampler
from .motion import Gallery, Ranking
from .prompts import Prompts
from .results import EmojiEvaluation, Truth
from .truth import NEVER, SEEN, THINGS, TONES_HIDDEN, Animation

NUM_RESAMPLES = 200


def true_clips(
    sampler: CascadeSampler, prompts: Prompts, truth: Truth, part: str = "true clips"
) -> dict[int, Tensor]:
    """Returns for each prompt with an animation a true clip, as long as the key frames.

    ``part`` selects the random numbers that decide where in the animation each clip begins.
    """
    generator, clips = sampler.generator(part), {}
    for row, entry in enumerate(prompts.entries):
        if animation := truth.animations.get(entry.code):
            start = float(torch.rand((), generator=generator)) * animation.seconds
            clips[row] = animation.clip(start, sampler.settings.fps, sampler.cascade.decoder.num_frames)
    return clips


def judge_motion(
    sampler: CascadeSampler, found: EmojiEvaluation, clips: dict[int, Tensor], image_embed: Tensor
) -> None:
    """Ranks the own animation of each prompt among others, with controls.

    Hidden ones are ranked among hidden ones, those from training among those from training. The latter shows
    whether training has learnt what it was shown. An animation stands for its thing in all skin tones: these
    move alike.
    """
    prompts, generator = found.prompts, sampler.generator("motion")
    things, tones, seen = (
        {prompts.entries[row].thing: found.truth.animations[prompts.entries[row].code] for row in rows}
        for rows in map(prompts.rows, (THINGS, TONES_HIDDEN, SEEN))
    )
    for kind, shown in ((THINGS, things), (TONES_HIDDEN, tones | things), (SEEN, seen)):
        rows = prompts.rows(kind)
        if not rows or len(shown) < 2:
            continue  # nothing to be told apart from
        judged = _judge_kind(sampler, found, clips, shown, rows, generator)
        if kind != SEEN:
            few = rows[: sampler.settings.num_untrained]
            untrained = sampler.key_frames(image_embed[few], untrained=True)
            names = [prompts.entries[row].thing for row in few]
            judged.add("untrained temporal layers", list(untrained), names)
        judged.chance()
        found.motion[f"{kind}, {len(shown)} animations"] = judged.shares


def _judge_kind(
    sampler: CascadeSampler,
    found: EmojiEvaluation,
    clips: dict[int, Tensor],
    shown: dict[str, Animation],
    rows: list[int],
    generator: torch.Generator,
) -> Ranking:
    """Ranks the generated videos of some prompts, and true and spoilt ones beside them."""
    prompts, settings = found.prompts, sampler.settings
    orders = {"num_shuffles": settings.num_shuffles, "seed": settings.seed}
    judged = Ranking(
        Gallery(shown, settings.fps, found.video.shape[2], **orders), generator, sampler.progress
    )
    names, generated = [prompts.entries[row].thing for row in rows], found.video[rows]
    ranks = judged.add("generated", list(generated), names)
    found.ranks |= dict(zip(rows, ranks.tolist(), strict=True))
    if all(prompts.entries[row].animation == THINGS for row in rows):
        sibling = [prompts.has_sibling[row] for row in rows]
        judged.split("generated, same seen in another gender", ranks, sibling)
        judged.split("generated, no such", ranks, [not one for one in sibling])
    others = other_tones(found.truth, prompts, rows, shown)
    starts = torch.rand(len(rows), generator=generator).tolist()
    ceiling = {
        row: animation.clip(start * animation.seconds, settings.fps, found.video.shape[2])
        for (row, animation), start in zip(others.items(), starts, strict=False)
    }
    judged.add("true, in another tone", list(ceiling.values()), [prompts.entries[r].thing for r in ceiling])
    truths = torch.stack([clips[row] for row in rows])
    judged.add("true", list(truths), names)
    judged.add("static", list(controls.static(truths)), names)
    judged.add("shuffled", list(controls.shuffled(generated, generator)), names)
    judged.add("jittered", list(controls.jittered(truths, generator, 1)), names)
    judged.add("another's animation", list(truths[others_of(names)]), names)
    return judged


def others_of(names: list[str]) -> list[int]:
    """Returns the number of another name for each; its own if there is no other."""
    num = len(names)
    return [
        next((j for j in (*range(i + 1, num), *range(i)) if names[j] != name), i)
        for i, name in enumerate(names)
    ]


def other_tones(
    truth: Truth, prompts: Prompts, rows: list[int], shown: Mapping[str, Animation]
) -> dict[int, Animation]:
    """Returns true animations in another tone than those that are ``shown``, by number of the prompt."""
    by_thing: dict[str, list[str]] = {}
    for entry in truth.entries:
        if entry.code in truth.animations:
            by_thing.setdefault(entry.thing, []).append(entry.code)
    found = {}
    for row in rows:
        entry = prompts.entries[row]
        own = [truth.animations[code] for code in by_thing[entry.thing]]
        if others := [one for one in own if one is not shown[entry.thing]]:
            found[row] = others[row % len(others)]
    return found


def judge_distribution(
    found: EmojiEvaluation, features: FeatureNetwork, clips: dict[int, Tensor], others: dict[int, Tensor]
) -> None:
    """Computes FVD against true clips, and how much moves; ``others`` are true clips from other phases."""
    settings = found.settings
    generator = torch.Generator().manual_seed(settings.seed)
    for name, kinds in (("seen", (SEEN,)), ("hidden", (TONES_HIDDEN, THINGS))):
        rows = [row for row in found.prompts.rows(*kinds) if row in clips]
        if len(rows) < 2:
            continue
        truth, generated = torch.stack([clips[row] for row in rows]), found.video[rows]
        sets = {
            "generated": generated,
            "static": controls.static(truth),
            "shuffled": controls.shuffled(truth, generator),
            "true, from another phase": torch.stack([others[row] for row in rows]),
        }
        real = features(truth)
        for kind, videos in sets.items():
            own = features(videos)
            found.fvd[f"{name}, {kind}"] = value = frechet_distance_of(real, own)
            if kind == "generated":
                low, high = bootstrap_interval(frechet_distance_of, [real, own], NUM_RESAMPLES, settings.seed)
                facts = {"features": features.settings(), "num_real": len(real), "fps": settings.fps}
                found.figures.append(Figure(f"FVD, {name}", value, low, high, len(own), "lower", facts))
        found.amounts |= {f"{name}, generated": amounts(generated), f"{name}, true": amounts(truth)}
    if never := found.prompts.rows(NEVER):
        found.amounts["never animated, generated"] = amounts(found.video[never])


def amounts(video: Tensor) -> dict[str, float]:
    """Returns how much changes from frame to frame in ``(N, 3, F, S, S)``, and from the last to the first."""
    step = video.diff(dim=2).abs().mean().item()
    return {"movement": step, "loop gap": (video[:, :, 0] - video[:, :, -1]).abs().mean().item()}
