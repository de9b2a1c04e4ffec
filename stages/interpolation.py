"""F: fills in frames that are masked, between, before or after those given (section 3.3)."""

from typing import Any

import torch
from torch import Tensor

from lightning_mav.diffusion import GaussianDiffusion, Sampler
from lightning_mav.models import Interpolation, mask_frames
from lightning_mav.nn import Pseudo3DUNet
from lightning_mav.stages.backbone import Pseudo3DBackboneMixin, Trainable
from lightning_mav.stages.base import Batch, DiffusionStage, FrozenClip, random_frames, shrink_frames
from lightning_mav.utils.numbers import check_number


class InterpolationStage(Pseudo3DBackboneMixin, DiffusionStage, FrozenClip):
    """Fine-tunes a decoder to frame interpolation and extrapolation, on unlabelled video.

    Args:
        unet: Denoiser of the decoder with ``cond_channels=4``.
        diffusion: Forward process and parametrisation.
        sampler: How samples are drawn.
        clip: Frozen CLIP, a name or a file (see ``find_weights``).
        image_size: Height and width of the frames.
        num_frames: Frames in a window.
        blend: Whether a blend of the neighbours, not zeros, stands for masked frames (see ``Interpolation``).
        between_prob: Share of masks that keep every K-th frame, K drawn from ``frame_skips``; the others
            keep frames at the beginning, or at the end, alone.
        frame_skips: Distances of key frames to draw from.
        cond_drop_prob: Share of embeddings left out, for classifier-free guidance.
        init_from: Decoder weights to start from; None for scratch.
        trainable: Train all layers, or the spatial or the temporal ones alone.
        spatial_lr_scale: Learning rate of the spatial layers, as a share of that of the temporal ones.
        num_samples: Samples drawn for TensorBoard after each validation.
        lr: Peak learning rate.
        warmup_steps: Steps until the peak.
        weight_decay: Decoupled weight decay.
        beta_2: Decay of AdamW's second moment.
        muon: Whether matrices and convolutions are trained by Muon instead of AdamW.
    """

    model: Interpolation

    def __init__(
        self,
        unet: Pseudo3DUNet,
        diffusion: GaussianDiffusion,
        sampler: Sampler,
        *,
        clip: str = "micro/clip",
        image_size: int = 64,
        num_frames: int = 16,
        blend: bool = False,
        between_prob: float = 0.8,
        frame_skips: list[int] | None = None,
        cond_drop_prob: float = 0.1,
        init_from: str | None = "micro/decoder",
        trainable: Trainable = "all",
        spatial_lr_scale: float = 1.0,
        num_samples: int = 8,
        lr: float = 1.2e-4,
        warmup_steps: int = 100,
        weight_decay: float = 0.01,
        beta_2: float = 0.99,
        muon: bool = False,
    ) -> None:
        super().__init__(
            Interpolation(unet, diffusion, sampler, num_frames=num_frames, blend=blend),
            num_samples=num_samples,
            lr=lr,
            warmup_steps=warmup_steps,
            weight_decay=weight_decay,
            beta_2=beta_2,
            muon=muon,
        )
        frame_skips = [2, 3, 5, 5, 5, 7, 15] if frame_skips is None else frame_skips
        if not frame_skips or not all(1 < skip < num_frames for skip in frame_skips):
            raise ValueError(f"frame_skips must lie in 2..{num_frames - 1}, got {frame_skips}")
        self.clip_name = clip
        self.image_size = image_size
        check_number("between_prob", between_prob, 0, 1)
        self.between_prob = between_prob
        self.frame_skips = frame_skips
        check_number("cond_drop_prob", cond_drop_prob, 0, 1)
        self.cond_drop_prob = cond_drop_prob
        self.init_from = init_from
        self.trainable = trainable
        self.spatial_lr_scale = spatial_lr_scale

    def setup(self, stage: str) -> None:
        """Loads CLIP and what training starts from."""
        super().setup(stage)
        self.load_clip(self.clip_name, self.device)

    def draw_masks(self, num_videos: int, num_frames: int) -> Tensor:
        """Draws ``(B, F)`` of booleans, True where masked; at least one frame is kept and one masked."""
        masked = torch.ones(num_videos, num_frames, dtype=torch.bool)
        for row in masked:
            if torch.rand(()) < self.between_prob:
                row[:: self.frame_skips[int(torch.randint(len(self.frame_skips), ()))]] = False
            else:
                num_kept = int(torch.randint(1, num_frames // 2 + 1, ()))
                start = 0 if torch.rand(()) < 0.5 else num_frames - num_kept
                row[start : start + num_kept] = False
        return masked

    def prepare(self, batch: Batch) -> tuple[Tensor, dict[str, Any]]:
        """Returns ``x_0`` of ``(B, 3, F, S, S)`` and the masked video, embedding and frame rate.

        CLIP sees the frames as they are read, see ``DecoderStage``.
        """
        image_embed = self.clip.encode_image(random_frames(batch["video"])).detach()
        x_0 = shrink_frames(batch["video"], self.image_size)
        masked = self.draw_masks(len(x_0), x_0.shape[2]).to(x_0.device)
        drop = torch.rand(len(x_0), device=x_0.device) < self.cond_drop_prob
        return x_0, {
            "image_embed": image_embed,
            "x_cond": mask_frames(x_0, masked, blend=self.model.blend),
            "fps": batch["fps"],
            "drop": drop,
        }

    def sample_like(self, batch: Batch) -> dict[str, Tensor]:
        """Returns the videos of a batch, what is kept of them, and what is made of that."""
        skip = self.frame_skips[len(self.frame_skips) // 2]
        image_embed = self.clip.encode_image(batch["video"][:, :, 0])
        video = shrink_frames(batch["video"], self.image_size)
        masked = torch.ones(video.shape[0], video.shape[2], dtype=torch.bool, device=video.device)
        masked[:, ::skip] = False
        filled = self.model.fill(video, masked, image_embed, batch["fps"])
        return {"generated": filled, "given": mask_frames(video, masked)[:, :3], "real": video}
