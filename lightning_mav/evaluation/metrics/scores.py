"""Scores of single videos, or of logits."""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ...clip import Clip


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """Returns the peak signal-to-noise ratio in dB of each sample, ``(N,)``.

    Args:
        x: Samples ``(N, ...)`` in [-1, 1].
        y: Reference of the same shape and range.

    Examples:
        >>> psnr(torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.2))  # 20 log10(2 / 0.2)
        tensor([20.])
    """
    errors = F.mse_loss(x.float(), y.float(), reduction="none").flatten(1).mean(dim=1)
    return 10 * (4 / errors.clamp(min=1e-12)).log10()


def inception_score(logits: Tensor, *, num_splits: int = 1) -> float:
    """Returns ``exp(mean KL(p(y | x) || p(y)))``, from 1 to C, averaged over splits of the samples.

    Salimans et al. 2016. Log-probabilities give the same score as logits. Smaller splits give lower scores.
    Samples are put in a fixed random order before they are split: those of a benchmark come class by class,
    and a split of neighbours would hold few classes.

    Args:
        logits: Logits ``(N, C)`` of a classifier.
        num_splits: Number of splits, 1 for all samples together; the usual number is 10.

    Raises:
        ValueError: If there are fewer samples than splits.
    """
    if not 1 <= num_splits <= len(logits):
        raise ValueError(
            f"num_splits must be from 1 to the number of samples, {len(logits)}, got {num_splits}"
        )
    if num_splits > 1:
        order = torch.randperm(len(logits), generator=torch.Generator().manual_seed(0))
        logits = logits[order.to(logits.device)]
    scores = [score_of_sums(*sums_of_scores(part), len(part)) for part in logits.tensor_split(num_splits)]
    return sum(scores) / num_splits


def sums_of_scores(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Returns what an Inception Score needs of ``(N, C)`` logits: the sums of ``p log p`` and ``p``."""
    log_p = logits.double().log_softmax(dim=1)
    p = log_p.exp()
    return torch.where(p > 0, p * log_p, 0.0).sum(), p.sum(dim=0)


def score_of_sums(entropies: Tensor, probabilities: Tensor, num: int) -> float:
    """Returns the Inception Score from the sums over ``num`` samples."""
    marginal = probabilities / num
    return math.exp(float(entropies / num - torch.special.xlogy(marginal, marginal).sum()))


@torch.no_grad()
def clip_sim(clip: Clip, frames: Tensor, texts: list[str]) -> Tensor:
    """Returns the cosine between a text and each frame in CLIP's space, averaged over the frames, ``(B,)``.

    CLIPSIM (Wu et al. 2021, GODIVA), in [-1, 1] as in the Make-A-Video paper, not multiplied by 100.

    Args:
        clip: The CLIP model.
        frames: Videos ``(B, 3, F, H, W)`` in [-1, 1], of any size.
        texts: Their ``B`` texts.
    """
    if len(texts) != len(frames):
        raise ValueError(f"as many texts as videos are needed, got {len(texts)} and {len(frames)}")
    device = clip.image_mean.device
    text_embed = clip.encode_text(clip.tokenize(texts).to(device))[0]
    image_embed = clip.encode_image(rearrange(frames.to(device), "b c f h w -> (b f) c h w"))
    text_embed = text_embed.repeat_interleave(frames.shape[2], dim=0)
    similarity = clip.similarity(image_embed.float(), text_embed.float())
    return similarity.unflatten(0, (len(texts), -1)).mean(dim=1)
