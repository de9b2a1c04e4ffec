"""Names that tensors of the U-Net had in files of version 0.1.0."""

import re
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

# A level's residual blocks, its attention layers and its resampling block were in three lists.
OLD = re.compile(
    r"(?P<level>.*\b(?:down_blocks\.\d+|mid_block|up_blocks\.\d+))\."
    r"(?P<list>resnets|attentions|resampler)\.(?:(?P<index>\d+)\.)?"
)


def rename_old(names: Iterable[str]) -> dict[str, str]:
    """Maps all names of a file, with any prefix, to those of today.

    Args:
        names: Names of tensors, old or of today.
    """
    matches = {name: OLD.match(name) for name in names}
    num_resnets: dict[str, int] = {}
    for match in filter(None, matches.values()):
        if match["list"] == "resnets":
            num_resnets[match["level"]] = max(num_resnets.get(match["level"], 0), int(match["index"]) + 1)
    renamed = {}
    for name, found in matches.items():
        renamed[name] = name
        if found is not None:
            index = num_resnets.get(found["level"], 0) if found["list"] == "resampler" else found["index"]
            part = "attention" if found["list"] == "attentions" else "resnet"
            renamed[name] = f"{found['level']}.{index}.{part}.{name[found.end() :]}"
    return renamed


def rename_in_place(module: nn.Module, state_dict: dict[str, Tensor], *_: Any) -> None:
    """Renames the tensors of a ``state_dict``: a hook that is called before a module loads it."""
    for old, new in rename_old(state_dict).items():
        state_dict[new] = state_dict.pop(old)
