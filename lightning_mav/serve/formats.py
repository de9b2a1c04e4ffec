"""The formats in which a finished video can be downloaded; a file is made when it is first asked for."""

import shutil
import tempfile
import threading
import zipfile
from collections.abc import Sequence
from pathlib import Path

from ..data.export import save_video
from ..data.matte import on_background
from ..utils.paths import replacing
from .making import read_pixels

# By name: the label in the page, the ending of the file, and the name that ``save_video`` is given.
FORMATS = {
    "mp4": ("MP4", ".mp4", "video.mp4"),
    "gif": ("GIF", ".gif", "video.gif"),
    "webp": ("WebP", ".webp", "video.webp"),
    "apng": ("APNG", ".apng", "video.apng"),
    "frames": ("Frames (PNG)", "-frames.zip", "frames"),
    "sprites": ("Sprite sheet", "-sprites.zip", "sprites.json"),
}
OPAQUE = ("mp4",)
_making = threading.Lock()  # one at a time: each takes seconds of computing, and memory


def made_format(folder: Path, fps: float, name: str, *, ground: Sequence[int] | None = None) -> Path:
    """Returns the file of a finished job in a format; it is kept in the job's folder.

    Args:
        folder: The job's folder.
        fps: Frames per second of the result.
        name: A key of ``FORMATS``.
        ground: Background colour to make transparent; None keeps the background.

    Raises:
        ValueError: If the format cannot hold the video, or the background cannot be found in it.
    """
    _, ending, inner = FORMATS[name]
    target = folder / f"video{'-clear' if ground is not None else ''}{ending}"
    with _making:
        if target.exists():
            return target
        video, alpha = on_background(read_pixels(folder), ground, "transparent" if ground else None)
        with tempfile.TemporaryDirectory() as scratch, replacing(target) as part:
            save_video(Path(scratch) / inner, video, fps, alpha=alpha)
            if ending.endswith(".zip"):
                _pack(Path(scratch), part)
            else:
                shutil.move(Path(scratch) / inner, part)
    return target


def _pack(folder: Path, target: Path) -> None:
    """Puts all files of a folder into a zip file; PNG files are stored as they are."""
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            archive.write(path, path.relative_to(folder))
