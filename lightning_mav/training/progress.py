"""How far a training is: a bar on a terminal, lines without one."""

import sys
import time
from datetime import timedelta
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar


class StepProgressBar(RichProgressBar):
    """A bar that counts steps, not batches: how many of how many, steps a second and the time left.

    Without a terminal, as in the log of a job, it prints a line every ``log_every_n_steps`` steps of the
    trainer instead, and one for the last step.
    """

    def __init__(self) -> None:
        super().__init__(console_kwargs={"stderr": True})

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Chooses between bar and lines."""
        super().setup(trainer, pl_module, stage)
        self.has_lines = stage == "fit" and trainer.is_global_zero and not sys.stderr.isatty()
        if self.has_lines:
            self.disable()

    @property
    def total_train_batches(self) -> int | float:
        """Number of steps; infinite without ``max_steps``."""
        return self.trainer.max_steps if self.trainer.max_steps > 0 else float("inf")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock, and adds the bar, which goes on from the step that is resumed from."""
        super().on_train_start(trainer, pl_module)
        self.last_step = done = trainer.global_step
        self.first = self.last_line = time.perf_counter(), done
        if self.progress is not None:
            self.progress.speed_estimate_period = 600  # seconds; a step may take longer than rich's 30
            total = self.total_train_batches
            self.train_progress_bar_id = self.progress.add_task("Training", total=total, completed=done)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leaves the bar as it is: it counts the steps of all epochs."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Moves the bar, or prints a line, at the end of a step, which may be that of several batches."""
        step = trainer.global_step
        if step == self.last_step:
            return
        self.last_step = step
        super().on_train_batch_end(trainer, pl_module, outputs, batch, step - 1)
        interval: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if self.has_lines and (step == trainer.max_steps or (interval and step % interval == 0)):
            print(self._line(step), file=sys.stderr, flush=True)
            self.last_line = time.perf_counter(), step

    def _line(self, step: int) -> str:
        """Says how far training is. The speed is that since the last line."""
        now, total = time.perf_counter(), self.trainer.max_steps
        pace = (now - self.first[0]) / (step - self.first[1])
        speed = (step - self.last_line[1]) / (now - self.last_line[0])
        parts = [f"step {step}" + (f" of {total}" if total > 0 else "")]
        metrics = self.trainer.progress_bar_metrics
        parts += [f"{name} {value:.4g}" for name, value in metrics.items() if isinstance(value, float)]
        parts.append(f"{speed:.2f} it/s")
        if total > 0:
            parts.append(f"{timedelta(seconds=round(pace * (total - step)))} left")
        return ", ".join(parts)
