"""Callbacks of every run: seeds of steps, data statistics, optimizer settings, signals."""

import signal
import time
from contextlib import ExitStack
from types import FrameType
from typing import Any, NoReturn

import numpy as np
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.optim import Optimizer

from .signals import PREEMPTING, Echoes, Stopped, handled, say


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
        """Seeds torch from the step, the batch within the step and the rank."""
        part = batch_idx % trainer.accumulate_grad_batches
        words = np.random.SeedSequence([self.seed, trainer.global_step, part, trainer.global_rank])
        torch.manual_seed(int(words.generate_state(1, np.uint64)[0]))


class DataMonitor(Callback):
    """Logs the share of time that training waits for data, and a histogram of the clips' frame rates.

    ``data/wait`` is the time between two steps, divided by the time from the start of one step to the start
    of the next, averaged since it was last logged; ``data/fps`` are the frame rates drawn since then.
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
        if interval and (batch_idx + 1) % interval == 0 and self.total:
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
        """Leaves the writing of a checkpoint, after the end of a step, out of the count."""
        self.started = self.ended = None


class OwnRates(Callback):
    """Keeps this run's optimizer settings, which loading a checkpoint would replace by its own.

    Optimizers save their learning rate, weight decay and so on in checkpoints, beside their moments. A user
    who lowers the rate because a run diverged wants the resumed run to use the lower rate.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Notes the settings before a checkpoint is read."""
        self.settings = [
            [{key: value for key, value in group.items() if key != "params"} for group in own.param_groups]
            for own in trainer.optimizers
        ]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restores settings that have changed; the learning rate follows its schedule from the new start."""
        for optimizer, groups in zip(trainer.optimizers, self.settings, strict=True):
            for group, settings in zip(optimizer.param_groups, groups, strict=True):
                start = settings.get("initial_lr", settings["lr"])  # absent without a schedule
                before = group.get("initial_lr", group["lr"])
                rate = group["lr"] if start == before else group["lr"] / before * start
                group.update(settings, lr=rate)
        for config in trainer.lr_scheduler_configs:
            schedule = config.scheduler
            if hasattr(schedule, "base_lrs"):
                schedule.base_lrs = [group["initial_lr"] for group in schedule.optimizer.param_groups]
        for optimizer in trainer.optimizers:
            lay_out(optimizer)


def lay_out(optimizer: Optimizer) -> None:
    """Gives the states of an optimizer the layout of their parameters in memory.

    Parameters of a sharded run have another one, so its checkpoints do. Fused updates take numbers by their
    place in memory, and would pair the wrong ones.
    """
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            is_like = isinstance(value, Tensor) and value.shape == parameter.shape
            if is_like and value.stride() != parameter.stride():
                state[key] = torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)


class StopOnSignal(Callback):
    """Stops training at the end of a step after a signal in ``STOPPING``.

    A handler only sets a flag. At the end of each step the ranks agree on it, so that all of them save the
    same step, wherever the signal arrived: ``Checkpoint`` saves and stops. During validation the step is
    saved already, so this callback stops.
    """

    def __init__(self) -> None:
        self.signum = 0
        self.echoes = Echoes()
        self.has_begun = False
        self.handling = ExitStack()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Keeps Lightning's own handlers out.

        They broadcast, and on SLURM save, within the handler: in the middle of a step, which may hang.
        """
        trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Installs the handlers."""
        self.has_begun = True
        self.handling.enter_context(handled(self.note))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restores the handlers that were there before."""
        self.handling.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Restores the handlers that were there before."""
        self.handling.close()

    def note(self, signum: int, frame: FrameType | None) -> None:
        """Remembers a signal.

        Clusters often send a second signal before the step is saved. A second Ctrl-C of a user stops at once.

        Raises:
            Stopped: If this is a second signal that does not come from a cluster.
        """
        is_echo = self.echoes.is_echo()
        if not self.signum:
            self.signum = signum
        elif not is_echo and signum not in PREEMPTING:
            say("stopped at once; the same command goes on from the newest checkpoint")
            raise Stopped(signum)

    def signum_of_all(self, trainer: Trainer) -> int:
        """Returns the signal that any rank has received, 0 if none has; all ranks must call this."""
        if trainer.world_size == 1:
            return self.signum
        signum = torch.tensor(self.signum, device=trainer.strategy.root_device)
        return int(trainer.strategy.reduce(signum, reduce_op="max"))

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Stops between two batches of validation during training.

        Raises:
            Stopped: If a signal has asked for it, and the step that is validated is saved.
        """
        saver: Any = trainer.checkpoint_callback
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or saver is None:
            return
        signum = self.signum_of_all(trainer)
        if signum and saver._last_global_step_saved == trainer.global_step:
            self.leave(trainer, signum)

    def leave(self, trainer: Trainer, signum: int) -> NoReturn:
        """Says at which step training stops, and stops it.

        Raises:
            Stopped: Always.
        """
        if trainer.is_global_zero:
            name, step = signal.Signals(signum).name, trainer.global_step
            say(f"stopped by {name} at step {step}, which is saved; the same command goes on from there")
        trainer.strategy.barrier()  # a launcher kills the others as soon as one has left
        raise Stopped(signum)
