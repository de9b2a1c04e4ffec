"""Windows of frames, cut out of real and generated videos in the same way."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ...data.codecs.decode import VIDEO_FORMATS, decode_video
from ...data.codecs.pixels import middle_square
from ...utils.errors import UsageError

MARGIN = 1e-3  # seconds: time stamps are rounded to the file's clock


def check_files(files: Sequence[Path], remedy: str) -> list[Path]:
    """Refuses a set of videos that is not complete.

    Raises:
        UsageError: If one is missing.
    """
    missing = [path for path in files if not path.is_file()]
    if missing:
        more = f" and {len(missing) - 1} more of {len(files)}" if len(missing) > 1 else ""
        raise UsageError(f"there is no {missing[0]}{more}; {remedy}")
    return list(files)


def sample_start(num_free: int, seed: int) -> int:
    """Samples where a window starts, uniformly from 0 to ``num_free``."""
    generator = torch.Generator().manual_seed(seed)
    return int(torch.randint(num_free + 1, (), generator=generator))


def window_of(video: Tensor, num_frames: int, seed: int) -> Tensor:
    """Cuts a window placed at random out of ``(3, F, H, W)``, or returns all of a shorter video."""
    start = sample_start(max(0, video.shape[1] - num_frames), seed)
    return video[:, start : start + num_frames]


def read_window(path: Path, num_frames: int, fps: float, seed: int) -> Tensor:
    """Reads a window, placed at random, of a real video: the middle square of each frame at native size.

    Args:
        path: The file.
        num_frames: Frames wanted.
        fps: Frame rate of the window; each of its frames is what a player would show at that time.
        seed: Decides where the window starts.

    Returns:
        Bytes ``(3, F, S, S)``.

    Raises:
        ValueError: If the file is damaged, or the video shorter than the window.
    """
    suffix = path.suffix.lower()[1:]
    if suffix not in VIDEO_FORMATS:
        raise ValueError(f"no video of a known kind: {path.suffix}")

    def choose(times: Tensor) -> Tensor:
        last = times[-1] - (num_frames - 1) / fps + MARGIN
        starts = int((times <= last).sum())
        if not starts:
            raise ValueError(f"too short: {float(times[-1]):.2f} s")
        instants = times[sample_start(starts - 1, seed)] + torch.arange(num_frames) / fps + MARGIN
        return torch.searchsorted(times, instants, right=True) - 1

    frames, _ = decode_video(path.read_bytes(), suffix, None, choose)
    return middle_square(frames.movedim(0, 1))


def even_frames(video: Tensor, num: int) -> Tensor:
    """Takes up to ``num`` evenly spaced frames of ``(..., F, H, W)``: the middle frames of equal parts."""
    num_frames = video.shape[-3]
    count = min(num, num_frames)
    indices = [(2 * i + 1) * num_frames // (2 * count) for i in range(count)]
    return video[..., indices, :, :]
