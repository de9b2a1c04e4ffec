"""What both super-resolution stages share."""

from typing import Any

import torch
from torch import Tensor

from lightning_mav.evaluation.metrics import psnr
from lightning_mav.models import SuperResolution, resize_frames
from lightning_mav.stages.base import Batch, DiffusionStage, as_video


class SuperResolutionStage(DiffusionStage):
    """Learns to denoise large frames, given the same frames small, corrupted and upsampled."""

    model: SuperResolution

    def prepare(self, batch: Batch) -> tuple[Tensor, dict[str, Any]]:
        """Returns ``x_0`` of ``(B, 3, F, H, W)`` and the condition, its level and the frame rate."""
        x_0 = as_video(batch)
        level = self.model.max_noise_level * torch.rand(len(x_0), device=x_0.device)
        x_cond = self.model.condition(self.shrink(x_0), level, torch.randn_like(x_0))
        return x_0, {"x_cond": x_cond, "noise_level": level, "fps": batch.get("fps")}

    def shrink(self, video: Tensor) -> Tensor:
        """Makes the small video that belongs to a large one, as the stage before would have."""
        return resize_frames(video, video.shape[-1] // self.model.scale, mode="area")

    def sample_like(self, batch: Batch) -> dict[str, Tensor]:
        """Returns upsampled videos, and logs how near they are beside plain bicubic ones."""
        video = as_video(batch)
        low = self.shrink(video)
        samples = self.model.sample(low, *([batch["fps"]] if "fps" in batch else []))  # type: ignore[operator]
        bicubic = self.model.upsample(low)
        self.log("val/psnr", psnr(samples, video).mean(), batch_size=len(video))
        self.log("val/psnr_bicubic", psnr(bicubic, video).mean(), batch_size=len(video))
        return {"generated": samples, "bicubic": bicubic, "real": video}
