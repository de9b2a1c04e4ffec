"""Callbacks that every run has: seeds of its steps, and what it should know of its data."""

import time
from typing import Any

import numpy as np
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor


class StepSeed(Callback):
    """Seeds torch before each batch with the step, so that a resumed run draws what it would have drawn.

    Checkpoints need not hold the states of random generators then, which differ between ranks and devices.

    Args:
        seed: Seed of the run.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seeds from step, batch of the step and rank."""
        part = batch_idx % trainer.accumulate_grad_batches
        words = np.random.SeedSequence([self.seed, trainer.global_step, part, trainer.global_rank])
        torch.manual_seed(int(words.generate_state(1, np.uint64)[0]))


class DataMonitor(Callback):
    """Logs the share of time that training waits for data, and a histogram of the clips' frame rates.

    ``data/wait`` is the time from the end of a step to the start of the next over that from start to start,
    averaged since it was last logged; ``data/fps`` are the frame rates drawn since then.
    """

    def __init__(self) -> None:
        self.started: float | None = None
        self.ended: float | None = None
        self.waited = self.total = 0.0
        self.fps: list[Tensor] = []

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Notes how long the batch was waited for, and its frame rates."""
        now = time.perf_counter()
        if self.started is not None and self.ended is not None:
            self.waited += now - self.ended
            self.total += now - self.started
        self.started = now
        clips = batch.get("video") if isinstance(batch, dict) else None
        fps = clips.get("fps") if isinstance(clips, dict) else batch.get("fps") if clips is not None else None
        if fps is not None:
            self.fps.append(fps.detach().cpu())

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Logs at every ``log_every_n_steps``-th step."""
        interval: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if (batch_idx + 1) % interval == 0 and self.total:
            pl_module.log("data/wait", self.waited / self.total, batch_size=1)
            self.waited = self.total = 0.0
            if self.fps and isinstance(trainer.logger, TensorBoardLogger):
                rates = torch.cat(self.fps)
                trainer.logger.experiment.add_histogram("data/fps", rates, trainer.global_step)
            self.fps = []
        self.ended = time.perf_counter()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leaves validation out of the count."""
        self.started = self.ended = None

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Leaves the writing of checkpoints out of the count, which follows the end of a step."""
        self.started = self.ended = None


class OwnRates(Callback):
    """Lets the settings of this run decide, where a checkpoint would bring back those it was made with.

    Optimizers put their learning rates, decays and so on into checkpoints, beside their moments. Whoever
    lowers the rate because a run diverged means the run that goes on.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Notes the settings before a checkpoint is read."""
        self.settings = [
            [{key: value for key, value in group.items() if key != "params"} for group in own.param_groups]
            for own in trainer.optimizers
        ]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Puts those back that have changed; the rate is where the schedule has brought it."""
        for optimizer, groups in zip(trainer.optimizers, self.settings, strict=True):
            for group, settings in zip(optimizer.param_groups, groups, strict=True):
                start = settings.get("initial_lr", settings["lr"])  # there is none without a schedule
                before = group.get("initial_lr", group["lr"])
                rate = group["lr"] if start == before else group["lr"] / before * start
                group.update(settings, lr=rate)
        for config in trainer.lr_scheduler_configs:
            schedule = config.scheduler
            if hasattr(schedule, "base_lrs"):
                schedule.base_lrs = [group["initial_lr"] for group in schedule.optimizer.param_groups]
