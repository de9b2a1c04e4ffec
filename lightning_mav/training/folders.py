"""Folders of a training: for one run at a time, writable from the start, moved aside for a new run."""

import itertools
import shutil
import tempfile
from pathlib import Path
from typing import IO

from torch import nn

from ..utils.errors import UsageError, writing
from ..utils.paths import claim

LOCK = ".lock"
ELSEWHERE = "move it away, or start in another folder"


class RunFolders:
    """Keeps a second training out of the folders of the first, for as long as this process lives.

    Args:
        run: Folder of the run.
        checkpoints: Folder of its checkpoints.
        weights: File that will receive its weights; None if it writes none.
    """

    def __init__(self, run: Path, checkpoints: Path | None = None, weights: Path | None = None) -> None:
        self.run, self.checkpoints, self.weights = run, checkpoints, weights
        self.aside: Path | None = None
        self._locks: dict[Path, IO[str]] = {}

    def claim(self) -> None:
        """Makes and locks the folders, and checks now, not after hours, that they can be written to.

        Raises:
            UsageError: If one cannot be written to, or another training writes to it.
        """
        for folder in {path.resolve(): path for path in (self.run, self.checkpoints) if path}.values():
            with writing(folder, ELSEWHERE):
                folder.mkdir(parents=True, exist_ok=True)
                remedy = "wait for it, stop it, or start this one in another folder"
                self._locks[folder / LOCK] = claim(folder / LOCK, remedy)
        if self.checkpoints is not None:
            for part in self.checkpoints.glob(".*.ckpt*.part"):  # of a run that was killed while it wrote
                shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)
        if self.weights is not None:
            with writing(self.weights.parent, ELSEWHERE):
                self.weights.parent.mkdir(parents=True, exist_ok=True)
                tempfile.TemporaryFile(dir=self.weights.parent).close()

    def check_room(self, model: nn.Module, num_kept: int, *, fresh: bool) -> None:
        """Refuses a disk without room for the checkpoints, before anything is trained.

        A checkpoint holds the network, its average, and at least one number for each that is trained: Muon
        keeps one, AdamW two.

        Args:
            model: What is trained.
            num_kept: Checkpoints that are kept; one more is written before the oldest is deleted.
            fresh: Whether those that are there will be moved aside, instead of being deleted in time.

        Raises:
            UsageError: If there is too little room.
        """
        if self.checkpoints is None or num_kept < 1:
            return
        trained = sum(parameter.nbytes for parameter in model.parameters() if parameter.requires_grad)
        size = 2 * sum(tensor.nbytes for tensor in model.state_dict().values()) + trained
        there = 0 if fresh else sum(not path.is_symlink() for path in self.checkpoints.glob("*.ckpt"))
        num_more = max(1, num_kept + 1 - there)
        free = shutil.disk_usage(self.checkpoints).free
        if free < num_more * size:
            raise UsageError(
                f"{self.checkpoints}: {num_more} checkpoints of {size / 1e9:.3g} GB or more will be written, "
                f"and {free / 1e9:.3g} GB are free: make room, or name another folder by --checkpoint.dirpath"
            )

    def release(self) -> None:
        """Releases the locks, so that another training may use the folders."""
        for file in self._locks.values():
            file.close()
        self._locks = {}

    def move_aside(self) -> None:
        """Renames the folder of an old run and puts its weights there."""
        weights = self.weights
        files = (path for path in self.run.rglob("*") if path.name != LOCK and path.is_file())
        if not any(files) and not (weights and weights.exists()):
            return
        numbers = (self.run.with_name(f"{self.run.name}.{i}") for i in itertools.count(1))
        self.aside = next(path for path in numbers if not path.exists())
        with writing(self.run, ELSEWHERE):
            self.run.rename(self.aside)
            if weights and weights.exists():
                weights.rename(self.aside / weights.name)
        print(f"moved what was in {self.run} to {self.aside}")
        self.release()
        self.claim()

    def put_back(self) -> None:
        """Undoes ``move_aside`` if the new run has trained nothing."""
        if self.aside is None:
            return
        self.release()
        shutil.rmtree(self.run)
        self.aside.rename(self.run)
        if self.weights and (moved := self.run / self.weights.name).exists():
            moved.rename(self.weights)
        print(f"put what was in {self.run} back: nothing was trained")
        self.aside = None


def local_folder(folder: str | None) -> Path | None:
    """Returns a folder of this machine as a path, None for a URL or nothing."""
    return None if folder is None or "://" in str(folder) else Path(folder)
