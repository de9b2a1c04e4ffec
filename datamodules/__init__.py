if __name__ != "lightning_mav.datamodules":
    # Imported from the checkout as a top-level package, every class would exist twice.
    raise ImportError("import lightning_mav.datamodules (after 'pip install -e .'), not datamodules")

from .image_text import ImageTextShards
from .micro import MicroImages, MicroVideos
from .mixed import MixedShards
from .video import VideoShards

__all__ = ["ImageTextShards", "MicroImages", "MicroVideos", "MixedShards", "VideoShards"]
