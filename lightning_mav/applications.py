"""What else the cascade can do: animate, morph, vary, extend, loop, interpolate, upscale, blend prompts.

All take and give videos in [-1, 1]. A video is brought to the size that the stages were trained on: F works
on small frames, and super-resolution makes them large. So what comes back has the cascade's own size, but
for ``upscale``, which keeps what it is given. A value of another type or shape, or out of its range, is a
``ValueError`` that names it.
"""

from typing import Any

import torch
from torch import Tensor

from .cascade import Cascade
from .cascade_output import CascadeOutput
from .data.codecs.pixels import middle_square, spread
from .models import shrink
from .models.extrapolation import extend_video, join_videos
from .models.sampling import DEFAULT, Sampling
from .stage_table import LAST, stages_until
from .upscale import upscale as upscale
from .utils.errors import BadValueError
from .utils.numbers import MAX_FPS, MIN_FPS, check_number, check_whole
from .utils.precision import autocast_context
from .utils.slerp import slerp
from .utils.tensors import IMAGES, VIDEOS, check_batches, check_pixels
from .utils.textfile import check_texts

LOOP_KEYS = 8  # frames that lead from the end of a video to its beginning, before others are put between
LOOP_FPS = 3.5  # how many of them play in a second, about: with more, the loop hurries back
WINDOW = 16  # frames in a window of the shipped interpolations
MAX_EMBEDDED = 16  # frames of a video whose embeddings are averaged


def animate(
    cascade: Cascade,
    image: Tensor,
    *,
    fps: float | None = None,
    frame_skip: int = 5,
    until: str = LAST,
    by: str = "decoder",
    sampling: Sampling = DEFAULT,
) -> CascadeOutput:
    """Makes images move: videos that begin with them.

    Args:
        cascade: All stages.
        image: Images ``(B, 3, H, W)``; the middle square is used.
        fps: Frame rate of the 16 key frames; None is the weights' own.
        frame_skip: Key frames lie this many frames apart, 1 to 15.
        until: Last stage to run.
        by: ``decoder``, which is told the image's embedding and draws the key frames from the image on, or
            ``interpolation``, which goes on from the image (as in the paper). Where the embedding of
            training is that of the middle frame (``Decoder.embed_frame``), the decoder's first half is left
            out, and the interpolation goes on from its second half.
        sampling: How to sample.
    """
    stages_until(until, "decoder")
    check_whole("frame_skip", frame_skip, 1)
    if by not in ("decoder", "interpolation"):
        raise BadValueError(f"by must be decoder or interpolation, got {by!r}")
    frame = middle_square(check_pixels("image", image, IMAGES))[:, :, None]
    still, embed = _small(cascade, frame), embed_frames(cascade, frame)
    fps, num_frames = cascade.known.fps if fps is None else fps, cascade.decoder.num_frames
    if by == "decoder":
        keys = cascade.run("decoder", sampling, image_embed=embed, fps=fps, still=still)
        keys = keys[:, :, cascade.decoder.embedded_place(num_frames) :]
    else:
        keys = still
    if missing := num_frames - keys.shape[2]:
        given = {"video": keys, "num_frames": missing, "image_embed": embed, "fps": fps}
        keys = cascade.run("interpolation", sampling, extend_video, **given)
    rest: dict[str, Any] = {"frame_skip": frame_skip, "until": until, "sampling": sampling}
    return cascade.render(embed, fps=fps, made={"decoder": keys.cpu()}, **rest)


def morph(
    cascade: Cascade,
    first: Tensor,
    second: Tensor,
    *,
    fps: float | None = None,
    until: str = LAST,
    sampling: Sampling = DEFAULT,
) -> CascadeOutput:
    """Leads from one image to another: F fills in all that lies between.

    Args:
        cascade: All stages.
        first: Images ``(B, 3, H, W)``; the middle square is used.
        second: As many others.
        fps: Frame rate of the result; None is five times the weights' own.
        until: Last stage to run.
        sampling: How to sample.
    """
    stages_until(until, "interpolation")
    num_frames = cascade.stage("interpolation").num_frames
    first, second = check_pixels("first", first, IMAGES), check_pixels("second", second, IMAGES)
    check_batches(first=first, second=second)
    both = [middle_square(image)[:, :, None] for image in (first, second)]
    ends = torch.cat([_small(cascade, image) for image in both], dim=2)
    embed = torch.stack([embed_frames(cascade, image) for image in both]).mean(dim=0)
    fps = 5 * cascade.known.fps if fps is None else fps
    given = {"video": ends, "image_embed": embed, "fps": fps, "frame_skip": num_frames - 1}
    made = {"interpolation": cascade.run("interpolation", sampling, **given).cpu()}
    return cascade.render(embed, fps=fps, until=until, sampling=sampling, made=made)


def vary(cascade: Cascade, video: Tensor, *, fps: float | None = None, **rest: Any) -> CascadeOutput:
    """Makes a similar video: the decoder draws it from the mean embedding of the frames.

    Args:
        cascade: All stages.
        video: Videos ``(B, 3, F, H, W)``; the middle square is used.
        fps: Frame rate of the 16 key frames; None is the weights' own.
        rest: ``frame_skip``, ``until`` and ``sampling``, see ``Cascade.render``.
    """
    video = middle_square(check_pixels("video", video, VIDEOS))
    return cascade.render(embed_frames(cascade, video), fps=fps, **rest)


def extend(
    cascade: Cascade,
    video: Tensor,
    fps: float,
    num_frames: int,
    *,
    before: bool = False,
    until: str = LAST,
    sampling: Sampling = DEFAULT,
) -> CascadeOutput:
    """Goes on with a video, after its end or before its beginning.

    Args:
        cascade: All stages.
        video: Videos ``(B, 3, F, H, W)``.
        fps: Their frame rate.
        num_frames: Frames to add.
        before: Whether they come before the video.
        until: Last stage to run.
        sampling: How to sample.
    """
    stages_until(until, "interpolation")
    video = check_pixels("video", video, VIDEOS)
    small, embed = _small(cascade, video), embed_frames(cascade, video)
    given = {"video": small, "num_frames": num_frames, "image_embed": embed, "fps": fps, "before": before}
    made = {"interpolation": cascade.run("interpolation", sampling, extend_video, **given).cpu()}
    return cascade.render(embed, fps=fps, until=until, sampling=sampling, made=made)


def loop(
    cascade: Cascade,
    video: Tensor,
    fps: float,
    num_frames: int | None = None,
    *,
    until: str = LAST,
    sampling: Sampling = DEFAULT,
) -> CascadeOutput:
    """Adds frames that lead from a video's end to its beginning, so that it can be repeated without a jump.

    Args:
        cascade: All stages.
        video: Videos ``(B, 3, F, H, W)``.
        fps: Their frame rate.
        num_frames: Frames to add, 1 to 14 with a window of 16; None is ``loop_frames``.
        until: Last stage to run.
        sampling: How to sample.
    """
    stages_until(until, "interpolation")
    video = check_pixels("video", video, VIDEOS)
    small, embed = _small(cascade, video), embed_frames(cascade, video)
    given: dict[str, Any] = {"first": small, "second": small, "image_embed": embed, "fps": fps}
    window = cascade.stage("interpolation").num_frames
    num_keys, frame_skip = _loop_keys(fps, window) if num_frames is None else (num_frames, 1)
    given |= {"num_frames": num_keys, "frame_skip": frame_skip}
    closing = cascade.run("interpolation", sampling, join_videos, **given)
    made = {"interpolation": torch.cat([small, closing], dim=2).cpu()}
    return cascade.render(embed, fps=fps, until=until, sampling=sampling, made=made)


def loop_frames(fps: float, window: int = WINDOW) -> int:
    """Returns how many frames ``loop`` adds by itself: about 2.5 seconds, at 6 to 60 frames a second."""
    num_keys, frame_skip = _loop_keys(fps, window)
    return (num_keys + 1) * frame_skip - 1


def _loop_keys(fps: float, window: int) -> tuple[int, int]:
    """Returns how many frames are made first, and from one to the next, so that 3.5 play in a second."""
    check_number("fps", fps, MIN_FPS, MAX_FPS)
    return min(LOOP_KEYS, window - 2), min(max(1, round(fps / LOOP_FPS)), window - 1)


def interpolate(
    cascade: Cascade, video: Tensor, fps: float, *, frame_skip: int = 5, **rest: Any
) -> CascadeOutput:
    """Puts ``frame_skip - 1`` frames between neighbours, so that a video plays more smoothly.

    Args:
        cascade: All stages.
        video: Videos ``(B, 3, F, H, W)``.
        fps: Their frame rate; the result has ``frame_skip`` times as many.
        frame_skip: 1 to 15.
        rest: ``until`` and ``sampling``, see ``Cascade.render``.
    """
    stages_until(rest.get("until", LAST), "interpolation")
    video = check_pixels("video", video, VIDEOS)
    small, embed = _small(cascade, video), embed_frames(cascade, video)
    return cascade.render(embed, fps=fps, frame_skip=frame_skip, made={"decoder": small.cpu()}, **rest)


def blend_prompts(
    cascade: Cascade, first: str, second: str, share: float, *, sampling: Sampling = DEFAULT, **rest: Any
) -> CascadeOutput:
    """Makes a video of what lies between two sentences: between the embeddings that the prior draws.

    Args:
        cascade: All stages.
        first: A prompt, or several.
        second: As many others.
        share: Of the second, 0 to 1.
        sampling: How to sample; both are drawn from the same noise.
        rest: ``fps``, ``frame_skip`` and ``until``, see ``Cascade.render``.
    """
    check_number("share", share, 0, 1)
    a = cascade.embed(check_texts("first", first), sampling)
    b = cascade.embed(check_texts("second", second), sampling)
    check_batches(first=a, second=b)
    return cascade.render(slerp(a, b, share), sampling=sampling, **rest)


def embed_frames(cascade: Cascade, video: Tensor) -> Tensor:
    """Returns the mean of CLIP's embeddings of frames of ``(B, 3, F, H, W)``: ``(B, D)``."""
    places = spread(video.shape[2], min(MAX_EMBEDDED, video.shape[2]))
    frames = middle_square(video[:, :, places]).transpose(1, 2)
    with torch.inference_mode(), autocast_context(cascade.device, cascade.precision):
        embeds = cascade.clip.encode_image(frames.flatten(0, 1).to(cascade.device)).float()
    return embeds.unflatten(0, (len(video), -1)).mean(dim=1)


def _small(cascade: Cascade, video: Tensor) -> Tensor:
    return shrink(video.to(cascade.device), cascade.decoder.image_size)
