"""F: fills in masked frames between, before or after the given frames (section 3.3)."""

from typing import Any

import torch
from torch import Tensor

from lightning_mav.diffusion import GaussianDiffusion, Sampler
from lightning_mav.models import Interpolation, mask_frames
from lightning_mav.nn import Pseudo3DUNet
from lightning_mav.stages.backbone import Pseudo3DBackboneMixin
from lightning_mav.stages.base import Batch, DiffusionStage
from lightning_mav.stages.conditions import FrozenClip
from lightning_mav.stages.frames import random_frames, shrink_frames
from lightning_mav.utils.numbers import check_number


class InterpolationStage(FrozenClip, Pseudo3DBackboneMixin, DiffusionStage):
    """Fine-tunes a decoder for frame interpolation and extrapolation, on unlabelled video.

    Args:
        unet: Denoiser of the decoder with ``cond_channels=4``.
        diffusion: Forward process and parametrisation.
        sampler: How samples are drawn.
        image_size: Height and width of the frames.
        num_frames: Frames in a window.
        blend: Whether masked frames are filled with a blend of neighbours, not zeros (see ``Interpolation``).
        extrapolation_steps: Sampling steps before, after and between videos; None takes the sampler's.
        between_prob: Share of masks that keep every K-th frame, K drawn from ``frame_skips``. Of the others,
            a fourth each keeps the first frame alone (to animate an image), frames at the beginning (to
            extend a video), at the end, and at both (to join two videos, or to close a loop).
        frame_skips: Distances of key frames to draw from.
        kwargs: See ``FrozenClip``, ``Pseudo3DBackboneMixin`` and ``DiffusionStage``.
    """

    model: Interpolation

    def __init__(
        self,
        unet: Pseudo3DUNet,
        diffusion: GaussianDiffusion,
        sampler: Sampler,
        *,
        image_size: int = 64,
        num_frames: int = 16,
        blend: bool = False,
        extrapolation_steps: int | None = None,
        between_prob: float = 0.8,
        frame_skips: list[int] | None = None,
        **kwargs: Any,
    ) -> None:
        model = Interpolation(
            unet,
            diffusion,
            sampler,
            num_frames=num_frames,
            blend=blend,
            extrapolation_steps=extrapolation_steps,
        )
        # Batches hold videos only, so there is no weight of images to set.
        super().__init__(model, image_weight=0.0, **kwargs)
        frame_skips = [2, 3, 5, 5, 5, 7, 15] if frame_skips is None else frame_skips
        if not frame_skips or not all(1 < skip < num_frames for skip in frame_skips):
            raise ValueError(f"frame_skips must lie in 2..{num_frames - 1}, got {frame_skips}")
        check_number("between_prob", between_prob, 0, 1)
        self.image_size = image_size
        self.between_prob = between_prob
        self.frame_skips = frame_skips

    def sample_masks(self, num_videos: int, num_frames: int) -> tuple[Tensor, Tensor]:
        """Draws masks, ``(B, F)`` of booleans, and which of them keep every K-th frame, ``(B,)``.

        Masks are True where a frame is masked; at least one frame is kept and one masked.
        """
        masked = torch.ones(num_videos, num_frames, dtype=torch.bool)
        lengths = [1 << i for i in range((num_frames // 2).bit_length())]  # 1, 2, 4, ..., about half
        # Numbers one by one: a plan, whose tensors hold nothing, can make up those alone.
        between = [bool(torch.rand(()) < self.between_prob) for _ in range(num_videos)]
        for row, keeps_every in zip(masked, between, strict=True):
            if keeps_every:
                row[:: self.frame_skips[int(torch.randint(len(self.frame_skips), ()))]] = False
            else:
                first, last = (lengths[int(torch.randint(len(lengths), ()))] for _ in "ab")
                kept = ((1, 0), (first, 0), (0, last), (first, min(last, num_frames - first - 1)))
                first, last = kept[int(torch.randint(4, ()))]
                row[:first] = False
                row[num_frames - last :] = False
        return masked, torch.tensor(between)

    def sample_timesteps(self, between: Tensor) -> Tensor:
        """Draws ``(B,)`` steps: as the diffusion says between key frames, else evenly.

        Between key frames a single sampling step can be enough, and then the highest noise is all that the
        network has to know. What comes before or after a video is sampled in several steps.
        """
        diffusion = self.model.diffusion
        evenly = torch.randint(diffusion.num_timesteps, between.shape, device=between.device)
        return torch.where(between, diffusion.sample_timesteps(len(between), between.device), evenly)

    def prepare(self, batch: Batch) -> tuple[Tensor, dict[str, Any]]:
        """Returns ``x_0`` of ``(B, 3, F, S, S)`` and the masked video, embedding and frame rate.

        CLIP sees the frames as they are read, see ``DecoderStage``.
        """
        image_embed = self.clip.encode_image(random_frames(batch["video"])).detach()
        x_0 = shrink_frames(batch["video"], self.image_size)
        masked, between = (mask.to(x_0.device) for mask in self.sample_masks(len(x_0), x_0.shape[2]))
        return x_0, {
            "t": self.sample_timesteps(between),
            "image_embed": image_embed,
            "x_cond": mask_frames(x_0, masked, blend=self.model.blend),
            "fps": batch["fps"],
            "drop": self.sample_drops(x_0),
        }

    def sample_like(self, batch: Batch) -> dict[str, Tensor]:
        """Returns the videos of a batch, the same with masked frames, and samples that fill these in."""
        skip = self.frame_skips[len(self.frame_skips) // 2]
        image_embed = self.clip.encode_image(batch["video"][:, :, 0])
        video = shrink_frames(batch["video"], self.image_size)
        masked = torch.ones(video.shape[0], video.shape[2], dtype=torch.bool, device=video.device)
        masked[:, ::skip] = False
        filled = self.model.fill(video, masked, image_embed, batch["fps"])
        return {"real": video, "given": mask_frames(video, masked)[:, :3], "generated": filled}
