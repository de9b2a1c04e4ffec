"""Two networks in one: the second does the last step of sampling."""

from typing import Any

import torch
from torch import Tensor, nn

from ..utils.configured import Configured
from .unet import Pseudo3DUNet


class LastStep(nn.Module, Configured):
    """Denoises by one network, but at the last step, ``t = 0``, by another.

    Karlo's super-resolution is made in this way: its second network was trained on with an adversarial loss,
    so that the last of seven steps adds details. Only ``UnCLIPScheduler`` ends at ``t = 0``.

    Args:
        net: Network of all steps but the last.
        last: Network of the last step; takes the same conditions.
    """

    def __init__(self, net: Pseudo3DUNet, last: Pseudo3DUNet) -> None:
        super().__init__()
        self.net, self.last = net, last

    def conditions(self, **cond: Tensor | None) -> tuple[Any, Any]:
        """Computes for both networks all that the step does not change."""
        return self.net.conditions(**cond), self.last.conditions(**cond)

    def forward(
        self, x_t: Tensor, t: Tensor, *, conditions: tuple[Any, Any] | None = None, **cond: Tensor | None
    ) -> Tensor:
        """Maps a noised video to the prediction; arguments as for ``Pseudo3DUNet.forward``."""
        of_net, of_last = conditions or self.conditions(**cond)
        is_last = t == 0
        if is_last.all():
            return self.last(x_t, t, conditions=of_last)
        out = self.net(x_t, t, conditions=of_net)
        if is_last.any():
            out = torch.where(is_last[:, None, None, None, None], self.last(x_t, t, conditions=of_last), out)
        return out
