"""Frames before, after and between videos, filled in by the interpolation (Make-A-Video, section 3.3)."""

from typing import Unpack

import torch
from torch import Tensor

from ..diffusion import SampleOptions
from ..utils.numbers import check_whole
from .base import part_of
from .interpolation import Interpolation


def extend_video(
    model: Interpolation,
    video: Tensor,
    num_frames: int,
    image_embed: Tensor | None,
    fps: Tensor,
    *,
    before: bool = False,
    **options: Unpack[SampleOptions],
) -> Tensor:
    """Continues a video window by window; half of the frames of a window are known, and half are new.

    Args:
        model: The interpolation.
        video: ``(B, 3, F, H, W)`` in [-1, 1]; one frame is enough.
        num_frames: Frames to add.
        image_embed: CLIP image embedding, ``(B, D)``.
        fps: Frame rate, ``(B,)``.
        before: Whether the new frames come before the video instead of after it.
        options: See ``SampleOptions``; each window takes all its steps.

    Returns:
        Old and new frames, ``(B, 3, F + num_frames, H, W)``.

    Raises:
        ValueError: If ``num_frames`` is not a whole number, 1 or more.
    """
    check_whole("num_frames", num_frames, 1)
    known = min(model.num_frames // 2, video.shape[2])
    per_window, missing, progress = model.num_frames - known, num_frames, options.get("progress")
    num_windows = -(-num_frames // per_window)
    for i in range(num_windows):
        options["progress"] = part_of(progress, i, num_windows)
        new = min(per_window, missing)
        if before:
            window = _fill(model, video.new_zeros(0), video[:, :, :known], image_embed, fps, options)
            video = torch.cat([window[:, :, per_window - new : per_window], video], dim=2)
        else:
            window = _fill(model, video[:, :, -known:], video.new_zeros(0), image_embed, fps, options)
            video = torch.cat([video, window[:, :, known : known + new]], dim=2)
        missing -= new
    return video


def join_videos(
    model: Interpolation,
    first: Tensor,
    second: Tensor,
    num_frames: int,
    image_embed: Tensor | None,
    fps: Tensor,
    *,
    frame_skip: int = 1,
    **options: Unpack[SampleOptions],
) -> Tensor:
    """Returns the frames that lead from one video to another.

    If both are the same video, these frames close a loop. At high frame rates a window of frames is too
    short for that: with ``frame_skip`` K it is filled with every K-th frame, and those between follow.

    Args:
        model: The interpolation.
        first: The video before the new frames, ``(B, 3, F, H, W)`` in [-1, 1].
        second: The video after them.
        num_frames: New frames in the window; at least two fewer than the window has.
        image_embed: CLIP image embedding, ``(B, D)``.
        fps: Frame rate, ``(B,)``.
        frame_skip: K, 1 to ``model.num_frames - 1``.
        options: See ``SampleOptions``.

    Returns:
        ``(B, 3, K * (num_frames + 1) - 1, H, W)``.

    Raises:
        ValueError: If a number is out of its range.
    """
    check_whole("num_frames", num_frames, 1, model.num_frames - 2)
    check_whole("frame_skip", frame_skip, 1, model.num_frames - 1)
    head, tail = first[:, :, (first.shape[2] - 1) % frame_skip :: frame_skip], second[:, :, ::frame_skip]
    kept = model.num_frames - num_frames
    num_head = min(head.shape[2], max(kept - tail.shape[2], kept // 2))
    num_tail = min(tail.shape[2], kept - num_head)
    head, tail = head[:, :, -num_head:], tail[:, :, :num_tail]
    progress, parts = options.get("progress"), min(frame_skip, 2)
    options["progress"] = part_of(progress, 0, parts)
    window = _fill(model, head, tail, image_embed, fps / frame_skip, options, num_frames)
    window = window[:, :, : num_head + num_frames + num_tail]
    options["progress"] = part_of(progress, 1, parts)
    window = model.sample(window, image_embed, fps, frame_skip=frame_skip, **options)
    begin = (num_head - 1) * frame_skip + 1
    return window[:, :, begin : begin + (num_frames + 1) * frame_skip - 1]


def _fill(
    model: Interpolation,
    head: Tensor,
    tail: Tensor,
    image_embed: Tensor | None,
    fps: Tensor,
    options: SampleOptions,
    num_between: int | None = None,
) -> Tensor:
    """Fills a window that begins with ``head`` and ends with ``tail``; one of them may be empty.

    With ``num_between``, that many frames lie between head and tail, and more may follow after the tail.
    """
    like = head if head.numel() else tail
    num_head, num_tail = (x.shape[2] if x.numel() else 0 for x in (head, tail))
    window = like.new_zeros(*like.shape[:2], model.num_frames, *like.shape[3:])
    masked = torch.ones(len(like), model.num_frames, dtype=torch.bool, device=like.device)
    if num_head:
        window[:, :, :num_head], masked[:, :num_head] = head, False
    if num_tail:
        begin = model.num_frames - num_tail if num_between is None else num_head + num_between
        window[:, :, begin : begin + num_tail], masked[:, begin : begin + num_tail] = tail, False
    if options.get("num_steps") is None:
        options = {**options, "num_steps": model.extrapolation_steps}
    return model.fill(window, masked, image_embed, fps, **options)
