"""What the page can make: one entry for each tab, with its inputs, its settings and its function.

A new use of the cascade is one more entry in ``USES``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..stage_table import KEY_FRAMES
from .settings import OF_DECODER, SAMPLING, SETTINGS
from .uploads import Upload

if TYPE_CHECKING:
    from ..cascade import Cascade
    from ..cascade_output import CascadeOutput
    from ..data.media import Video
    from ..models.sampling import Sampling

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Use:
    """One use of the cascade: a tab of the page, and a command.

    Args:
        title: The label of its tab and its button.
        text: What it does, in a sentence.
        draw: Makes the video, as ``draw(cascade, given, settings, sampling)``; ``given`` are the prompts, or
            what ``read_upload`` returns for each file.
        num_frames: Frames of the result, from the settings, the uploads, and the number of frames in a window
            of the interpolation.
        files: Kind of each file that it takes, ``image`` or ``video``; if empty, it takes prompts.
        prompts: What the page calls each prompt that it takes, if it takes no files.
        settings: Names of its settings, besides ``SAMPLING``.
        least_frames: Least number of frames that an uploaded video must have.
    """

    title: str
    text: str
    draw: Callable[["Cascade", Any, Settings, "Sampling"], "CascadeOutput"]
    num_frames: Callable[[Settings, Sequence[Upload], int], int]
    files: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ("Prompt",)
    settings: tuple[str, ...] = ()
    least_frames: int = 1

    @property
    def num_inputs(self) -> int:
        """Number of files or prompts that it takes."""
        return len(self.files or self.prompts)

    @property
    def all_settings(self) -> tuple[str, ...]:
        """Names of all settings, in the order of ``SETTINGS``."""
        return tuple(name for name in SETTINGS if name in (*self.settings, *SAMPLING))


def _keys(settings: Settings) -> dict[str, Any]:
    """Returns the settings of the key frames."""
    return {"fps": settings["fps"], "frame_skip": settings["frame_skip"]}


def _generate(cascade: "Cascade", prompts: list[str], settings: Settings, sampling: "Sampling") -> Any:
    embed = cascade.embed(prompts, sampling)
    return cascade.render(embed, **_keys(settings), sampling=sampling)


def _blend(cascade: "Cascade", prompts: list[str], settings: Settings, sampling: "Sampling") -> Any:
    from ..applications import blend_prompts

    (first, second), share = prompts, settings["share"]
    return blend_prompts(cascade, first, second, share, sampling=sampling, **_keys(settings))


def _animate(cascade: "Cascade", given: list["Video"], settings: Settings, sampling: "Sampling") -> Any:
    from ..applications import animate

    return animate(cascade, given[0].frames[None, :, 0], **_keys(settings), sampling=sampling)


def _morph(cascade: "Cascade", given: list["Video"], settings: Settings, sampling: "Sampling") -> Any:
    from ..applications import morph

    images = [video.frames[None, :, 0] for video in given]
    return morph(cascade, *images, fps=settings["result_fps"], sampling=sampling)


def _vary(cascade: "Cascade", given: list["Video"], settings: Settings, sampling: "Sampling") -> Any:
    from ..applications import vary

    return vary(cascade, given[0].frames[None], **_keys(settings), sampling=sampling)


def _extend(cascade: "Cascade", given: list["Video"], settings: Settings, sampling: "Sampling") -> Any:
    from ..applications import extend

    (video,) = given
    count = _frames_of(settings["seconds"], video.fps)
    return extend(cascade, video.frames[None], video.fps, count, before=settings["before"], sampling=sampling)


def _loop(cascade: "Cascade", given: list["Video"], settings: Settings, sampling: "Sampling") -> Any:
    from ..applications import loop

    (video,) = given
    return loop(cascade, video.frames[None], video.fps, settings["frames"], sampling=sampling)


def _interpolate(cascade: "Cascade", given: list["Video"], settings: Settings, sampling: "Sampling") -> Any:
    from ..applications import interpolate

    (video,) = given
    skip = settings["frame_skip"]
    return interpolate(cascade, video.frames[None], video.fps, frame_skip=skip, sampling=sampling)


def _frames_of(seconds: float, fps: float) -> int:
    return max(1, round(seconds * fps))


def _looped(settings: Settings, files: Sequence[Upload], window: int) -> int:
    from ..applications import loop_frames

    (video,) = files
    return video.num_frames + (settings["frames"] or loop_frames(video.fps, window))


def _smooth(settings: Settings, files: Sequence[Upload], window: int) -> int:
    return (KEY_FRAMES - 1) * int(settings["frame_skip"]) + 1


USES = {
    "generate": Use("Generate", "Turns a sentence into a video.", _generate, _smooth, settings=OF_DECODER),
    "blend": Use(
        "Blend",
        "Shows what lies between two sentences.",
        _blend,
        _smooth,
        prompts=("First sentence", "Second sentence"),
        settings=("share", *OF_DECODER),
    ),
    "animate": Use(
        "Animate",
        "Makes an image move. The video begins with the image.",
        _animate,
        _smooth,
        ("image",),
        settings=OF_DECODER,
    ),
    "morph": Use(
        "Morph",
        "Turns one image into another.",
        _morph,
        lambda settings, files, window: window,
        ("image", "image"),
        settings=("result_fps",),
    ),
    "vary": Use("Vary", "Makes a similar video.", _vary, _smooth, ("video",), settings=OF_DECODER),
    "extend": Use(
        "Extend",
        "Continues a video after its end, or before its beginning.",
        _extend,
        lambda settings, files, _: files[0].num_frames + _frames_of(settings["seconds"], files[0].fps),
        ("video",),
        settings=("seconds", "before"),
    ),
    "loop": Use(
        "Loop",
        "Adds frames that lead from the end of a video to its beginning.",
        _loop,
        _looped,
        ("video",),
        settings=("frames",),
    ),
    "interpolate": Use(
        "Interpolate",
        "Adds frames between those of a video, so that it plays more smoothly.",
        _interpolate,
        lambda settings, files, _: (files[0].num_frames - 1) * settings["frame_skip"] + 1,
        ("video",),
        settings=("frame_skip",),
        least_frames=2,
    ),
}
