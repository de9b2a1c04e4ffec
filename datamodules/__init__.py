"""LightningDataModules: shards to batches."""

if __name__ != "lightning_mav.datamodules":
    # Imported from the checkout as a top-level package, every class would exist twice.
    raise ImportError("import lightning_mav.datamodules (after 'pip install -e .'), not datamodules")

from lightning_mav.datamodules.image_text import ImageTextShards
from lightning_mav.datamodules.micro import MicroImages, MicroVideos
from lightning_mav.datamodules.mixed import MixedShards
from lightning_mav.datamodules.phrases import PhraseImages, PhraseShards
from lightning_mav.datamodules.video import VideoShards

__all__ = [
    "ImageTextShards",
    "MicroImages",
    "MicroVideos",
    "MixedShards",
    "PhraseImages",
    "PhraseShards",
    "VideoShards",
]
