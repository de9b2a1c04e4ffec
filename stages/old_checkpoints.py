"""Checkpoints of version 0.1.0, whose U-Nets had other names and another order of their tensors."""

from collections.abc import Sequence
from typing import Any

from lightning_mav.nn.old_names import rename_old


def bring_up_to_date(
    checkpoint: dict[str, Any], groups: Sequence[Sequence[str]], names: Sequence[str]
) -> None:
    """Renames tensors and reorders the optimizer's state in place; does nothing to current checkpoints.

    Args:
        checkpoint: Checkpoint as Lightning read it.
        groups: Names of the parameters in each group of the stage's own optimizer.
        names: Names of all parameters, in order.
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
    for optimizer in checkpoint.get("optimizer_states", []):  # there are none with save_weights_only
        sizes = [len(group["params"]) for group in optimizer["param_groups"]]
        # An optimizer that --optimizer names is given all parameters as one group.
        now = groups if [len(group) for group in groups] == sizes else [names]
        before = [name for group in now for name in sorted(group, key=place.__getitem__)]
        state = {name: optimizer["state"].get(number) for number, name in enumerate(before)}
        in_order = enumerate(name for group in now for name in group)
        optimizer["state"] = {number: state[name] for number, name in in_order if state[name] is not None}
