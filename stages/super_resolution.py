"""What both super-resolution stages share."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lightning_mav.evaluation.metrics import psnr
from lightning_mav.models import Corruption, SuperResolution, degrade, resize_frames
from lightning_mav.stages.backbone import Pseudo3DBackboneMixin
from lightning_mav.stages.base import Batch, DiffusionStage
from lightning_mav.stages.frames import as_video
from lightning_mav.utils.numbers import check_number


class SuperResolutionStage(Pseudo3DBackboneMixin, DiffusionStage):
    """Learns to denoise large frames, given small ones that are corrupted and upsampled.

    Args:
        make_model: Makes the model from the arguments below.
        scale: Ratio of the two resolutions.
        min_noise_level: Smallest level of the corruption in training.
        max_noise_level: Largest level of the corruption in training; if equal, there is one level.
        noise_level: Level of the corruption when sampling.
        corruption: Corruption of the condition: ``noise``, ``blur`` or ``bsr``, see ``SuperResolution``.
        clamp_input: Whether the upsampled video is clamped to [-1, 1].
        kwargs: See ``Pseudo3DBackboneMixin`` and ``DiffusionStage``.
    """

    model: SuperResolution

    def __init__(
        self,
        make_model: Callable[..., SuperResolution],
        *,
        scale: int = 4,
        min_noise_level: float = 0.0,
        max_noise_level: float = 0.3,
        noise_level: float = 0.05,
        corruption: Corruption = "noise",
        clamp_input: bool = True,
        **kwargs: Any,
    ) -> None:
        model = make_model(
            scale=scale,
            max_noise_level=max_noise_level,
            noise_level=noise_level,
            corruption=corruption,
            clamp_input=clamp_input,
        )
        super().__init__(model, **kwargs)
        check_number("min_noise_level", min_noise_level, 0, max_noise_level)
        self.min_noise_level = min_noise_level

    def prepare(self, batch: Batch) -> tuple[Tensor, dict[str, Any]]:
        """Returns ``x_0`` of ``(B, 3, F, H, W)`` and the condition, its level and the frame rate."""
        x_0 = as_video(batch)
        low, high = self.min_noise_level, self.model.max_noise_level
        level = low + (high - low) * torch.rand(len(x_0), device=x_0.device)
        is_degraded = self.model.corruption == "bsr"
        small = degrade(x_0, level, self.model.scale) if is_degraded else self.shrink(x_0)
        x_cond = self.model.condition(small, level, torch.randn_like(x_0))
        return x_0, {"x_cond": x_cond, "noise_level": level, "fps": batch.get("fps")}

    def shrink(self, video: Tensor) -> Tensor:
        """Shrinks a large video to the size that the previous stage gives."""
        return resize_frames(video, video.shape[-1] // self.model.scale, mode="area")

    def sample_like(self, batch: Batch) -> dict[str, Tensor]:
        """Returns upsampled videos, and logs their PSNR beside that of bicubic upsampling."""
        video = as_video(batch)
        low = self.shrink(video)
        samples = self.model.sample(low, *([batch["fps"]] if "fps" in batch else []))  # type: ignore[operator]
        bicubic = self.model.upsample(low)
        # A process that shares no network is the only one that draws samples.
        each: dict[str, Any] = {"batch_size": len(video), "sync_dist": self.is_sharded}
        self.log("val/psnr", psnr(samples, video).mean(), **each)
        self.log("val/psnr_bicubic", psnr(bicubic, video).mean(), **each)
        return {"real": video, "bicubic": bicubic, "generated": samples}
