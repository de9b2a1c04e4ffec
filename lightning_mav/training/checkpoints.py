"""Checkpoints of a run: written every n steps and at the last step, read back only if undamaged."""

import pickle
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.fabric.utilities.cloud_io import get_filesystem
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from ..utils.errors import UsageError, first_line, writing
from ..utils.paths import replacing, visible
from .callbacks import StopOnSignal
from .safe_files import load_file, runs_code
from .safe_files import save_file as _save
from .sharding.files import META, read_folder, read_whole

OWN_NAME = re.compile(r"step=\d+\.ckpt")  # of the files that configs/base.yaml asks for


class Checkpoint(ModelCheckpoint):
    """``ModelCheckpoint`` that also saves the last step, whatever ``every_n_train_steps`` is.

    It does so before the average weights replace the trained ones, so that training can go on from there.
    The last step is step ``max_steps``, the last one of an epoch that ``limit_train_batches`` ends, or the
    one after which a signal asks for a stop. If validation follows a step, the step is saved first, since
    validation may fail or be stopped.
    """

    @property
    def state_key(self) -> str:
        """Key of this state in a checkpoint: the same for all settings, so that they may change."""
        return "Checkpoint"

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Notes this run's earlier checkpoints, which are deleted when the next one is written."""
        super().on_train_start(trainer, pl_module)
        self.left_over: list[str] = []
        start = Path(trainer.ckpt_path) if trainer.ckpt_path else None
        if start is not None and start.resolve().parent == Path(self.dirpath or "").resolve():
            files = start.parent.glob("*.ckpt") if self.monitor == "step" else [start]
            known = {Path(path).resolve() for path in self.best_k_models}
            self.left_over = [
                str(path)
                for path in files
                if OWN_NAME.fullmatch(path.name) and path.resolve() not in known and not path.is_symlink()
            ]

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remembers the step that the batch belongs to."""
        self.step_before = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves every n steps, before validation, and when training is about to stop.

        It does not save between the batches of a step: checkpoints do not hold gradients.

        Raises:
            Stopped: If a signal has asked for it.
        """
        if trainer.global_step == self.step_before:
            return
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        stop = next((c for c in trainer.callbacks if isinstance(c, StopOnSignal)), None)  # type: ignore[attr-defined]
        signum = stop.signum_of_all(trainer) if stop else 0
        ends = trainer.should_stop or trainer.global_step == trainer.max_steps
        ends |= batch_idx + 1 == trainer.num_training_batches  # of an epoch: only a limit of batches ends one
        if (ends or signum or _validates_next(trainer)) and not self._should_skip_saving_checkpoint(trainer):
            candidates = self._monitor_candidates(trainer)
            self._save_topk_checkpoint(trainer, candidates)
            if self._last_global_step_saved != trainer.global_step and self.save_top_k:
                self._save_checkpoint(trainer, self.format_checkpoint_name(candidates))  # not of the best
            self._save_last_checkpoint(trainer, candidates)
        if stop and signum:
            stop.leave(trainer, signum)

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        super()._save_checkpoint(trainer, filepath)
        for path in self.left_over:
            if path != filepath:
                self._remove_checkpoint(trainer, path)
        self.left_over = []

    def _should_remove_checkpoint(self, trainer: Trainer, previous: str, current: str) -> bool:
        # Lightning never deletes the file that it started from: one more file after each interruption.
        start, trainer.ckpt_path = trainer.ckpt_path, None
        try:
            return super()._should_remove_checkpoint(trainer, previous, current)
        finally:
            trainer.ckpt_path = start


def _validates_next(trainer: Trainer) -> bool:
    """Whether validation follows this batch; False if processes could disagree, as by the clock."""
    loop = trainer.fit_loop
    if trainer._val_check_time_interval is not None and trainer.world_size > 1:  # type: ignore[attr-defined]
        return False
    return loop._data_fetcher is not None and loop.epoch_loop._should_check_val_fx(loop._data_fetcher)


class CheckpointFiles(TorchCheckpointIO):
    """Writes a checkpoint under a temporary name and renames it once it is complete and on disk.

    Lightning itself holds a whole checkpoint in memory, and writes it to the temporary folder first.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Writes a checkpoint; ``path`` appears only when the file is complete.

        Raises:
            UsageError: If it cannot be written; earlier checkpoints stay as they were.
        """
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        path, start_again = Path(path), "start again: it goes on from the newest checkpoint"
        with writing(path, f"make room, or name another folder by --checkpoint.dirpath, and {start_again}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():  # of a sharded run
                self.remove_checkpoint(path)
            with replacing(path, sync=True) as part, part.open("wb") as file:
                _save(checkpoint, file)

    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Reads a checkpoint; that of a sharded run as if it had not been sharded."""
        folder = Path(str(path))
        return read_whole(folder) if folder.is_dir() else super().load_checkpoint(path, *args, **kwargs)

    def remove_checkpoint(self, path: Any) -> None:
        """Removes a file or a folder; none is left that looks whole and is not."""
        folder = Path(str(path))
        if folder.is_dir() and not folder.is_symlink():
            (folder / META).unlink(missing_ok=True)
        super().remove_checkpoint(path)


def read_newest(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """Returns the newest whole checkpoint below a folder with its content, or None where there is none.

    Tensors of the meta device stand for those that lie in the other files of a sharded run's checkpoint. One
    that is damaged (a full disk, a killed process) is passed over with a warning.

    Raises:
        UsageError: If one is a pickle of more than tensors and plain values: reading it could run code.
    """
    # last.ckpt is a link to one of the others.
    files = {path.resolve() for path in visible(folder, "*.ckpt") if path.exists()}
    for path in sorted(files, key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            return path, _read(path, f"delete it, or move it out of {folder}")
        except zipfile.BadZipFile as error:
            warnings.warn(f"{path} is damaged ({error}): falling back to the one before it", stacklevel=2)
    return None


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Returns the content of a checkpoint that the user has named, as ``read_newest`` does.

    Raises:
        UsageError: If the file is missing, damaged or not a checkpoint.
    """
    if path.suffix == ".safetensors":
        raise UsageError(f"--ckpt_path={path}: it holds weights alone; name a .ckpt file")
    if not path.is_file() and not (path / META).is_file():
        what = "is a folder" if path.is_dir() else "there is no such file"
        raise UsageError(
            f"--ckpt_path={path}: {what}; name a .ckpt file, or leave it out to resume by itself"
        )
    try:
        found = _read(path, "name another")
    except OSError as error:
        raise UsageError(f"--ckpt_path={path}: cannot be read ({error.strerror}); name another") from error
    except zipfile.BadZipFile as error:
        reason = first_line(error)
        raise UsageError(f"--ckpt_path={path}: is no whole checkpoint ({reason}); name another") from error
    if not isinstance(found, dict) or not {"state_dict", "global_step"} <= found.keys():
        raise UsageError(f"--ckpt_path={path}: is no checkpoint of a training; name another")
    return found


def check_remote(url: str) -> None:
    """Refuses a URL at which there is no checkpoint.

    Raises:
        UsageError: If there is no file at ``url``, or it cannot be reached.
    """
    try:
        found, reason = get_filesystem(url).exists(url), "there is no such file"
    except (ImportError, OSError, ValueError) as error:
        found, reason = False, f"cannot be read ({first_line(error)})"
    if not found:
        raise UsageError(f"--ckpt_path={url}: {reason}; name another")


def _read(path: Path, remedy: str) -> dict[str, Any]:
    """Reads a checkpoint, a file or a folder, without running any code that a pickle may hold.

    Raises:
        UsageError: If it holds more than tensors and plain values.
        BadZipFile: If it is damaged.
        OSError: If the system does not let it be read.
    """
    try:
        return read_folder(path) if path.is_dir() else load_file(path)
    except pickle.UnpicklingError as error:
        raise runs_code(path, remedy) from error
