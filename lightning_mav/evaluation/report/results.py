"""Results of an evaluation, as plain values that ``report.json`` holds."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ...utils.errors import UsageError
from ...utils.textfile import parse_json

VERSION = 1  # increase when the layout of report.json changes


@dataclass(frozen=True)
class Figure:
    """One number with its uncertainty.

    Args:
        name: Name of the metric as in publications, e.g. ``FVD``.
        value: The number.
        low: Lower end of its 95% interval; None if it has none.
        high: Upper end.
        n: Number of samples behind it.
        better: ``lower`` or ``higher``.
        settings: All that the number depends on: features, resizing, numbers of frames, real set.
        published: Published numbers of the same name, by system, e.g. ``{"Make-A-Video": 367.23}``.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    n: int
    better: str
    settings: dict[str, Any] = field(default_factory=dict)
    published: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuses an unknown value of ``better``."""
        if self.better not in ("lower", "higher"):
            raise ValueError(f"better must be lower or higher, got {self.better!r}")


@dataclass(frozen=True)
class ShownVideo:
    """One video to look at.

    Args:
        key: Its id within the bench.
        prompt: Its text prompt.
        video: Its file, relative to the report's folder, with ``/``.
        scores: Numbers of this sample alone by name, e.g. ``{"CLIPSIM": 0.31}``; higher is better.
        label: Its class, where it has one.
    """

    key: str
    prompt: str
    video: str
    scores: dict[str, float] = field(default_factory=dict)
    label: str | None = None

    def __post_init__(self) -> None:
        """Refuses a file outside the report's folder, which would be lost when the folder is passed on."""
        _check_inside(self.video)


@dataclass(frozen=True)
class Table:
    """A table of texts.

    Args:
        title: Title above it.
        header: Names of the columns.
        rows: Cells, as many in each row.
    """

    title: str
    header: list[str]
    rows: list[list[str]]

    def __post_init__(self) -> None:
        """Refuses rows that do not fit the header."""
        if any(len(row) != len(self.header) for row in self.rows):
            raise ValueError(f"table {self.title!r}: every row must have {len(self.header)} cells")


@dataclass
class Report:
    """A whole evaluation.

    Args:
        bench: Name of the protocol, e.g. ``ucf101``.
        title: Heading.
        notes: What a reader must know to read the numbers, in Markdown paragraphs.
        figures: The numbers, most important first.
        samples: Videos to look at.
        tables: Further tables.
        images: Plots and sheets: title and file relative to the report's folder.
        settings: Every setting of the run.
        weights: ``file`` and ``sha256`` of the weights of each stage.
        versions: Versions of the packages that matter.
        device: What it was computed on.
        seconds: Time of each part.
        details: Further results of the bench, for programs to read.
        version: Layout of the file.
    """

    bench: str
    title: str
    notes: str = ""
    figures: list[Figure] = field(default_factory=list)
    samples: list[ShownVideo] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    images: list[tuple[str, str]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, dict[str, str]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    device: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    version: int = VERSION

    def __post_init__(self) -> None:
        """Refuses images outside the report's folder."""
        for _, name in self.images:
            _check_inside(name)

    def to_json(self) -> str:
        """Returns the text of ``report.json``."""
        return json.dumps(dataclasses.asdict(self), indent=2, allow_nan=False) + "\n"


def _check_inside(name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{name!r} must be relative to the report's folder, and in it")


def keep_other_report(folder: Path, title: str) -> None:
    """Refuses a folder that holds the report of another evaluation, or another page; its own may be replaced.

    Args:
        folder: Where a report is to be written.
        title: Its title.

    Raises:
        UsageError: If the folder holds a report with another title, or a page that is no report.
    """
    if (folder / "index.html").exists() and not (folder / "report.json").exists():
        raise UsageError(f"--out {folder}: holds a page that is no report, index.html; choose another")
    try:
        there = load_report(folder).title
    except UsageError:
        return  # there is none
    if there != title:
        raise UsageError(f"--out {folder}: holds the report of another evaluation, {there!r}; choose another")


def load_report(path: Path) -> Report:
    """Reads ``report.json``, given its path or the folder that holds it.

    Raises:
        UsageError: If it is missing, not a report, or of another version.
    """
    file = path / "report.json" if path.is_dir() else path
    try:
        values = parse_json(file.read_bytes())
        if values.get("version") != VERSION:
            raise UsageError(f"{file}: written by another version of mav evaluate; evaluate again")
        for name, kind in (("figures", Figure), ("samples", ShownVideo), ("tables", Table)):
            values[name] = [kind(**entry) for entry in values[name]]
        values["images"] = [(title, name) for title, name in values["images"]]
        return Report(**values)
    except OSError as error:
        raise UsageError(
            f"{file}: cannot be read ({error.strerror}); name a folder of mav evaluate"
        ) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(f"{file}: is no report of mav evaluate ({error})") from error
