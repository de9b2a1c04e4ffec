"""C: CLIP, trained from scratch at small scales (Radford et al., 2021); larger ones load a public one."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_mav.clip import Clip
from lightning_mav.stages.base import Batch, Stage
from lightning_mav.stages.conditions import Captions


class ClipStage(Captions, Stage):
    """Learns to tell which text belongs to which image.

    Args:
        clip: Model to train.
        max_logit_scale: Upper end of the learned inverse temperature.
        spread_weight: Weight of the penalty that holds the spread of the embeddings near 1.
        kwargs: See ``Stage``; weight decay applies to matrices only.
    """

    model: Clip

    def __init__(
        self,
        clip: Clip,
        *,
        max_logit_scale: float = 100.0,
        spread_weight: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(clip, muon=False, **kwargs)
        self.max_logit_scale = max_logit_scale
        self.spread_weight = spread_weight
        # Convolutions are faster in this layout, above all in half precision.
        clip.model.visual.to(memory_format=torch.channels_last)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Returns two groups: matrices, with weight decay, and norms, biases and temperature, without."""
        matrices = [p for p in self.parameters() if p.ndim > 1]
        others = [p for p in self.parameters() if p.ndim <= 1]
        return [{"params": matrices}, {"params": others, "weight_decay": 0.0}]

    def embed(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Returns embeddings of images and texts, ``(B, D)``, and which pairs belong together, ``(B, B)``.

        ``B`` is the batch of all devices together: a larger batch has more wrong pairs to learn from.
        A small world repeats its captions, so a batch may hold several images with one text. All of these
        pairs count as right.
        """
        text_tokens = self.tokenize_captions(self.model, batch["text"]).to(self.device)
        image_embed = self.model.encode_image(batch["image"]).float()
        text_embed = self.model.encode_text(text_tokens)[0].float()
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            image_embed, text_embed, text_tokens = (
                torch.as_tensor(self.all_gather(part, sync_grads=part.requires_grad)).flatten(0, 1)
                for part in (image_embed, text_embed, text_tokens)
            )
        same = (text_tokens[:, None] == text_tokens).all(dim=-1)
        return image_embed, text_embed, same

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Returns the loss of a batch, and logs it."""
        image_embed, text_embed, same = self.embed(batch)
        logit_scale = self.model.model.logit_scale.exp()
        loss = contrastive_loss(image_embed, text_embed, same, logit_scale)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(same))
        self.log("train/logit_scale", logit_scale, batch_size=len(same))
        # Only directions matter to the loss above; the stages that follow want embeddings of unit spread.
        return loss + self.spread_weight * (spread(image_embed).log() ** 2 + spread(text_embed).log() ** 2)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Keeps the temperature in its range, before it is averaged or saved."""
        super().optimizer_step(*args, **kwargs)
        with torch.no_grad():
            self.model.model.logit_scale.clamp_(0, math.log(self.max_logit_scale))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Logs the loss, and how often the text nearest to an image is the image's own."""
        image_embed, text_embed, same = self.embed(batch)
        loss = contrastive_loss(image_embed, text_embed, same, self.model.model.logit_scale.exp())
        cosine = F.normalize(image_embed, dim=-1) @ F.normalize(text_embed, dim=-1).T
        right = same.gather(1, cosine.argmax(dim=1, keepdim=True)).float().mean()
        scores = {"val/loss": loss, "val/accuracy": right, "val/spread": spread(image_embed)}
        self.log_dict(scores, prog_bar=True, batch_size=len(same), sync_dist=True)


def contrastive_loss(image_embed: Tensor, text_embed: Tensor, same: Tensor, logit_scale: Tensor) -> Tensor:
    """Symmetric InfoNCE; if ``same`` marks several partners as right, they share the target evenly.

    Args:
        image_embed: ``(B, D)``.
        text_embed: ``(B, D)``.
        same: ``(B, B)``, True where image and text belong together; symmetric.
        logit_scale: Inverse temperature.

    Returns:
        The Kullback-Leibler divergence from target to prediction, 0 at best, mean over both directions.
    """
    logits = logit_scale * F.normalize(image_embed, dim=-1) @ F.normalize(text_embed, dim=-1).T
    target = same / same.sum(dim=1, keepdim=True)
    rows, columns = (
        F.kl_div(x.log_softmax(dim=1), target, reduction="batchmean") for x in (logits, logits.T)
    )
    return (rows + columns) / 2


def spread(embed: Tensor) -> Tensor:
    """Returns the root mean square of ``(B, D)``, a scalar."""
    return embed.square().mean().sqrt()
