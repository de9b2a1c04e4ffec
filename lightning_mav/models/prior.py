"""P: a text becomes a CLIP image embedding (Make-A-Video, section 3.1; unCLIP, section 2.2)."""

from typing import Unpack

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor

from ..diffusion import GaussianDiffusion, SampleOptions, Sampler, sample_noise
from ..nn import PriorTransformer
from ..utils.numbers import check_number
from .base import DiffusionModel


class Prior(DiffusionModel):
    """Diffusion prior over whitened image embeddings.

    Args:
        net: Denoiser, which also holds the statistics of the embeddings.
        diffusion: Forward process.
        sampler: How to sample.
        num_candidates: Embeddings drawn per text, of which the one nearest to the text is kept.

    Raises:
        ValueError: If ``num_candidates`` is below 1.
    """

    net: PriorTransformer
    limit = 5.0  # as diffusers has it; Karlo takes 10, which `threshold_range` of its sampler sets

    def __init__(
        self,
        net: PriorTransformer,
        diffusion: GaussianDiffusion,
        sampler: Sampler,
        *,
        num_candidates: int = 2,
    ) -> None:
        super().__init__(net, diffusion, sampler)
        check_number("num_candidates", num_candidates, 1)
        self.num_candidates = num_candidates

    def sample(
        self,
        text_embed: Tensor,
        text_hidden: Tensor,
        text_mask: Tensor,
        **options: Unpack[SampleOptions],
    ) -> Tensor:
        """Maps texts to image embeddings ``(B, D)``, the best of ``num_candidates`` for each.

        Args:
            text_embed: ``(B, D)``.
            text_hidden: Hidden states of the texts' tokens, ``(B, L, W)``.
            text_mask: ``(B, L)``, True for real tokens.
            options: See ``SampleOptions``.
        """
        candidates = self.sample_candidates(text_embed, text_hidden, text_mask, **options)
        return nearest(candidates, text_embed)

    def sample_candidates(
        self, text_embed: Tensor, text_hidden: Tensor, text_mask: Tensor, **options: Unpack[SampleOptions]
    ) -> Tensor:
        """Returns all candidates, ``(B, num_candidates, D)``; arguments as for ``sample``."""
        n = self.num_candidates
        shape = (n * len(text_embed), self.net.embed_dim)
        x_0 = self.denoise(
            sample_noise(shape, text_embed, options.get("generator")),
            text_embed=repeat(text_embed, "b d -> (b n) d", n=n),
            text_hidden=repeat(text_hidden, "b l w -> (b n) l w", n=n),
            text_mask=repeat(text_mask, "b l -> (b n) l", n=n),
            **options,
        )
        return rearrange(self.net.unwhiten(x_0), "(b n) d -> b n d", n=n)


def nearest(candidates: Tensor, text_embed: Tensor) -> Tensor:
    """Picks from ``(B, N, D)`` the embedding at the smallest angle to the text's ``(B, D)``, as CLIP does."""
    cosine = F.cosine_similarity(candidates, text_embed[:, None], dim=-1)
    return candidates[torch.arange(len(candidates), device=candidates.device), cosine.argmax(dim=1)]
