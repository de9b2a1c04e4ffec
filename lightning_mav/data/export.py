"""Saves a video in the format that the ending of its path names."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from ..utils.numbers import MAX_FPS, MIN_FPS, check_number
from ..utils.paths import replacing
from .animated import write_apng, write_frames, write_sprites, write_webp
from .video import contact_sheet, write_gif, write_mp4

# Writers by ending. A path without one is a folder of frames.
WRITERS: dict[str, Callable[..., Any]] = {
    ".mp4": write_mp4,
    ".gif": write_gif,
    ".webp": write_webp,
    ".apng": write_apng,
    ".json": write_sprites,
    ".png": lambda path, video, fps: contact_sheet(video, fps=fps).save(path, "PNG"),
    "": lambda path, video, fps, **options: write_frames(path, video, **options),
}
OPAQUE = (".mp4", ".png")  # these have no transparent ground
SEVERAL = (".json", "")  # these are several files


def save_video(path: str | Path, video: Tensor, fps: float, *, alpha: Tensor | None = None) -> None:
    """Saves a video: ``.mp4``, ``.gif``, ``.webp``, ``.apng``, or others by the path's ending.

    ``x.json`` is a sprite sheet, whose picture is ``x.png``. ``x.png`` alone is a contact sheet, so give the
    two different names. A path without an ending is a folder of PNG frames.

    Args:
        path: Where to.
        video: ``(3, F, H, W)`` in [-1, 1].
        fps: Frames per second.
        alpha: Opacity ``(F, H, W)`` in [0, 1]; all but mp4 and contact sheets can hold it.

    Raises:
        ValueError: If the path has no name, the ending is unknown, ``fps`` is out of its range, or ``alpha``
            is given for what cannot hold it.
    """
    check_number("fps", fps, MIN_FPS, MAX_FPS)
    path = Path(path)
    suffix = path.suffix.lower()
    if path.name in ("", "..") or (not suffix and path.name.lower() in WRITERS):
        raise ValueError(f"{path}: names no file or folder of its own: give it a name, such as video.mp4")
    if suffix not in WRITERS:
        known = ", ".join(filter(None, WRITERS))
        raise ValueError(f"{path}: no format ends in {suffix}: choose one of {known}, or a folder")
    if alpha is not None and suffix in OPAQUE:
        raise ValueError(f"{path}: {suffix} has no transparent ground: choose .webp, .apng or .gif")
    options = {} if alpha is None else {"alpha": alpha}
    if suffix in SEVERAL:
        WRITERS[suffix](path, video, fps, **options)
        return
    with replacing(path) as part:  # if it fails, an earlier file stays as it was
        WRITERS[suffix](part, video, fps, **options)
