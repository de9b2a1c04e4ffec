"""Training for a given time instead of a given number of steps."""

import time
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_info

from ..utils.numbers import check_number


class TimeBudget(Callback):
    """Ends training after a given time, by setting ``max_steps`` to what the time allows.

    The learning rate's schedule follows ``max_steps``, so it is at its end when the time is over. Useful on a
    machine that is lent for minutes; docs/gpu.md shows how to add it to a training.

    Args:
        seconds: Wall-clock time from the first step, validation and checkpoints included.
    """

    WARM_UP = 20  # steps that are slow: kernels are compiled and chosen
    EVERY = 15  # seconds from one message to the next

    def __init__(self, seconds: float) -> None:
        check_number("seconds", seconds, 1)
        self.seconds = seconds

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock."""
        self.started = self.told = self._now(trainer)
        self.first = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Sets the number of steps by the pace so far, and ends training when the time is over."""
        now, step = self._now(trainer), trainer.global_step
        left = self.seconds - (now - self.started)
        if step - self.first <= self.WARM_UP:
            self.warm = now, step
        elif (num := step - self.warm[1]) > 0:
            pace = num / (now - self.warm[0])
            trainer.fit_loop.epoch_loop.max_steps = step + int(left * pace)
            if now - self.told > self.EVERY:
                self.told = now
                rank_zero_info(f"step {step}: {pace:.2f} steps a second, {left:.0f} seconds left")
        trainer.should_stop = trainer.should_stop or left <= 0

    def _now(self, trainer: Trainer) -> float:
        """Reads the clock of the first process: all of them must end at the same step."""
        return float(trainer.strategy.broadcast(time.perf_counter()))
