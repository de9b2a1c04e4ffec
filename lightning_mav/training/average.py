"""Exponential moving average of the weights, which a stage writes to its weights file."""

from collections.abc import Callable

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.callbacks.weight_averaging import WeightAveraging
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from ..utils.shards import local
from .sharding import is_sharding, reshard

Tensors = list[Tensor]
Update = Callable[[Tensors, Tensors, Tensor], None]  # updates the averages in place from the current values


class EMA(EMAWeightAveraging):
    """Lightning's average of the weights, with a decay that grows to its final value, and faster updates.

    With a fixed decay of .999 the untrained weights still are 60% of the average after 500 steps. Here the
    decay after n updates is at most ``(1 + n) / (10 + n)``, so that the average covers about the last ninth
    of a short training. Lightning's class updates one tensor after another, which takes thousands of small
    calls in each step; this class updates all tensors together.

    In a sharded run each process averages its part of the weights.

    Args:
        device: Device that holds the average; that of the model if None.
        use_buffers: Whether buffers are averaged, too; if not, they are copied.
        decay: Share of the old average that an update keeps, once it has grown to its final value.
        update_every_n_steps: Number of steps from one update to the next.
        update_starting_at_step: Step of the first update; the first step if None.
        update_starting_at_epoch: Epoch of the first update.
        multi_avg_fn: Function that replaces the update, in the form that ``AveragedModel`` takes.
    """

    def __init__(
        self,
        device: torch.device | str | int | None = None,
        use_buffers: bool = True,
        decay: float = 0.999,
        update_every_n_steps: int = 1,
        update_starting_at_step: int | None = None,
        update_starting_at_epoch: int | None = None,
        multi_avg_fn: Update | None = None,
    ) -> None:
        super().__init__(
            device,
            use_buffers,
            decay,
            update_every_n_steps,
            update_starting_at_step,
            update_starting_at_epoch,
        )
        # Called a second time, because Lightning's class always passes its own update.
        WeightAveraging.__init__(self, device, use_buffers, multi_avg_fn=multi_avg_fn or grown_average(decay))

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Copies the module, unless this run will shard it."""
        if not is_sharding(trainer):
            super().setup(trainer, pl_module, stage)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Copies this process's parts of a module that is sharded by now."""
        if is_sharding(trainer):
            self._average_model = AveragedModel(
                _tensors_of(pl_module), use_buffers=self._use_buffers, **self._kwargs
            )

    def _swap_models(self, pl_module: LightningModule) -> None:
        reshard(pl_module)  # otherwise the network would keep computing with the old gathered weights
        super()._swap_models(pl_module)

    def _copy_average_to_current(self, pl_module: LightningModule) -> None:
        reshard(pl_module)
        super()._copy_average_to_current(pl_module)

    @property
    def state_key(self) -> str:
        """Key of its state in checkpoints: the name of Lightning's class, which older runs used."""
        return EMAWeightAveraging.__qualname__


def grown_average(decay: float) -> Update:
    """Returns the update for ``AveragedModel``, whose decay is ``min(decay, (1 + n) / (10 + n))``.

    Raises:
        ValueError: If the decay is not in [0, 1].
    """
    if not 0 <= decay <= 1:
        raise ValueError(f"decay must be in [0, 1], got {decay}")

    @torch.no_grad()
    def update(averages: Tensors, current: Tensors, num_updates: Tensor) -> None:
        num = int(num_updates)
        averages, current = [local(tensor) for tensor in averages], [local(tensor) for tensor in current]
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, current, 1 - min(decay, (1 + num) / (10 + num)))
        else:  # counters
            torch._foreach_copy_(averages, current)

    return update


def _tensors_of(module: nn.Module) -> nn.Module:
    """Returns a plain module with the same tensors and names; a sharded module itself cannot be copied."""
    found = nn.Module()
    found._parameters, found._buffers = dict(module._parameters), dict(module._buffers)
    found._non_persistent_buffers_set = set(module._non_persistent_buffers_set)
    found._modules = {name: child and _tensors_of(child) for name, child in module._modules.items()}
    return found
