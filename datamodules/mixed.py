"""Videos and images side by side: rehearsal keeps what no video shows from being forgotten."""

from lightning import LightningDataModule
from lightning.pytorch.utilities import CombinedLoader
from torch.utils.data import DataLoader

from .image_text import ImageTextShards
from .video import VideoShards


class MixedShards(LightningDataModule):
    """Joins a batch of clips and a batch of images: ``{"video": {...}, "image": {...}}``.

    Args:
        video: Reader of clips.
        image: Reader of images, ``with_text=False``: video stages see no text.
    """

    def __init__(self, video: VideoShards, image: ImageTextShards) -> None:
        super().__init__()
        if image.with_text:
            raise ValueError("images beside videos carry no text: set with_text=False on image")
        self.video = video
        self.image = image

    def prepare_data(self) -> None:
        """Prepares both readers."""
        self.video.prepare_data()
        self.image.prepare_data()

    def train_dataloader(self) -> CombinedLoader:
        """Returns an endless stream of joint batches."""
        self.video.trainer = self.image.trainer = self.trainer
        # Both are endless; "min_size" asks neither for its length.
        loaders = {"video": self.video.train_dataloader(), "image": self.image.train_dataloader()}
        return CombinedLoader(loaders, mode="min_size")

    def val_dataloader(self) -> CombinedLoader | list[DataLoader]:
        """Returns as many joint batches as both readers have; none if one of them has none."""
        self.video.trainer = self.image.trainer = self.trainer
        loaders = {"video": self.video.val_dataloader(), "image": self.image.val_dataloader()}
        return CombinedLoader(loaders, mode="min_size") if all(loaders.values()) else []
