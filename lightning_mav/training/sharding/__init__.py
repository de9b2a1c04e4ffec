"""Sharded training: each process holds a part of weights, average and the optimizer's state."""

from .strategy import FSDP2Strategy, is_sharding, reshard

__all__ = ["FSDP2Strategy", "is_sharding", "reshard"]
