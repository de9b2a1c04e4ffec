"""D^t: a CLIP image embedding becomes 16 frames; on images first, then on unlabelled video (section 3.2)."""

from typing import Any

from torch import Tensor

from lightning_mav.diffusion import GaussianDiffusion, Sampler
from lightning_mav.models import Decoder
from lightning_mav.models.decoder import EmbeddedFrame
from lightning_mav.nn import Pseudo3DUNet
from lightning_mav.stages.backbone import Pseudo3DBackboneMixin
from lightning_mav.stages.base import Batch, DiffusionStage
from lightning_mav.stages.conditions import FrozenClip
from lightning_mav.stages.frames import as_video, shrink_frames


class DecoderStage(FrozenClip, Pseudo3DBackboneMixin, DiffusionStage):
    """Learns to draw images, then videos, from image embeddings. No text is involved.

    The embedding of a video is that of one of its frames, always the same one. An embedding also encodes
    where objects are, and the network can use that only if it always refers to the same moment.

    Args:
        unet: Denoiser with an image-embedding condition.
        diffusion: Forward process and parametrisation.
        sampler: How samples are drawn.
        image_size: Height and width of the frames.
        num_frames: Frames in a video.
        still_until: See ``Decoder``.
        embed_frame: Frame of a video whose embedding is its condition: the middle one, or the first, where
            clips start with what a still shows.
        kwargs: See ``FrozenClip``, ``Pseudo3DBackboneMixin`` and ``DiffusionStage``.
    """

    model: Decoder

    def __init__(
        self,
        unet: Pseudo3DUNet,
        diffusion: GaussianDiffusion,
        sampler: Sampler,
        *,
        image_size: int = 64,
        num_frames: int = 16,
        still_until: float | None = None,
        embed_frame: EmbeddedFrame = "middle",
        **kwargs: Any,
    ) -> None:
        model = Decoder(
            unet,
            diffusion,
            sampler,
            image_size=image_size,
            num_frames=num_frames,
            still_until=still_until,
            embed_frame=embed_frame,
        )
        super().__init__(model, **kwargs)

    def prepare(self, batch: Batch) -> tuple[Tensor, dict[str, Any]]:
        """Returns ``x_0`` of ``(B, 3, F, S, S)`` and its embedding and frame rate.

        CLIP sees the frames at the size they are read at, which should be that of the prior's training.
        """
        video = as_video(batch)
        embedded = video[:, :, self.model.embedded_place(video.shape[2])]
        image_embed = self.clip.encode_image(embedded).detach()
        x_0 = shrink_frames(video, self.model.image_size)
        return x_0, {"image_embed": image_embed, "fps": batch.get("fps"), "drop": self.sample_drops(x_0)}

    def sample_like(self, batch: Batch) -> dict[str, Tensor]:
        """Returns samples with the embeddings of a batch, and the videos of the batch."""
        x_0, cond = self.prepare(batch)
        samples = self.model.sample(cond["image_embed"], batch.get("fps"), num_frames=x_0.shape[2])
        return {"real": x_0, "generated": samples}
