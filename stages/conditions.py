"""Conditions from CLIP: captions as tokens, and embeddings by a frozen CLIP."""

from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor, nn

from lightning_mav.clip import Clip
from lightning_mav.utils.errors import UsageError
from lightning_mav.utils.numbers import Checked, check_number
from lightning_mav.weights import find_weights, load_weights


class Captions:
    """Counts the captions too long for CLIP: shows the first, and their number at the end of training."""

    num_captions = 0
    num_cut = 0

    def tokenize_captions(self, clip: Clip, texts: list[str]) -> Tensor:
        """Returns the tokens ``(B, L)`` of a batch of captions."""
        self.num_captions += len(texts)
        return clip.tokenize(texts, self._count_cut)

    def _count_cut(self, what: str) -> None:
        self.num_cut += 1
        if self.num_cut == 1:
            rank_zero_warn(f"caption {what}; others like it are counted")

    def on_train_end(self) -> None:
        """Says how many captions of this process were cut."""
        super().on_train_end()  # type: ignore[misc]
        if self.num_cut:
            rank_zero_info(
                f"{self.num_cut:,} of {self.num_captions:,} captions were too long for CLIP, and cut"
            )


class FrozenClip(LightningModule, Checked):
    """Conditions a stage on a CLIP that is neither trained, averaged nor saved with it.

    Args:
        model: Model to train, see ``Stage``.
        clip: Name or file of the frozen CLIP (see ``find_weights``).
        cond_drop_prob: Share of conditions left out, for classifier-free guidance.
        kwargs: Arguments of the stage.
    """

    clip: Clip
    model: Any

    def __init__(
        self, model: nn.Module, *, clip: str = "micro/clip", cond_drop_prob: float = 0.1, **kwargs: Any
    ) -> None:
        super().__init__(model, **kwargs)
        check_number("cond_drop_prob", cond_drop_prob, 0, 1)
        self.clip_name = clip
        self.cond_drop_prob = cond_drop_prob

    def setup(self, stage: str) -> None:
        """Loads CLIP, unless it is loaded already.

        Raises:
            UsageError: If the network is made for another.
        """
        super().setup(stage)
        if "clip" not in self.__dict__:
            # Hidden from nn.Module, which would put its weights into the checkpoints.
            path = find_weights(self.clip_name)
            clip = load_weights(path).requires_grad_(False)
            self.check_clip(clip, path)
            self.__dict__["clip"] = clip
        self.__dict__["clip"].to(self.device)

    def check_clip(self, clip: Clip, path: Path) -> None:
        """Refuses a CLIP of other widths than the network is made for.

        Raises:
            UsageError: If it is, or is no CLIP at all.
        """
        if not isinstance(clip, Clip):
            raise UsageError(f"--model.clip={self.clip_name}: {path} holds a {type(clip).__name__}, no CLIP")
        for what, ours in self.clip_widths().items():
            if ours != (theirs := getattr(clip, what)):
                raise UsageError(
                    f"--model.clip={self.clip_name}: {what} of {path} is {theirs}, but the network of this "
                    f"stage is made for {ours}: choose another CLIP, or change the network"
                )

    def clip_widths(self) -> dict[str, int]:
        """Returns attributes of ``Clip`` that the network depends on, and the values it is made for."""
        return {"embed_dim": self.model.net.image_embed_dim}

    def sample_drops(self, x_0: Tensor) -> Tensor:
        """Draws which conditions of the samples ``x_0``, ``(B, ...)``, are left out: ``(B,)`` of booleans."""
        return torch.rand(len(x_0), device=x_0.device) < self.cond_drop_prob
