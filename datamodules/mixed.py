"""Videos and images side by side, so that training on video does not forget what only images show."""

from typing import Any

from lightning import LightningDataModule
from lightning.pytorch.utilities import CombinedLoader
from torch.utils.data import DataLoader

from lightning_mav.datamodules.batches import Batch
from lightning_mav.datamodules.image_text import ImageTextShards
from lightning_mav.datamodules.video import VideoShards


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

    def state_dict(self) -> dict[str, Any]:
        """Returns the states of both readers."""
        return {"video": self.video.state_dict(), "image": self.image.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores both readers from a checkpoint."""
        self.video.load_state_dict(state_dict["video"])
        self.image.load_state_dict(state_dict["image"])

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Counts a training batch in both ledgers."""
        if self.trainer is None or not self.trainer.training:
            return batch
        return {"video": self.video.receive(batch["video"]), "image": self.image.receive(batch["image"])}

    def train_dataloader(self) -> CombinedLoader:
        """Returns an endless stream of joint batches."""
        self.video.trainer = self.image.trainer = self.trainer
        # Both are endless; with "min_size" Lightning asks neither for its length.
        loaders = {"video": self.video.train_dataloader(), "image": self.image.train_dataloader()}
        return CombinedLoader(loaders, mode="min_size")

    def val_dataloader(self) -> CombinedLoader | list[DataLoader]:
        """Returns as many joint batches as both readers have; none if one of them has none."""
        self.video.trainer = self.image.trainer = self.trainer
        loaders = {"video": self.video.val_dataloader(), "image": self.image.val_dataloader()}
        return CombinedLoader(loaders, mode="min_size") if all(loaders.values()) else []
