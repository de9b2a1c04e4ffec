"""Folders and names that commands write to."""

import hashlib
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..utils.errors import UsageError
from ..utils.paths import locked
from ..utils.textfile import parse_json, slug

# Endings of a video's files: the formats that may be asked for, contact sheet and settings.
FORMATS = {
    "mp4": ".mp4",
    "gif": ".gif",
    "webp": ".webp",
    "apng": ".apng",
    "frames": "-frames",
    "sprites": "-sprites.json",
}
RESULTS = ("video", "stages")  # what NAME.json says of a video that was not known before it was made
ENDINGS = (*FORMATS.values(), ".png", ".json")


@contextmanager
def output_folder(out: Path) -> Iterator[Path]:
    """Yields a folder in ``out`` for unfinished files; then removes it, and ``out`` if new and empty."""
    made: list[Path] = []
    try:
        made += [folder for folder in (out, *out.parents) if not folder.exists()]
        out.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=out))
    except OSError as error:
        _remove_empty(made)
        raise UsageError(
            f"--out {out}: cannot write there ({error.strerror or error}); choose another folder"
        ) from None
    try:
        yield unfinished
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        _remove_empty(made)


@contextmanager
def publishing(unfinished: Path, out: Path, what: str) -> Iterator[None]:
    """Moves the files written into ``unfinished``, folders and all, to ``out`` once all are there.

    Other processes that publish in ``out`` wait meanwhile.

    Raises:
        UsageError: If something could not be written; ``what`` names it.
    """
    try:
        with locked(out):
            yield
            for path in sorted(path for path in unfinished.rglob("*") if path.is_file()):
                target = out / path.relative_to(unfinished)
                target.parent.mkdir(exist_ok=True, parents=True)
                os.replace(path, target)
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(
            f"--out {out}: cannot write {what} ({reason}); make room or choose another folder"
        ) from error


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return


def base_name(prompt: str, seed: int) -> str:
    """Names the files of a prompt: its first letters and digits, which any file system allows."""
    return f"{slug(prompt) or 'prompt-' + hashlib.sha256(prompt.encode()).hexdigest()[:8]}-{seed}"


def own_name(out: Path, base: str, made: dict[str, Any], taken: dict[str, Any]) -> str:
    """Names the files of a video so that nothing but the same video is overwritten.

    Args:
        out: Where they go.
        base: The name if it is free; else it is numbered.
        made: Settings of the video, as in NAME.json. Files with the same settings are replaced.
        taken: Names of the videos of this run, in order; the new one is added.
    """
    wanted = _identity(json.loads(json.dumps(made)))
    for name in _numbered(base):
        if name in taken:
            continue
        if not any(os.path.lexists(out / f"{name}{ending}") for ending in ENDINGS):
            break
        if _identity(_read(out / f"{name}.json")) == wanted:
            break
    taken[name] = None
    return name


def made_before(
    out: Path, base: str, asked: dict[str, Any], endings: Sequence[str], taken: dict[str, Any]
) -> str | None:
    """Finds a whole video that an earlier run has made as it is asked for now.

    Args:
        out: Where it would be.
        base: Its name, or what its name begins with if it is numbered.
        asked: Settings, as in NAME.json, without those of RESULTS.
        endings: Endings of the files that must be there.
        taken: Names of the videos of this run, which do not count.

    Returns:
        The name; None if there is no such video.
    """
    wanted = _identity(json.loads(json.dumps(asked)))
    for name in _numbered(base):
        if name in taken:
            continue
        if not any(os.path.lexists(out / f"{name}{ending}") for ending in ENDINGS):
            return None
        found = _identity(_read(out / f"{name}.json"))
        if isinstance(found, dict) and {k: v for k, v in found.items() if k not in RESULTS} == wanted:
            return name if all((out / f"{name}{ending}").exists() for ending in endings) else None
    raise AssertionError("names do not end")


def _numbered(base: str) -> Iterator[str]:
    yield base
    yield from (f"{base}-{count}" for count in itertools.count(2))


def _read(path: Path) -> Any:
    try:
        return parse_json(path.read_bytes())
    except (OSError, ValueError):
        return None


def _identity(made: Any) -> Any:
    """Drops what may differ between two runs that make the same video: time, threads, paths, known names."""
    if not isinstance(made, dict):
        return made
    dropped = ("seconds", "threads", "file", "nearest_names")
    return {key: _identity(value) for key, value in made.items() if key not in dropped}
