"""LightningModules, one for each stage of the cascade."""

if __name__ != "lightning_mav.stages":
    # Imported from the checkout as a top-level package, every class would exist twice.
    raise ImportError("import lightning_mav.stages (after 'pip install -e .'), not stages")

from lightning_mav.stages.clip import ClipStage
from lightning_mav.stages.clip_text import ClipTextStage
from lightning_mav.stages.decoder import DecoderStage
from lightning_mav.stages.interpolation import InterpolationStage
from lightning_mav.stages.prior import PriorStage
from lightning_mav.stages.sr_h import SRHStage
from lightning_mav.stages.sr_lt import SRLTStage

__all__ = [
    "ClipStage",
    "ClipTextStage",
    "DecoderStage",
    "InterpolationStage",
    "PriorStage",
    "SRHStage",
    "SRLTStage",
]
