"""One LightningModule per stage of the cascade."""

if __name__ != "lightning_mav.stages":
    # Imported from the checkout as a top-level package, every class would exist twice.
    raise ImportError("import lightning_mav.stages (after 'pip install -e .'), not stages")

from .clip import ClipStage
from .decoder import DecoderStage
from .interpolation import InterpolationStage
from .prior import PriorStage
from .sr_h import SRHStage
from .sr_lt import SRLTStage

__all__ = ["ClipStage", "DecoderStage", "InterpolationStage", "PriorStage", "SRHStage", "SRLTStage"]
