"""Trials of what has no single right answer: animate, extend, loop, vary and morph."""

import torch
from torch import Tensor

from .... import applications
from ....models import blend_frames
from ...metrics import psnr
from ..controls import shuffled, static
from .filling import F_ALONE, WINDOW
from .settings import AppsSettings
from .steps import AT_REST, closing, seams, steps
from .trials import ANOTHER, BLENDED, REPEATED, SHUFFLED, STATIC, TRUE, Bar, Trial, Values, bars, drawn
from .worlds import World

DOUBLED = 32  # frames of a clip that is made twice as long
KEYS_ALONE = {"until": "decoder"}
SEAM = Bar("seam / largest inner step", 1.0, at_least=False)
MAX_UNEVEN = 2.0  # largest step of a morph over the mean step
SAME_AGAIN, OTHER_CLIP, NOTHING = "the same again", "another true clip of it", "nothing added"


def animate_trial(world: World, settings: AppsSettings, by: str, generator: torch.Generator) -> Trial:
    """A true first frame is animated; the key frames are judged."""
    truth, fps = world.clips(settings.fps, WINDOW, generator), settings.fps
    image = truth[:, :, 0]

    def judge(video: Tensor) -> Values:
        return {
            "appearance": world.appearance(video),
            "motion": world.motion(video, fps),
            "first frame like the image, dB": psnr(video[:, :, 0], image),
        }

    others = {
        TRUE: truth,
        STATIC: static(truth),
        SHUFFLED: shuffled(truth, generator),
        ANOTHER: truth.roll(1, dims=0),
    }
    wanted = bars(("appearance", settings.animate_appearance), ("motion", settings.animate_motion))
    draw = drawn(applications.animate, image, fps=fps, by=by, **KEYS_ALONE)
    return Trial(f"animate, by {by}", draw, judge, others, wanted, fps)


def extend_trial(
    world: World, settings: AppsSettings, fps: float, window: int, generator: torch.Generator
) -> Trial:
    """A clip is made twice as long, window by window; what was added is judged, and where it begins.

    ``window`` is the number of frames that F fills in at once, given and new.
    """
    truth = world.clips(fps, 2 * DOUBLED, generator)
    given, places = truth[:, :, :DOUBLED], [*range(DOUBLED, 2 * DOUBLED, window - window // 2)]

    def judge(video: Tensor) -> Values:
        new, jumps = video[:, :, DOUBLED:], steps(video)
        between = seams(given, jumps[:, [place - 1 for place in places]])
        return {
            "appearance": world.appearance(new),
            "motion": world.motion(new, fps),
            **seams(given, jumps[:, DOUBLED - 1 : DOUBLED]),
            "largest seam of all windows / largest inner step": between[SEAM.measure],
        }

    others = {
        TRUE: truth,
        REPEATED: torch.cat([given, given[:, :, -1:].expand_as(given)], dim=2),
        SHUFFLED: torch.cat([given, shuffled(truth[:, :, DOUBLED:], generator)], dim=2),
        ANOTHER: torch.cat([given, truth[:, :, DOUBLED:].roll(1, dims=0)], dim=2),
    }
    draw = drawn(applications.extend, given, fps=fps, num_frames=DOUBLED, **F_ALONE)
    wanted = [*bars(("motion", settings.extend_motion)), SEAM]
    return Trial(f"extend, to twice the length, {fps:g} fps", draw, judge, others, wanted, fps)


def loop_trial(clip: Tensor, fps: float, window: int) -> Trial:
    """Frames are added to ``(N, 3, F, S, S)`` that lead from its end to its beginning.

    ``window`` is the number of frames in a window of the interpolation.
    """
    num, added = clip.shape[2], applications.loop_frames(fps, window)
    open_ends = torch.cat([clip, clip[:, :, -1:].expand(-1, -1, added, -1, -1), clip[:, :, :1]], dim=2)
    masked = (torch.arange(num + added + 1) >= num) & (torch.arange(num + added + 1) < num + added)
    held = torch.cat([clip, clip[:, :, -1:].expand(-1, -1, added // 2, -1, -1)], dim=2)

    def judge(video: Tensor) -> Values:
        way = closing(video, num)
        whole = seams(clip, way)
        return {
            **seams(clip, way[:, [0, -1]]),
            "largest step on the way back / largest inner step": whole[SEAM.measure],
        }

    others = {
        NOTHING: clip,
        BLENDED: blend_frames(open_ends, masked.expand(len(clip), -1))[:, :, :-1],
        REPEATED: torch.cat([held, clip[:, :, :1].expand(-1, -1, added - added // 2, -1, -1)], dim=2),
    }
    draw = drawn(applications.loop, clip, fps=fps, **F_ALONE)
    return Trial(f"loop, {fps:g} fps", draw, judge, others, [SEAM], fps)


def vary_trial(world: World, settings: AppsSettings, generator: torch.Generator) -> Trial:
    """The decoder draws something similar; it must show the same thing, in other pixels."""
    fps = settings.fps
    clip, other = (world.clips(fps, WINDOW, generator) for _ in range(2))
    difference = "mean difference of pixels, of 255"

    def judge(video: Tensor) -> Values:
        return {
            "appearance": world.appearance(video),
            "motion": world.motion(video, fps),
            difference: 127.5 * (video - clip).abs().mean(dim=(1, 2, 3, 4)),
        }

    others = {OTHER_CLIP: other, SAME_AGAIN: clip, ANOTHER: other.roll(1, dims=0)}
    draw = drawn(applications.vary, clip, fps=fps, **KEYS_ALONE)
    wanted = [*bars(("appearance", settings.vary_appearance)), Bar(difference, 1.0)]
    return Trial("vary", draw, judge, others, wanted, fps)


def morph_trials(world: World, fps: float, generator: torch.Generator) -> list[Trial]:
    """F leads from one image to another: between frames of one clip, and from one thing to the next."""
    truth = world.clips(fps, WINDOW, generator)
    one_thing = _morph_trial("morph, one thing", truth[:, :, 0], truth[:, :, -1], fps)
    one_thing.others = {TRUE: truth, **one_thing.others}
    two_things = _morph_trial("morph, two things", truth[:, :, 0], truth[:, :, 0].roll(1, dims=0), fps)
    return [one_thing, two_things]


def _morph_trial(name: str, first: Tensor, second: Tensor, fps: float) -> Trial:
    time = torch.arange(WINDOW)
    ends = torch.stack([first, second], dim=2)[:, :, (time == WINDOW - 1).long()]
    blend = blend_frames(ends, ((time > 0) & (time < WINDOW - 1)).expand(len(ends), -1))
    error, uneven = "error of the ends, of 255", "largest step / mean step"

    def judge(video: Tensor) -> Values:
        own = steps(video)
        errors = [(video[:, :, place] - image).abs() for place, image in ((0, first), (-1, second))]
        return {
            error: 127.5 * torch.stack(errors).amax(dim=(0, 2, 3, 4)),
            uneven: torch.where(own.amax(dim=1) > AT_REST, own.amax(dim=1) / own.mean(dim=1), 1.0),
            "mean difference from a blend, of 255": 127.5 * (video - blend).abs().mean(dim=(1, 2, 3, 4)),
        }

    others = {BLENDED: blend, REPEATED: ends[:, :, [*range(WINDOW // 2)] + [-1] * (WINDOW // 2)]}
    draw = drawn(applications.morph, first, second, fps=fps, **F_ALONE)
    wanted = [Bar(error, 1.0, at_least=False), Bar(uneven, MAX_UNEVEN, at_least=False)]
    return Trial(name, draw, judge, others, wanted, fps)
