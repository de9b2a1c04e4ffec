"""Networks and layers: pseudo-3D layers, the U-Net, the prior's Transformer, CLIP's text half, inflation."""

from .attention import attend
from .inflate import InflationReport, inflate
from .last_step import LastStep
from .prior import PriorTransformer
from .pseudo3d import PseudoAttention3d, PseudoConv3d, TemporalAttention, TemporalConv
from .unet import Pseudo3DUNet

__all__ = [
    "InflationReport",
    "LastStep",
    "PriorTransformer",
    "Pseudo3DUNet",
    "PseudoAttention3d",
    "PseudoConv3d",
    "TemporalAttention",
    "TemporalConv",
    "attend",
    "inflate",
]
