"""Logs how fast a run trains, what memory it takes, and which share of the card's peak speed it reaches."""

import time
from typing import Any
from unittest import mock

import torch
from lightning import LightningModule, Trainer
from lightning.fabric.utilities.throughput import Throughput
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from .cards import peak_of

clock = time.perf_counter


class SpeedMonitor(Callback):
    """Logs throughput, peak memory and MFU at every ``log_every_n_steps``-th step.

    ``speed/samples_per_second`` are those of all devices (videos, where images are trained beside them),
    ``speed/steps_per_second`` steps of the optimizer, both since they were last logged. Waiting for data
    counts; the first step, which compiles and allocates, validation and the writing of checkpoints do not.

    On a CUDA device ``speed/peak_gb`` is the most memory that a training step has taken on the first device
    so far, in 10^9 bytes. ``speed/mfu`` is there in half precision on a card that configs/cards.yaml has:
    the operations of the network in a second, see ``count_operations``, as a share of its peak.

    The arithmetic is that of Lightning's ``Throughput``. Its callback ``ThroughputMonitor`` waits for the
    GPU after each batch, and does not know all cards.
    """

    def __init__(self) -> None:
        self.throughput: Throughput | None = None  # from the end of the first step on
        self.flops: int | None = None  # of a batch
        self.seconds = self.resumed = 0.0
        self.is_paused = False
        self.samples = self.steps = self.batches = self.last_step = self.peak_bytes = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Notes at which step this process starts."""
        self.last_step = trainer.global_step

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Lets the clock go on after a pause."""
        if self.is_paused:
            self.is_paused, self.resumed = False, clock()
            if pl_module.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(pl_module.device)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Counts a batch; logs if a step is complete, and it is time to."""
        self.batches += 1
        self.samples += batch_size(batch)
        if trainer.global_step == self.last_step:
            return
        self.last_step = trainer.global_step
        self.steps += 1
        interval: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if self.throughput is None:
            self._begin(trainer, pl_module, batch)
        elif interval and trainer.global_step % interval == 0:
            self._log(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops the clock."""
        self._pause(pl_module)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Stops the clock."""
        self._pause(pl_module)

    def _pause(self, pl_module: LightningModule) -> None:
        if self.throughput is not None and not self.is_paused:
            self._stop_clock(pl_module)
            self.is_paused = True

    def _stop_clock(self, pl_module: LightningModule) -> None:
        """Adds the time since it last went on, and what memory was taken in it."""
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize(pl_module.device)
            self.peak_bytes = max(self.peak_bytes, torch.cuda.max_memory_allocated(pl_module.device))
        now = clock()
        self.seconds += now - self.resumed
        self.resumed = now

    def _begin(self, trainer: Trainer, pl_module: LightningModule, batch: Any) -> None:
        """Starts the count after the first step; all devices do what may need all of them."""
        peak = peak_of(pl_module.device, trainer.precision)
        self.throughput = Throughput(peak, trainer.world_size, window_size=2)
        self._stop_clock(pl_module)
        if peak is not None and pl_module.automatic_optimization:
            self.flops = count_operations(trainer, pl_module, batch)
        self._update(self.throughput)
        self.resumed = clock()

    def _update(self, throughput: Throughput) -> None:
        flops = None if self.flops is None else self.flops * self.batches
        throughput.update(time=self.seconds, batches=self.steps, samples=self.samples, flops=flops)
        self.batches = 0

    def _log(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert self.throughput is not None
        self._stop_clock(pl_module)
        self._update(self.throughput)
        found = self.throughput.compute()
        values = {
            "samples_per_second": found["device/samples_per_sec"] * trainer.world_size,
            "steps_per_second": found["device/batches_per_sec"],
        }
        if "device/mfu" in found:
            values["mfu"] = found["device/mfu"]
        if pl_module.device.type == "cuda":
            values["peak_gb"] = self.peak_bytes / 1e9
        pl_module.log_dict({f"speed/{name}": value for name, value in values.items()}, batch_size=1)


def batch_size(batch: Any) -> int:
    """Returns the samples of a batch: of its videos, where it has images beside them."""
    if isinstance(batch, dict) and isinstance(batch.get("video"), dict):
        batch = batch["video"]
    return next((len(leaf) for leaf in tree_leaves(batch) if isinstance(leaf, Tensor) and leaf.ndim), 1)


class _Operations(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if count := flop_registry.get(func._overloadpacket):
            # The gradients of a product are two products as large.
            self.total += (3 if torch.is_grad_enabled() else 1) * count(*args, **kwargs, out_val=out)
        return out


def count_operations(trainer: Trainer, pl_module: LightningModule, batch: Any) -> int:
    """Counts the operations that a batch needs, in FLOP, by one more forward pass, whose result is dropped.

    A backward pass is taken for twice a forward pass; a part that is computed without gradients has none.
    What is computed again in a backward pass, to save memory, is not needed, and not counted.
    """
    counter = _Operations()
    unlogged = mock.patch.multiple(pl_module, log=lambda *_, **__: None, log_dict=lambda *_, **__: None)
    nothing_kept = torch.autograd.graph.saved_tensors_hooks(lambda x: x.new_empty(0), lambda x: x)
    # Each batch seeds the random numbers that it draws, so that those drawn here change nothing.
    with unlogged, nothing_kept, trainer.precision_plugin.train_step_context(), counter:
        pl_module.training_step(batch, 0)
    return counter.total
