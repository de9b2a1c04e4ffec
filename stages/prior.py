"""P: the diffusion prior, from text to image embedding; trained on images with captions, never on video."""

import copy
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_mav.clip import Whitening
from lightning_mav.clip.whitening import LEAST_STD
from lightning_mav.diffusion import GaussianDiffusion, Sampler
from lightning_mav.models import Prior, nearest
from lightning_mav.nn import PriorTransformer
from lightning_mav.stages.base import Batch, DiffusionStage
from lightning_mav.stages.conditions import Captions, FrozenClip
from lightning_mav.utils.errors import UsageError
from lightning_mav.weights import find_weights, load_weights


class PriorStage(Captions, FrozenClip, DiffusionStage):
    """Learns which CLIP image embeddings a text may have (unCLIP, section 2.2).

    Embeddings are whitened by constants that ``mav weights whiten`` has measured. Without them, they are
    measured on some training embeddings before the first step.

    Args:
        net: Denoiser.
        diffusion: Forward process and parametrisation; the paper's predicts ``x_0``.
        sampler: How embeddings are drawn.
        num_candidates: Embeddings drawn per text; the one nearest to the text is kept.
        whitening: File of the constants, see ``find_weights``; None measures them.
        num_whitening_batches: Number of batches to measure them on.
        kwargs: See ``FrozenClip`` and ``Stage``.
    """

    model: Prior

    def __init__(
        self,
        net: PriorTransformer,
        diffusion: GaussianDiffusion,
        sampler: Sampler,
        *,
        num_candidates: int = 2,
        whitening: str | None = None,
        num_whitening_batches: int = 16,
        **kwargs: Any,
    ) -> None:
        model = Prior(net, diffusion, sampler, num_candidates=num_candidates)
        super().__init__(model, num_samples=0, image_weight=0.0, muon=False, **kwargs)
        self.whitening = whitening
        self.num_whitening_batches = num_whitening_batches

    def setup(self, stage: str) -> None:
        """Loads CLIP, and the constants for whitening unless training resumes from a checkpoint.

        Raises:
            UsageError: If they are not usable, or were measured with another CLIP.
        """
        super().setup(stage)
        if stage != "fit" or self.whitening is None or self.trainer.ckpt_path:
            return
        path = find_weights(self.whitening)
        constants = load_weights(path)
        if not isinstance(constants, Whitening) or not constants.belongs_to(self.clip):
            what = "was measured with another CLIP" if isinstance(constants, Whitening) else "is none"
            raise UsageError(
                f"--model.whitening={self.whitening}: {path} {what}: make it with `mav weights whiten` and "
                f"--clip {self.clip_name}"
            )
        self.model.net.clip_mean.copy_(constants.mean)
        self.model.net.clip_std.copy_(constants.std)

    def clip_widths(self) -> dict[str, int]:
        """Returns attributes of ``Clip`` that the network depends on, and the values it is made for."""
        given = self.model.net.config["init_args"]
        return {name: given[name] for name in ("embed_dim", "text_width", "context_length")}

    def on_train_start(self) -> None:
        """Measures the constants for whitening, unless a file or the checkpoint holds them."""
        if self.trainer.global_step > 0 or self.whitening is not None:
            return
        loader = self.trainer.train_dataloader
        assert loader is not None
        # A second stream, so that training still sees the samples that are measured here.
        stream = DataLoader(
            copy.copy(loader.dataset), batch_size=loader.batch_size, collate_fn=loader.collate_fn
        )
        batches = islice(stream, self.num_whitening_batches)
        embeds = [self.embed_image(batch["image"].to(self.device)) for batch in batches]
        image_embed = torch.as_tensor(self.all_gather(torch.cat(embeds))).reshape(-1, self.clip.embed_dim)
        self.model.net.clip_mean.copy_(image_embed.mean(dim=0, keepdim=True))
        self.model.net.clip_std.copy_(image_embed.std(dim=0, keepdim=True).clamp_min(LEAST_STD))

    @torch.no_grad()
    def embed_image(self, image: Tensor) -> Tensor:
        """Embeds images ``(B, 3, H, W)`` into ``(B, D)``."""
        return self.clip.encode_image(image).float()

    @torch.no_grad()
    def embed_text(self, texts: list[str]) -> dict[str, Tensor]:
        """Returns the conditions of the prior for some texts."""
        text_tokens = self.tokenize_captions(self.clip, texts).to(self.device)
        text_embed, text_hidden, text_mask = self.clip.encode_text(text_tokens)
        return {"text_embed": text_embed, "text_hidden": text_hidden, "text_mask": text_mask}

    def prepare(self, batch: Batch) -> tuple[Tensor, dict[str, Any]]:
        """Returns the whitened image embedding ``x_0``, ``(B, D)``, and the text."""
        x_0 = self.model.net.whiten(self.embed_image(batch["image"]))
        return x_0, {**self.embed_text(batch["text"]), "drop": self.sample_drops(x_0)}

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Logs the loss; on the first batch also how close samples are to the true embeddings."""
        super().validation_step(batch, batch_idx)
        if batch_idx > 0:
            return
        text, image_embed = self.embed_text(batch["text"]), self.embed_image(batch["image"])
        generator = torch.Generator(self.device).manual_seed(0)
        candidates = self.model.sample_candidates(*text.values(), generator=generator)
        best = nearest(candidates, text["text_embed"])
        scores = {
            "val/cosine": self.clip.similarity(best, image_embed).mean(),
            "val/cosine_of_one": self.clip.similarity(candidates[:, 0], image_embed).mean(),
        }
        self.log_dict(scores, prog_bar=True, batch_size=len(best), sync_dist=True)
