"""D^t: a CLIP image embedding becomes 16 frames; on images first, then on unlabelled video (section 3.2)."""

from typing import Any

import torch
from torch import Tensor

from lightning_mav.diffusion import GaussianDiffusion, Sampler
from lightning_mav.models import Decoder
from lightning_mav.nn import Pseudo3DUNet
from lightning_mav.stages.backbone import Pseudo3DBackboneMixin, Trainable
from lightning_mav.stages.base import (
    Batch,
    DiffusionStage,
    FrozenClip,
    as_video,
    middle_frames,
    shrink_frames,
)
from lightning_mav.utils.numbers import check_number


class DecoderStage(Pseudo3DBackboneMixin, DiffusionStage, FrozenClip):
    """Learns to draw, and then to move, what an image embedding tells.

    Of a video the embedding is that of its middle frame: an embedding tells where things are, too, which is
    worth nothing to one who does not know when. No text is involved.

    Args:
        unet: Denoiser with an image-embedding condition.
        diffusion: Forward process and parametrisation.
        sampler: How samples are drawn.
        clip: Frozen CLIP, a name or a file (see ``find_weights``).
        image_size: Height and width of the frames.
        num_frames: Frames in a video.
        cond_drop_prob: Share of embeddings left out, for classifier-free guidance.
        init_from: Weights to start from; None for scratch.
        trainable: Train all layers, or the spatial or the temporal ones alone.
        spatial_lr_scale: Learning rate of the spatial layers beside temporal ones, as a share of theirs.
        image_weight: Weight of the images beside the videos.
        num_samples: Samples drawn for TensorBoard after each validation.
        lr: Peak learning rate.
        warmup_steps: Steps until the peak.
        weight_decay: Decoupled weight decay.
        beta_2: Decay of AdamW's second moment.
        muon: Whether matrices and convolutions are trained by Muon instead of AdamW.
    """

    model: Decoder

    def __init__(
        self,
        unet: Pseudo3DUNet,
        diffusion: GaussianDiffusion,
        sampler: Sampler,
        *,
        clip: str = "micro/clip",
        image_size: int = 64,
        num_frames: int = 16,
        cond_drop_prob: float = 0.1,
        init_from: str | None = None,
        trainable: Trainable = "all",
        spatial_lr_scale: float = 1.0,
        image_weight: float = 0.25,
        num_samples: int = 8,
        lr: float = 1.2e-4,
        warmup_steps: int = 100,
        weight_decay: float = 0.01,
        beta_2: float = 0.99,
        muon: bool = False,
    ) -> None:
        super().__init__(
            Decoder(unet, diffusion, sampler, image_size=image_size, num_frames=num_frames),
            image_weight=image_weight,
            num_samples=num_samples,
            lr=lr,
            warmup_steps=warmup_steps,
            weight_decay=weight_decay,
            beta_2=beta_2,
            muon=muon,
        )
        self.clip_name = clip
        check_number("cond_drop_prob", cond_drop_prob, 0, 1)
        self.cond_drop_prob = cond_drop_prob
        self.init_from = init_from
        self.trainable = trainable
        self.spatial_lr_scale = spatial_lr_scale

    def setup(self, stage: str) -> None:
        """Loads CLIP and what training starts from."""
        super().setup(stage)
        self.load_clip(self.clip_name, self.device)

    def prepare(self, batch: Batch) -> tuple[Tensor, dict[str, Any]]:
        """Returns ``x_0`` of ``(B, 3, F, S, S)`` and its embedding and frame rate.

        CLIP sees the frames as they are read, which should be as large as those that the prior's are.
        """
        video = as_video(batch)
        image_embed = self.clip.encode_image(middle_frames(video)).detach()
        x_0 = shrink_frames(video, self.model.image_size)
        drop = torch.rand(len(x_0), device=x_0.device) < self.cond_drop_prob
        return x_0, {"image_embed": image_embed, "fps": batch.get("fps"), "drop": drop}

    def sample_like(self, batch: Batch) -> dict[str, Tensor]:
        """Returns samples with the embeddings of a batch, and the batch."""
        x_0, cond = self.prepare(batch)
        samples = self.model.sample(cond["image_embed"], batch.get("fps"), num_frames=x_0.shape[2])
        return {"generated": samples, "real": x_0}
