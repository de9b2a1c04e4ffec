"""Checkpoints of a run: written every so many steps and at the last one, read back if they are whole."""

import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from ..errors import UsageError


class Checkpoint(ModelCheckpoint):
    """``ModelCheckpoint`` that also saves the last step, whatever ``every_n_train_steps`` is.

    It does so before the average weights replace the trained ones, so that training can go on from there.
    """

    @property
    def state_key(self) -> str:
        """Names the state in a checkpoint; the same for all settings, so that they may change in between."""
        return "Checkpoint"

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remembers the step that the batch belongs to."""
        self.step_before = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves every n steps, and when training is about to stop.

        Not between the batches of a step, whose gradients no checkpoint holds.
        """
        if trainer.global_step == self.step_before:
            return
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        stops = trainer.should_stop or trainer.global_step == trainer.max_steps
        if stops and not self._should_skip_saving_checkpoint(trainer):
            candidates = self._monitor_candidates(trainer)
            self._save_topk_checkpoint(trainer, candidates)
            self._save_last_checkpoint(trainer, candidates)


def read_newest(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """Returns the newest whole checkpoint below a folder with its content, or None where there is none.

    One that is damaged (a full disk, a killed process) is passed over with a warning.

    Raises:
        UsageError: If one is a pickle of more than tensors and plain values, which reading could run.
    """
    # last.ckpt is a link to one of the others.
    files = {path.resolve() for path in folder.glob("*.ckpt") if path.exists()}
    for path in sorted(files, key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            _check(path)
            return path, torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except pickle.UnpicklingError as error:
            raise UsageError(
                f"{path}: is a pickle of more than tensors and plain values, which could run code when it is "
                f"read; no checkpoint of this project is: delete it, or move it out of {folder}"
            ) from error
        except (zipfile.BadZipFile, RuntimeError, EOFError) as error:
            warnings.warn(f"{path} is damaged ({error}): falling back to the one before it", stacklevel=2)
    return None


def _check(path: Path) -> None:
    """Raises ``UnpicklingError`` if a file is a bare pickle, ``BadZipFile`` if it is damaged."""
    with path.open("rb") as file:
        if file.read(1) == pickle.PROTO:
            raise pickle.UnpicklingError
    with zipfile.ZipFile(path) as archive:
        if damaged := archive.testzip():
            raise zipfile.BadZipFile(f"bad checksum of {damaged}")
