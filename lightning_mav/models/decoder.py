"""D^t: a CLIP image embedding becomes a short, small video (Make-A-Video, section 3.2)."""

from typing import Literal, Unpack, get_args

import torch
from torch import Tensor

from ..diffusion import GaussianDiffusion, SampleOptions, Sampler, sample_noise
from ..nn import Pseudo3DUNet
from ..utils.numbers import check_number
from .base import DiffusionModel, part_of

EmbeddedFrame = Literal["middle", "first"]
STILL_UNTIL = 0.7  # where a still is given and the decoder has no share of its own


class Decoder(DiffusionModel):
    """Decoder of image embeddings.

    Args:
        net: Denoiser with an image-embedding condition.
        diffusion: Forward process.
        sampler: How to sample.
        image_size: Height and width of the video.
        num_frames: Length of the video that it was trained on.
        still_until: If given, a still is drawn first, and the video shows it at ``embed_frame``. At each
            denoising step the estimated frames are all moved by the same difference, so that this one is the
            still. This ends at this share of the diffusion steps, 0 to 1; below it the network is free. What
            a thing looks like is then learnt from all images, also for things that no video shows. The paper
            draws no still.
        embed_frame: Frame whose embedding was the condition in training, ``middle`` or ``first``. A still
            belongs there: an embedding also says where things are. Held at another frame, the video would
            have to come back to the still's place at this one.

    Raises:
        ValueError: If a number is out of its range, or ``embed_frame`` is another word.
    """

    net: Pseudo3DUNet

    def __init__(
        self,
        net: Pseudo3DUNet,
        diffusion: GaussianDiffusion,
        sampler: Sampler,
        *,
        image_size: int = 64,
        num_frames: int = 16,
        still_until: float | None = None,
        embed_frame: EmbeddedFrame = "middle",
    ) -> None:
        super().__init__(net, diffusion, sampler)
        check_number("image_size", image_size, 1)
        check_number("num_frames", num_frames, 1)
        if still_until is not None:
            check_number("still_until", still_until, 0, 1)
        if embed_frame not in get_args(EmbeddedFrame):
            raise ValueError(f"embed_frame must be one of {get_args(EmbeddedFrame)}, got {embed_frame!r}")
        self.still_until = still_until
        self.embed_frame = embed_frame
        self.image_size = image_size
        self.num_frames = num_frames

    def embedded_place(self, num_frames: int) -> int:
        """Returns which of ``num_frames`` frames, from 0, the embedding is of."""
        return num_frames // 2 if self.embed_frame == "middle" else 0

    def sample(
        self,
        image_embed: Tensor,
        fps: Tensor | None = None,
        *,
        num_frames: int | None = None,
        still: Tensor | None = None,
        **options: Unpack[SampleOptions],
    ) -> Tensor:
        """Maps embeddings ``(B, D)`` and frame rates ``(B,)`` to videos ``(B, 3, F, S, S)`` in [-1, 1].

        Args:
            image_embed: CLIP image embedding.
            fps: Frame rate.
            num_frames: Frames to make, if not as many as in training.
            still: The frame that the embedding is of, ``(B, 3, 1, S, S)``; see ``embed_frame``, and
                ``still_until``, which is 0.7 here if it is not set. Below that share the other frames are
                free. If None, the decoder does without, or draws one that the frame may depart from.
            options: See ``SampleOptions``.
        """
        shape = (len(image_embed), 3, num_frames or self.num_frames, self.image_size, self.image_size)
        if not len(image_embed):
            return image_embed.new_zeros(shape)
        noise = sample_noise(shape, image_embed, options.get("generator"))
        is_given = still is not None
        if still is None:
            if self.still_until is None or shape[2] == 1:
                return self.denoise(noise, image_embed=image_embed, fps=fps, **options)
            progress = options.pop("progress", None)
            one = sample_noise((*shape[:2], 1, *shape[3:]), image_embed, options.get("generator"))
            still = self.denoise(
                one, image_embed=image_embed, fps=None, progress=part_of(progress, 0, 2), **options
            )
            options["progress"] = part_of(progress, 1, 2)
        until = STILL_UNTIL if self.still_until is None else self.still_until
        free_from = until * self.diffusion.num_timesteps
        place = self.embedded_place(shape[2])

        def show_still(x_0: Tensor, t: Tensor) -> Tensor:
            if t[0] >= free_from:
                return (x_0 + (still - x_0[:, :, place : place + 1])).clamp(-self.limit, self.limit)
            return torch.cat([x_0[:, :, :place], still, x_0[:, :, place + 1 :]], dim=2) if is_given else x_0

        return self.denoise(
            noise,
            adjust=show_still,
            image_embed=image_embed,
            fps=fps,
            **options,
        )
