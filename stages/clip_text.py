"""C's text half alone: taught what phrases mean by a sentence encoder, whose answers lie in a file."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_mav.clip import Clip
from lightning_mav.stages.base import Batch
from lightning_mav.stages.clip import ClipStage, spread
from lightning_mav.utils.errors import UsageError
from lightning_mav.weights import find_weights, load_weights

NUM_PARTS = 4  # of a batch of phrases


class ClipTextStage(ClipStage):
    """Learns to find the images that a phrase may mean, among all; the image half is taken and kept as it is.

    So what is conditioned on embeddings of images need not be trained again (compare LiT, Zhai et al., 2022,
    and knowledge distillation, Hinton et al., 2015).

    Args:
        clip: Model to train; its text half starts from scratch and may differ from the other's.
        init_from: Weights whose image half is kept, see ``find_weights``.
        kwargs: See ``ClipStage``.
    """

    def __init__(self, clip: Clip, *, init_from: str, **kwargs: Any) -> None:
        super().__init__(clip, **kwargs)
        self.init_from = init_from

    def setup(self, stage: str) -> None:
        """Takes the image half, and embeds the images of the datamodule once.

        Raises:
            UsageError: If the image half is another than this network's.
        """
        super().setup(stage)
        path, visual = find_weights(self.init_from), self.model.model.visual
        source = load_weights(path)
        mine, theirs = (
            {**model.config["init_args"], "text": None, "bpe": None} for model in (self.model, source)
        )
        if mine != theirs:
            raise UsageError(
                f"{path} has another image half than this: see --model.clip, or --model.init_from"
            )
        visual.load_state_dict(source.model.visual.state_dict())
        visual.requires_grad_(False)
        images = self.trainer.datamodule.images()  # type: ignore[attr-defined]
        with torch.inference_mode():
            embed = torch.cat([source.encode_image(part) for part in images.split(256)])
        # Hidden from nn.Module, which would put it into the checkpoints.
        self.__dict__["image_embed"] = F.normalize(embed, dim=-1).clone().to(self.device)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Returns the groups of ``ClipStage``, of what is trained."""
        groups = super().parameter_groups()
        return [{**group, "params": [p for p in group["params"] if p.requires_grad]} for group in groups]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Returns the loss of a batch of ``text`` and ``target (B, N)`` over the images, and logs it."""
        text_tokens = self.tokenize_captions(self.model, batch["text"]).to(self.device)
        # Sorted by length, so that short phrases are not computed as long as the longest of all.
        order = text_tokens.argmax(dim=1).argsort()
        parts = [self.model.encode_text(text_tokens[part])[0].float() for part in order.chunk(NUM_PARTS)]
        text_embed = torch.cat(parts)[order.argsort()]
        logit_scale = self.model.model.logit_scale.exp()
        # Cosines in bf16 would be off by what tells one still from the next.
        with torch.autocast(self.device.type, enabled=False):
            logits = logit_scale * F.normalize(text_embed, dim=-1) @ self.image_embed.to(self.device).T
        loss = F.kl_div(logits.log_softmax(dim=1), batch["target"], reduction="batchmean")
        self.log("train/loss", loss, prog_bar=True, batch_size=len(logits))
        self.log("train/logit_scale", logit_scale, batch_size=len(logits))
        return loss + self.spread_weight * spread(text_embed).log() ** 2
