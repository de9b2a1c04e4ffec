"""One requested video: its settings, its progress, and what has been made of it."""

import threading
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from .limits import RefusedError
from .settings import SETTINGS
from .uses import USES

WAITING, RUNNING, DONE, FAILED, CANCELLED = "waiting", "running", "done", "failed", "cancelled"
LIVE = (WAITING, RUNNING)


class BusyError(RefusedError):
    """The queue is full."""


class StopError(Exception):
    """Ends the job that is being made: it was cancelled, took too long, or the server stops."""


@dataclass
class Job:
    """One requested video.

    Args:
        id: Sixteen hexadecimal digits that nobody can guess: whoever knows them may see the video.
        use: A key of ``USES``.
        prompt: Its prompts, or the names of its files, as one text.
        settings: Checked settings.
        files: Names of the files in its folder, with their kinds and what was measured of them.
        num_frames: Frames of the result.
        state: ``waiting``, ``running``, ``done``, ``failed`` or ``cancelled``.
        message: Why it failed.
        note: A remark about the result, such as a warning.
        stages: What has been made: for each finished stage its name, frames, width, height and fps.
        tries: How often the server has started to make it.
        created: When it was requested, in seconds since 1970.
        seconds: How many seconds it took to make.
        weights: Name of the weights that made it; empty if they have none.
        ground: Colour of the ground on which they draw, three bytes; empty if it is not known.
        prompts: The prompts one by one, if it takes some.
    """

    id: str
    use: str
    prompt: str
    settings: dict[str, Any]
    files: list[dict[str, Any]] = field(default_factory=list)
    num_frames: int = 0
    state: str = WAITING
    message: str = ""
    note: str = ""
    stages: list[dict[str, Any]] = field(default_factory=list)
    tries: int = 0
    created: float = 0.0
    seconds: float = 0.0
    weights: str = ""
    ground: list[int] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        # Only for this run of the server; not saved.
        self.stage, self.share, self.left = "", 0.0, 0.0  # at work; share done, 0 to 1; seconds left
        self.begun = 0.0
        self.stopped = threading.Event()
        self.version = 0  # grows with every change

    @classmethod
    def from_dict(cls, content: Any) -> Self:
        """Returns the job that ``asdict`` made ``content`` of, also if it was of another version.

        Raises:
            ValueError: If a value is missing, or is not of its kind.
        """
        example, given = asdict(cls("", "", "", {})), content if isinstance(content, dict) else {}
        for name, value in example.items():
            kinds = (int, float) if isinstance(value, float) else type(value)
            if name in given and (not isinstance(given[name], kinds) or isinstance(given[name], bool)):
                raise ValueError(f"{name} of a job must be like {value!r}, got {given[name]!r}")
        if missing := {"id", "use", "prompt", "settings"} - given.keys():
            raise ValueError(f"a job needs {', '.join(sorted(missing))}")
        if given["use"] not in USES:
            raise ValueError(f"use of a job must be one of {', '.join(USES)}, got {given['use']!r}")
        if not all(isinstance(prompt, str) for prompt in given.get("prompts", [])):
            raise ValueError(f"prompts of a job must be texts, got {given['prompts']!r}")
        job = cls(**{name: given[name] for name in example if name in given})
        job.settings = {name: SETTINGS[name].default for name in USES[job.use].all_settings} | job.settings
        if "prompts" not in given and not job.files:  # of an earlier version
            job.prompts = [job.prompt]
        return job


def folder_bytes(folder: Path) -> int:
    """Returns how many bytes the files in a folder have; a file that is removed meanwhile counts nothing."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total
