"""Exponential moving average of the weights; what a stage writes as its weights file."""

from collections.abc import Callable

import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.callbacks.weight_averaging import WeightAveraging
from torch import Tensor

Tensors = list[Tensor]
Update = Callable[[Tensors, Tensors, Tensor], None]  # of averages by current values, in place


class EMA(EMAWeightAveraging):
    """Lightning's average of the weights, with a decay that grows to its value, and in few calls.

    With a fixed decay of .999 the untrained weights still are 60% of the average after 500 steps. Here the
    decay after n updates is at most ``(1 + n) / (10 + n)``, so that the average covers about the last ninth
    of a short training. And Lightning's own updates one tensor after another, in thousands of small calls
    each step.

    Args:
        device: Where the average is kept; with the model if None.
        use_buffers: Whether buffers are averaged, too; if not, they are copied.
        decay: Share of the average that is kept at an update, in the long run.
        update_every_n_steps: Steps from one update to the next.
        update_starting_at_step: Step of the first update; the first step if None.
        update_starting_at_epoch: Epoch of the first update.
        multi_avg_fn: Another update, as ``AveragedModel`` takes it.
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
        # Once more, because Lightning's class always passes an update of its own.
        WeightAveraging.__init__(self, device, use_buffers, multi_avg_fn=multi_avg_fn or grown_average(decay))

    @property
    def state_key(self) -> str:
        """Name of its state in checkpoints: that of Lightning's class, which older runs were averaged by."""
        return EMAWeightAveraging.__qualname__


def grown_average(decay: float) -> Update:
    """Returns the update of averages for ``AveragedModel``: decay ``min(decay, (1 + n) / (10 + n))``.

    Raises:
        ValueError: If the decay is not in [0, 1].
    """
    if not 0 <= decay <= 1:
        raise ValueError(f"decay must be in [0, 1], got {decay}")

    @torch.no_grad()
    def update(averages: Tensors, current: Tensors, num_updates: Tensor) -> None:
        num = int(num_updates)
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, current, 1 - min(decay, (1 + num) / (10 + num)))
        else:  # counters
            torch._foreach_copy_(averages, current)

    return update
