"""Parts of the networks that are recomputed, compiled and sharded one at a time."""

from torch import nn

# Blocks of the U-Net, of the prior and of CLIP, by the names of their classes: CLIP's is open_clip's own.
UNITS = ("Block", "TransformerBlock", "ResidualAttentionBlock")


def find_units(module: nn.Module) -> list[nn.Module]:
    """Returns the units of recomputing, compiling and sharding, in order."""
    return [child for child in module.modules() if type(child).__name__ in UNITS]
