"""Trials of F where the truth is known: frames between, after, before and between two ends."""

import torch
from torch import Tensor

from .... import applications
from ....cascade import Cascade
from ....cascade_output import CascadeOutput
from ....models import blend_frames
from ....models.sampling import Sampling
from ...metrics import psnr
from ..controls import shuffled
from .trials import ANOTHER, BLENDED, REPEATED, SHUFFLED, TRUE, Bar, Draw, Trial, Values, drawn
from .worlds import World

WINDOW = 16  # frames of a clip between whose frames others are put
GIVEN, ADDED = 16, 8  # frames of a clip, and those before or after it
PSNR = "PSNR, dB"
F_ALONE = {"until": "interpolation"}


def between_trial(world: World, key_fps: float, skip: int, generator: torch.Generator) -> Trial:
    """F puts ``skip - 1`` frames between key frames at ``key_fps``."""
    length = (WINDOW - 1) // skip * skip + 1
    truth = world.clips(key_fps * skip, length, generator)
    masked = torch.arange(length) % skip != 0
    draw = drawn(applications.interpolate, truth[:, :, ::skip], fps=key_fps, frame_skip=skip, **F_ALONE)
    return _trial(world, f"interpolate, skip {skip}", key_fps * skip, truth, masked, draw)


def ends_trials(world: World, fps: float, generator: torch.Generator) -> list[Trial]:
    """F goes on after a clip, begins before it, and leads from one end to another, 8 frames each."""
    truth, time = world.clips(fps, GIVEN + ADDED, generator), torch.arange(GIVEN + ADDED)
    half = GIVEN // 2
    given = {"fps": fps, **F_ALONE}
    after = drawn(applications.extend, truth[:, :, :GIVEN], num_frames=ADDED, **given)
    before = drawn(applications.extend, truth[:, :, ADDED:], num_frames=ADDED, before=True, **given)
    kept = torch.cat([truth[:, :, -half:], truth[:, :, :half]], dim=2)
    trials = {
        "extend, 8 frames after": (time >= GIVEN, after),
        "extend, 8 frames before": (time < ADDED, before),
        "loop, from one end to another": (
            (time >= half) & (time < half + ADDED),
            drawn(_join, kept, fps=fps),
        ),
    }
    return [
        _trial(world, f"{name}, {fps:g} fps", fps, truth, masked, draw, moving=True)
        for name, (masked, draw) in trials.items()
    ]


def _join(cascade: Cascade, kept: Tensor, fps: float, sampling: Sampling) -> CascadeOutput:
    """Leads from the second half of ``kept`` to its first half, as a loop does; puts them in order."""
    output = applications.loop(cascade, kept, fps, ADDED, sampling=sampling, **F_ALONE)  # type: ignore[arg-type]
    output.video = output.video.roll(-kept.shape[2] // 2, dims=2)
    return output


def _trial(
    world: World,
    name: str,
    fps: float,
    truth: Tensor,
    masked: Tensor,
    draw: Draw,
    *,
    moving: bool = False,
) -> Trial:
    """Builds a trial that judges the masked frames ``(F,)`` of ``(N, 3, F, S, S)`` alone.

    ``moving`` says that they follow each other, so that their motion can be judged.
    """
    time, kept = torch.arange(len(masked)), (~masked).nonzero()[:, 0]
    nearest = kept[(time[:, None] - kept).abs().argmin(dim=1)]
    hidden = masked[:, None, None]
    others = {TRUE: truth, REPEATED: truth[:, :, nearest]}
    wanted = [Bar(PSNR, 0.0, over=REPEATED)]
    if masked[0] == masked[-1]:  # frames are kept on both sides
        others[BLENDED] = blend_frames(truth, masked.expand(len(truth), -1))
        wanted.append(Bar(PSNR, 0.0, over=BLENDED))
    elif moving:
        wanted.append(Bar("motion", 0.0, over=REPEATED))
    if moving:
        mixed = truth.clone()
        mixed[:, :, masked] = shuffled(truth[:, :, masked], torch.Generator().manual_seed(0))
        others[SHUFFLED] = mixed
    others[ANOTHER] = torch.where(hidden, truth.roll(1, dims=0), truth)

    def judge(video: Tensor) -> Values:
        own = video[:, :, masked]
        found = {PSNR: psnr(own, truth[:, :, masked])}
        return found | {"motion": world.motion(own, fps)} if moving else found

    return Trial(name, draw, judge, others, wanted, fps)
