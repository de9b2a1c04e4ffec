"""Checkpoints of version 0.1.0, whose U-Nets had other names and another order of their tensors."""

from collections.abc import Sequence
from typing import Any

from lightning_mav.nn.old_names import rename_old


def bring_up_to_date(checkpoint: dict[str, Any], groups: Sequence[Sequence[str]]) -> None:
    """Renames tensors and reorders the optimizer's state in place; does nothing to current checkpoints.

    Args:
        checkpoint: Checkpoint as Lightning read it.
        groups: Names of the parameters in each group of the optimizer.
    """
    renamed = rename_old(checkpoint["state_dict"])
    if all(old == new for old, new in renamed.items()):
        return
    for part in ("state_dict", "current_model_state"):
        if part in checkpoint:
            tensors = checkpoint[part]
            checkpoint[part] = {new: tensors[old] for old, new in rename_old(tensors).items()}
    # An optimizer stores its state by the number of each parameter, counted in the order of the module.
    place = {name: number for number, name in enumerate(renamed.values())}
    for optimizer in checkpoint["optimizer_states"]:
        state, first = optimizer["state"], 0
        optimizer["state"] = sorted_state = {}
        for names in groups:
            in_order = sorted(names, key=place.__getitem__)
            before = {name: number for number, name in enumerate(in_order, first)}
            for number, name in enumerate(names, first):
                if before[name] in state:
                    sorted_state[number] = state[before[name]]
            first += len(names)
