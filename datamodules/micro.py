"""The micro-world: shards are written if they are missing, then read like any others."""

from pathlib import Path
from typing import Any

from lightning_mav.datamodules.image_text import ImageTextShards
from lightning_mav.datamodules.video import VideoShards
from lightning_mav.utils.paths import expanded
from lightning_mav.worlds.micro.shards import write_images, write_videos


class MicroImages(ImageTextShards):
    """Reads captioned images of the micro-world, all appearances.

    Args:
        root: Folder of the micro-world; its ``images`` and ``images-val`` are written if they are missing.
        image_size: Height and width that images are shrunk to.
        num_images: Images to write to train on.
        num_val_images: Images to write to validate on.
        source_size: Height and width of the written images.
        world_seed: Decides what is written.
        kwargs: See ``ImageTextShards`` and ``ShardsDataModule``.
    """

    def __init__(
        self,
        root: str = "data/micro",
        *,
        image_size: int = 16,
        num_images: int = 20_000,
        num_val_images: int = 500,
        source_size: int = 192,
        world_seed: int = 0,
        **kwargs: Any,
    ) -> None:
        images, val = (str(Path(expanded(root), name)) for name in ("images", "images-val"))
        super().__init__(images, val_urls=val, image_size=image_size, **kwargs)
        self.settings: dict[str, Any] = {"image_size": source_size, "seed": world_seed}
        self.counts = {images: num_images, val: num_val_images}

    def prepare_data(self) -> None:
        """Writes what is missing or has other settings."""
        for folder, count in self.counts.items():
            write_images(folder, num_images=count, **self.settings)
        super().prepare_data()


class MicroVideos(VideoShards):
    """Reads unlabelled videos of the micro-world, seen appearances only.

    Args:
        root: Folder of the micro-world; its ``videos`` and ``videos-val`` are written if they are missing.
        image_size: Height and width that frames are shrunk to.
        num_videos: Videos to write to train on.
        num_val_videos: Videos to write to validate on.
        source_size: Height and width of the written videos.
        seconds: Length of a written video.
        world_seed: Decides what is written.
        kwargs: See ``VideoShards`` and ``ShardsDataModule``.
    """

    def __init__(
        self,
        root: str = "data/micro",
        *,
        image_size: int = 16,
        num_videos: int = 2_400,
        num_val_videos: int = 192,
        source_size: int = 64,
        seconds: float = 5.0,
        world_seed: int = 0,
        **kwargs: Any,
    ) -> None:
        videos, val = (str(Path(expanded(root), name)) for name in ("videos", "videos-val"))
        super().__init__(videos, val_urls=val, image_size=image_size, **kwargs)
        self.seconds = seconds
        self.settings: dict[str, Any] = {"video_size": source_size, "seed": world_seed}
        self.counts = {videos: num_videos, val: num_val_videos}

    def prepare_data(self) -> None:
        """Writes what is missing or has other settings."""
        for folder, count in self.counts.items():
            write_videos(folder, num_videos=count, seconds=self.seconds, **self.settings)
        super().prepare_data()
