"""P: the diffusion prior, from text to image embedding; trained on images with captions, never on video."""

import copy
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_mav.diffusion import GaussianDiffusion, Sampler
from lightning_mav.models import Prior, nearest
from lightning_mav.nn import PriorTransformer
from lightning_mav.stages.base import Batch, Captions, DiffusionStage, FrozenClip
from lightning_mav.utils.numbers import check_number


class PriorStage(Captions, DiffusionStage, FrozenClip):
    """Learns which CLIP image embeddings a text may have (unCLIP, section 2.2).

    Before the first step the embeddings of some training images are measured, to whiten them.

    Args:
        net: Denoiser.
        diffusion: Forward process and parametrisation; the paper's predicts ``x_0``.
        sampler: How embeddings are drawn.
        clip: Frozen CLIP, a name or a file (see ``find_weights``).
        num_candidates: Embeddings drawn per text, of which the nearest to the text is kept.
        cond_drop_prob: Share of texts left out, for classifier-free guidance.
        num_whitening_batches: Batches to measure the embeddings on.
        lr: Peak learning rate.
        warmup_steps: Steps until the peak.
        weight_decay: Decoupled weight decay.
        beta_2: Decay of AdamW's second moment.
    """

    model: Prior

    def __init__(
        self,
        net: PriorTransformer,
        diffusion: GaussianDiffusion,
        sampler: Sampler,
        *,
        clip: str = "micro/clip",
        num_candidates: int = 2,
        cond_drop_prob: float = 0.1,
        num_whitening_batches: int = 16,
        lr: float = 1.1e-4,
        warmup_steps: int = 100,
        weight_decay: float = 0.01,
        beta_2: float = 0.99,
    ) -> None:
        super().__init__(
            Prior(net, diffusion, sampler, num_candidates=num_candidates),
            num_samples=0,
            lr=lr,
            warmup_steps=warmup_steps,
            weight_decay=weight_decay,
            beta_2=beta_2,
        )
        self.clip_name = clip
        check_number("cond_drop_prob", cond_drop_prob, 0, 1)
        self.cond_drop_prob = cond_drop_prob
        self.num_whitening_batches = num_whitening_batches

    def setup(self, stage: str) -> None:
        """Loads CLIP."""
        super().setup(stage)
        self.load_clip(self.clip_name, self.device)

    def on_train_start(self) -> None:
        """Measures the embeddings, unless a checkpoint already holds what they were measured to be."""
        if self.trainer.global_step > 0:
            return
        loader = self.trainer.train_dataloader
        assert loader is not None
        # A stream of its own: training must not miss what is measured here.
        stream = DataLoader(
            copy.copy(loader.dataset), batch_size=loader.batch_size, collate_fn=loader.collate_fn
        )
        batches = islice(stream, self.num_whitening_batches)
        embeds = [self.embed_image(batch["image"].to(self.device)) for batch in batches]
        image_embed = torch.as_tensor(self.all_gather(torch.cat(embeds))).reshape(-1, self.clip.embed_dim)
        self.model.net.clip_mean.copy_(image_embed.mean(dim=0, keepdim=True))
        self.model.net.clip_std.copy_(image_embed.std(dim=0, keepdim=True).clamp_min(1e-3))

    @torch.no_grad()
    def embed_image(self, image: Tensor) -> Tensor:
        """Embeds images ``(B, 3, H, W)`` into ``(B, D)``."""
        return self.clip.encode_image(image).float()

    @torch.no_grad()
    def embed_text(self, texts: list[str]) -> dict[str, Tensor]:
        """Returns what the prior is told about a text."""
        text_tokens = self.tokenize_captions(self.clip, texts).to(self.device)
        text_embed, text_hidden, text_mask = self.clip.encode_text(text_tokens)
        return {"text_embed": text_embed, "text_hidden": text_hidden, "text_mask": text_mask}

    def prepare(self, batch: Batch) -> tuple[Tensor, dict[str, Any]]:
        """Returns the whitened image embedding ``x_0``, ``(B, D)``, and the text."""
        x_0 = self.model.net.whiten(self.embed_image(batch["image"]))
        drop = torch.rand(len(x_0), device=x_0.device) < self.cond_drop_prob
        return x_0, {**self.embed_text(batch["text"]), "drop": drop}

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Logs the loss; on the first batch also how near samples come to the images' own embeddings."""
        super().validation_step(batch, batch_idx)
        if batch_idx > 0:
            return
        text, image_embed = self.embed_text(batch["text"]), self.embed_image(batch["image"])
        generator = torch.Generator(self.device).manual_seed(0)
        candidates = self.model.sample_candidates(**text, generator=generator)
        best = nearest(candidates, text["text_embed"])
        scores = {
            "val/cosine": self.clip.similarity(best, image_embed).mean(),
            "val/cosine_of_one": self.clip.similarity(candidates[:, 0], image_embed).mean(),
        }
        self.log_dict(scores, prog_bar=True, batch_size=len(best), sync_dist=True)
