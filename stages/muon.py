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

from lightning_mav.stages.owners import by_owners
from lightning_mav.utils.precision import has_fast_bf16
from lightning_mav.utils.shards import local

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


def orthogonal_updates(matrices: list[Tensor]) -> list[Tensor]:
    """Makes momenta ``(C_out, ...)`` of matrices and convolutions orthogonal; those of one shape together."""
    alike, found = defaultdict(list), list(matrices)
    for number, momentum in enumerate(matrices):
        # A convolution's columns may have any order; that of channels_last memory needs no copy.
        matrix = momentum.movedim(1, -1).flatten(1)
        alike[matrix.shape].append((number, matrix))
    for items in alike.values():
        stacked = torch.stack([matrix for _, matrix in items])
        updates = orthogonalise(stacked.bfloat16() if has_fast_bf16(stacked.device) else stacked)
        for (number, _), update in zip(items, updates.to(stacked.dtype), strict=True):
            shape = matrices[number].movedim(1, -1).shape
            found[number] = update.reshape(shape).movedim(-1, 1)
    return found


class Muon(Optimizer):
    """Muon (Jordan et al., 2024) for matrices and convolutions, AdamW for vectors such as biases.

    The update is scaled by ``0.2 sqrt(max(M, N))``, so that its entries are as large as AdamW's and learning
    rate and weight decay keep their meaning (Liu et al., 2025, arXiv 2502.16982).

    A part of a matrix is not enough to make it orthogonal. Where parameters are sharded (FSDP2), each matrix
    is put together on the one process that owns it, see ``by_owners``; momentum and moments stay sharded.

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
        for p, _ in pairs:
            if not self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
        params, grads = [local(p) for p, _ in pairs], [local(grad) for _, grad in pairs]
        buffers = [local(self.state[p]["momentum"]) for p, _ in pairs]
        # One call for all, here and below: on a GPU hundreds of small calls would take most of the step.
        torch._foreach_lerp_(buffers, grads, 1 - group["momentum"])
        nesterov = torch._foreach_lerp(grads, buffers, group["momentum"])
        torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
        updates = by_owners([p for p, _ in pairs], list(nesterov), orthogonal_updates)
        alike = defaultdict(list)
        for (p, _), param, update in zip(pairs, params, updates, strict=True):
            alike[max(p.shape[0], p.shape[1:].numel())].append((param, update))  # of the whole matrix
        for size, items in alike.items():
            rate = group["lr"] * 0.2 * size**0.5
            torch._foreach_add_([p for p, _ in items], [update for _, update in items], alpha=-rate)

    def _adamw_step(self, group: dict[str, Any], pairs: list[tuple[Tensor, Tensor]]) -> None:
        if not pairs:
            return
        for p, _ in pairs:
            if not self.state[p]:
                zeros = {"exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
                self.state[p].update(zeros, step=torch.tensor(0.0))
        beta1, beta2 = group["betas"]
        adamw(
            [local(p) for p, _ in pairs],
            [local(grad) for _, grad in pairs],
            [local(self.state[p]["exp_avg"]) for p, _ in pairs],
            [local(self.state[p]["exp_avg_sq"]) for p, _ in pairs],
            [],
            [self.state[p]["step"] for p, _ in pairs],
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )
