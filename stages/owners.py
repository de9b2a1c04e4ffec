"""Whole matrices of sharded parameters: each on the one process that owns it, for as long as it is needed."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, distributed
from torch.distributed.tensor import DTensor

from lightning_mav.utils.shards import shard_group


def by_owners(
    params: Sequence[Tensor], parts: list[Tensor], change: Callable[[list[Tensor]], list[Tensor]]
) -> list[Tensor]:
    """Applies a function to whole matrices of which each process holds a part.

    Two exchanges among the processes that hold parts: rows to the owners, and the results' rows back. A
    process holds its share of all matrices meanwhile, and each matrix goes through ``change`` once.

    Args:
        params: Parameters; where these are not sharded, ``parts`` are whole matrices.
        parts: What each process holds of matrices of the shape of ``params``, by rows as FSDP2 divides them.
        change: Maps whole matrices to as many of the same shapes.

    Returns:
        The parts of the changed matrices.
    """
    if not isinstance(params[0], DTensor):
        return change(parts)
    group = shard_group(params[0])
    size, rank = distributed.get_world_size(group), distributed.get_rank(group)
    shapes = [p.shape for p in params]
    owners = share_out(shapes, size)
    rows = [[len(chunk) for chunk in torch.empty(shape[0], device="meta").chunk(size)] for shape in shapes]
    rows = [[*held, *[0] * (size - len(held))] for held in rows]
    widths = [shape[1:].numel() for shape in shapes]
    mine = [i for i, owner in enumerate(owners) if owner == rank]
    of_owner = [[i for i, owner in enumerate(owners) if owner == other] for other in range(size)]

    here = [sum(rows[i][rank] * widths[i] for i in theirs) for theirs in of_owner]
    there = [sum(rows[i][other] * widths[i] for i in mine) for other in range(size)]
    sent = torch.cat([parts[i].reshape(-1) for theirs in of_owner for i in theirs])
    received = sent.new_empty(sum(there))
    distributed.all_to_all_single(received, sent, there, here, group=group)

    numbers = [[rows[i][other] * widths[i] for i in mine] for other in range(size)]
    blocks = [block.split(counts) for block, counts in zip(received.split(there), numbers, strict=True)]
    wholes = [
        torch.cat([blocks[other][k] for other in range(size)]).view(shapes[i]) for k, i in enumerate(mine)
    ]
    changed = [whole.contiguous() for whole in change(wholes)] if wholes else []

    pieces = [
        whole.flatten().split([rows[i][o] * widths[i] for o in range(size)])
        for i, whole in zip(mine, changed, strict=True)
    ]
    back = torch.cat([pieces[k][other] for other in range(size) for k in range(len(mine))] or [received])
    returned = torch.empty_like(sent)
    distributed.all_to_all_single(returned, back, here, there, group=group)
    order = [i for theirs in of_owner for i in theirs]
    split = returned.split([rows[i][rank] * widths[i] for i in order])
    found = dict(zip(order, split, strict=True))
    return [found[i].view(part.shape) for i, part in enumerate(parts)]


def share_out(shapes: Sequence[Sequence[int]], num: int) -> list[int]:
    """Returns the owner of each matrix: the costly ones first, each to who has the least to do so far."""
    costs = []
    for first, *others in shapes:
        columns = torch.Size(others).numel()
        costs.append(first * columns * min(first, columns))
    load, owners = [0] * num, [0] * len(costs)
    for i in sorted(range(len(costs)), key=lambda i: -costs[i]):
        owners[i] = load.index(min(load))
        load[owners[i]] += costs[i]
    return owners
