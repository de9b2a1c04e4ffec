"""Keeps features of videos in files, so that they are computed only once."""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ...data.codecs.pixels import from_uint8
from ...data.shards.writer import digest_of
from ...utils.errors import reason_of, writing
from ...utils.paths import replacing, visible
from ...utils.textfile import write_json

REMEDY = "make room and start again, nothing is lost"
CHUNK = 256  # videos whose features share a file; a run that is killed loses no more than that


@dataclass
class Features:
    """Features of videos.

    Args:
        numbers: Numbers of the ``N`` videos.
        values: ``(N, K, D)``: ``D`` features of each of the ``K`` frames or windows of a video.
        left_out: Videos that cannot be used, and why.
    """

    numbers: list[int] = field(default_factory=list)
    values: Tensor = field(default_factory=lambda: torch.empty(0))
    left_out: dict[int, str] = field(default_factory=dict)


class FeatureCache:
    """A folder of features that depend only on ``spec`` and the number of the video.

    Args:
        root: Folder that holds this one.
        title: First part of the folder's name; a digest of ``spec`` follows.
        spec: All that the features depend on, as plain values.
    """

    def __init__(self, root: Path, title: str, spec: dict[str, Any]) -> None:
        self.folder = root / f"{title}-{digest_of([spec])[:16]}"
        self.spec = spec

    def fill(
        self,
        numbers: Sequence[int],
        load: Callable[[int], Tensor],
        measure: Callable[[Tensor, list[int]], Tensor],
        *,
        batch_size: int = 8,
        num_workers: int = 4,
        progress: Callable[[int, int], None] | None = None,
    ) -> Features:
        """Returns the features of videos, computing those that no file holds.

        Args:
            numbers: The videos, ascending.
            load: Reads one as bytes ``(3, F, H, W)``; a ``ValueError`` leaves it out.
            measure: Maps videos ``(B, 3, F, H, W)`` in [-1, 1] and their numbers to ``(B, K, D)``.
            batch_size: Videos at once.
            num_workers: Threads that read.
            progress: Called as ``progress(done, total)``.
        """
        rows: dict[int, Tensor] = {}
        left_out: dict[int, str] = {}
        for path in visible(self.folder, "*.safetensors"):
            _read(path, rows, left_out)
        missing = [number for number in numbers if number not in rows and number not in left_out]
        if missing:
            self._write_spec()
        done = len(numbers) - len(missing)
        with ThreadPoolExecutor(num_workers) as pool:
            for start in range(0, len(missing), CHUNK):
                new: dict[int, Tensor] = {}
                problems: dict[int, str] = {}
                chunk = missing[start : start + CHUNK]
                for place in range(0, len(chunk), batch_size):
                    batch = chunk[place : place + batch_size]
                    loaded = [*pool.map(lambda number: _load(load, number), batch)]
                    problems |= {n: v for n, v in zip(batch, loaded, strict=True) if isinstance(v, str)}
                    videos = {n: v for n, v in zip(batch, loaded, strict=True) if isinstance(v, Tensor)}
                    new |= _measured(videos, measure)
                    done += len(batch)
                    if progress is not None:
                        progress(done, len(numbers))
                self._write(new, problems)
                rows, left_out = rows | new, left_out | problems
        kept = [number for number in numbers if number in rows]
        values = torch.stack([rows[number] for number in kept]) if kept else torch.empty(0)
        return Features(kept, values, {number: left_out[number] for number in numbers if number in left_out})

    def _write_spec(self) -> None:
        with writing(self.folder, REMEDY):
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self.folder / "spec.json", self.spec)

    def _write(self, rows: dict[int, Tensor], left_out: dict[int, str]) -> None:
        first = min([*rows, *left_out])
        tensors = {"numbers": torch.tensor([*rows], dtype=torch.long)}
        if rows:
            tensors["values"] = torch.stack([*rows.values()])
        path = self.folder / f"{first:08d}.safetensors"
        with writing(self.folder, REMEDY, SafetensorError), replacing(path) as part:
            save_file(tensors, part, metadata={"left_out": json.dumps(left_out)})
            part.chmod(0o644)  # safetensors makes it readable to its owner alone


def _load(load: Callable[[int], Tensor], number: int) -> Tensor | str:
    try:
        return load(number)
    except ValueError as error:
        return reason_of(error)


def _measured(videos: dict[int, Tensor], measure: Callable[[Tensor, list[int]], Tensor]) -> dict[int, Tensor]:
    """Measures videos; those of the same size form a batch."""
    rows: dict[int, Tensor] = {}
    for shape in dict.fromkeys(video.shape for video in videos.values()):
        numbers = [number for number, video in videos.items() if video.shape == shape]
        values = measure(from_uint8(torch.stack([videos[n] for n in numbers])), numbers)
        rows |= dict(zip(numbers, values.float().cpu(), strict=True))
    return {number: rows[number] for number in videos}


def _read(path: Path, rows: dict[int, Tensor], left_out: dict[int, str]) -> None:
    """Adds the features in a file; a damaged file counts as missing."""
    try:
        with safe_open(path, "pt") as file:
            numbers = file.get_tensor("numbers").tolist()
            values = file.get_tensor("values") if numbers else []
            problems = json.loads(file.metadata()["left_out"])
    except (OSError, SafetensorError, ValueError, KeyError):
        return
    rows |= dict(zip(numbers, values, strict=True))
    left_out |= {int(number): reason for number, reason in problems.items()}
