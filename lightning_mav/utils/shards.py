"""Tensors of which each process holds a part (``DTensor``), as FSDP2 makes them of a network's weights."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup
from torch.distributed.tensor import DTensor, Replicate, Shard


def local(tensor: Tensor) -> Tensor:
    """Returns the part of a tensor that this process holds: all of it, if it is not sharded.

    Outside of ``no_grad`` it is a part of the graph; within, what changes it in place changes the tensor.
    """
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def shard(tensor: Tensor, mesh: Any) -> Tensor:
    """Returns this process's part of a whole tensor as FSDP2 divides it: by rows, rounded up.

    A tensor of the meta device yields a part whose content is undefined.

    Args:
        tensor: The whole tensor, with one dimension or more.
        mesh: Processes, ``(N,)`` that each hold a part, or ``(R, N)`` for R copies of these.
    """
    chunks, rank = tensor.chunk(mesh.size(-1)), mesh.get_local_rank(mesh.ndim - 1)
    part = chunks[rank] if rank < len(chunks) else tensor[:0]
    if part.is_meta:
        part = torch.empty(part.shape, dtype=part.dtype, device=mesh.device_type)
    placements = [Replicate()] * (mesh.ndim - 1) + [Shard(0)]
    stride = torch.empty(tensor.shape, device="meta").stride()
    part = part.detach().to(mesh.device_type, copy=True).contiguous()
    return DTensor.from_local(part, mesh, placements, run_check=False, shape=tensor.shape, stride=stride)


def shard_group(tensor: DTensor) -> ProcessGroup:
    """Returns the processes that together hold a tensor once."""
    (dim,) = [i for i, placement in enumerate(tensor.placements) if placement.is_shard()]
    return tensor.device_mesh.get_group(dim)


@torch.no_grad()
def whole_tensors(module: nn.Module, *, keep: bool) -> dict[str, Tensor]:
    """Puts the tensors of a module's state together, one after another; all processes must call this.

    Args:
        module: Module.
        keep: Whether this process wants them, on the processor; if not, it gets none.
    """
    found = {}
    for name, tensor in module.state_dict().items():
        whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if keep:
            found[name] = whole.cpu()
    return found


@torch.no_grad()
def clip_grad_norm(parameters: Iterable[Tensor], limit: float) -> Tensor:
    """Clips the norm of all gradients together, those of all processes, and returns it as it was before."""
    parameters = [p for p in parameters if p.grad is not None]
    norm = _norm_of_all([p.grad for p in parameters])  # type: ignore[misc]
    if norm is None:
        return nn.utils.clip_grad_norm_(parameters, limit)
    if math.isfinite(limit):
        grads = [local(p.grad) for p in parameters]  # type: ignore[arg-type]
        torch._foreach_mul_(grads, (limit / (norm + 1e-6)).clamp(max=1.0))
    return norm


@torch.no_grad()
def clip_grad_value(parameters: Iterable[Tensor], limit: float) -> None:
    """Clips each number of the gradients to ``[-limit, limit]``."""
    for p in parameters:
        if p.grad is not None:
            local(p.grad).clamp_(-limit, limit)


def _norm_of_all(grads: list[Tensor]) -> Tensor | None:
    """Returns the norm of some gradients; None if none of them is sharded."""
    sharded = [grad for grad in grads if isinstance(grad, DTensor)]
    if not sharded:
        return None
    square = torch.stack(torch._foreach_norm([local(grad) for grad in sharded])).square().sum()
    torch.distributed.all_reduce(square, group=shard_group(sharded[0]))
    whole = [grad for grad in grads if not isinstance(grad, DTensor)]  # the same on each process
    if whole:
        square = square + torch.stack(torch._foreach_norm(whole)).square().sum()
    return square.sqrt()
