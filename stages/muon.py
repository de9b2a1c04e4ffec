"""Muon: makes the momentum of each matrix orthogonal, so that all directions of a layer learn at one rate.

torch and timm have Muon, too, but always iterate in bfloat16. A CPU without bfloat16 units emulates that,
several hundred times slower than float32. Here only devices that are faster in bfloat16 use it.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.adamw import adamw

from lightning_mav.utils.precision import has_fast_bf16

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # Jordan's quintic: brings singular values near 1 in few iterations


def orthogonalise(matrices: Tensor, iterations: int = 5) -> Tensor:
    """Brings all singular values of ``(..., M, N)`` near to 1 (within 0.3), by Newton-Schulz iteration."""
    if is_tall := matrices.shape[-2] > matrices.shape[-1]:
        matrices = matrices.mT
    x = matrices / matrices.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    a, b, c = NEWTON_SCHULZ
    for _ in range(iterations):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if is_tall else x


class Muon(Optimizer):
    """Muon (Jordan et al., 2024) for matrices and convolutions, AdamW for vectors such as biases.

    The update is scaled by ``0.2 sqrt(max(M, N))``, so that its entries are as large as AdamW's and learning
    rate and weight decay keep their meaning (Liu et al., 2025, arXiv 2502.16982). Layers must be whole:
    sharded parameters (FSDP) do not work.

    Args:
        params: Parameters or groups of them; a convolution counts as a matrix ``(C_out, C_in * kernel)``.
        lr: Learning rate.
        momentum: Decay of the momentum, Nesterov's.
        betas: Decay rates of AdamW's moments.
        eps: Epsilon of AdamW.
        weight_decay: Decoupled weight decay.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        *,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Does one step; returns the closure's value, if there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            pairs = [(p, p.grad) for p in group["params"] if p.grad is not None]
            self._orthogonal_step(group, [pair for pair in pairs if pair[0].ndim >= 2])
            self._adamw_step(group, [pair for pair in pairs if pair[0].ndim < 2])
        return loss

    def _orthogonal_step(self, group: dict[str, Any], pairs: list[tuple[Tensor, Tensor]]) -> None:
        if not pairs:
            return
        params, grads = [p for p, _ in pairs], [grad for _, grad in pairs]
        for p in params:
            if not self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
        buffers = [self.state[p]["momentum"] for p in params]
        # One call for all, here and below: on a GPU hundreds of small calls would take most of the step.
        torch._foreach_lerp_(buffers, grads, 1 - group["momentum"])
        nesterov = torch._foreach_lerp(grads, buffers, group["momentum"])
        torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
        alike = defaultdict(list)  # matrices of one shape go through the iteration together
        for p, update in zip(params, nesterov, strict=True):
            # A convolution's columns may have any order; that of channels_last memory needs no copy.
            matrix = update.movedim(1, -1).flatten(1)
            alike[matrix.shape].append((p, matrix))
        for shape, items in alike.items():
            stacked = torch.stack([matrix for _, matrix in items])
            updates = orthogonalise(stacked.bfloat16() if has_fast_bf16(stacked.device) else stacked)
            steps = [
                update.reshape(p.movedim(1, -1).shape).movedim(-1, 1)
                for (p, _), update in zip(items, updates.to(stacked.dtype), strict=True)
            ]
            torch._foreach_add_([p for p, _ in items], steps, alpha=-group["lr"] * 0.2 * max(shape) ** 0.5)

    def _adamw_step(self, group: dict[str, Any], pairs: list[tuple[Tensor, Tensor]]) -> None:
        if not pairs:
            return
        params = [p for p, _ in pairs]
        for p in params:
            if not self.state[p]:
                zeros = {"exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
                self.state[p].update(zeros, step=torch.tensor(0.0))
        beta1, beta2 = group["betas"]
        adamw(
            params,
            [grad for _, grad in pairs],
            [self.state[p]["exp_avg"] for p in params],
            [self.state[p]["exp_avg_sq"] for p in params],
            [],
            [self.state[p]["step"] for p in params],
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )
