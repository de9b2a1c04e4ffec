"""Variances that a network learns beside its prediction (Nichol and Dhariwal, 2021, section 3.1)."""

import math

import torch
from torch import Tensor

BIN = 1 / 255  # half the distance of two of the 256 values of a pixel in [-1, 1]


def posterior_table(betas: Tensor) -> Tensor:
    """Returns what ``q(x_{t-1} | x_t, x_0)`` is made of at each step, ``(4, T)``.

    The rows are the factors of ``x_0`` and ``x_t`` in its mean, the log of its variance, which is the least
    that a network may choose, and the log of ``beta``, the most. The variance is 0 at ``t = 0``; there that
    of the next step stands in.

    Args:
        betas: ``(T,)`` in double, at least two.
    """
    alpha_bar = (1 - betas).cumprod(dim=0)
    before = torch.cat([alpha_bar.new_ones(1), alpha_bar[:-1]])
    variance = betas * (1 - before) / (1 - alpha_bar)
    variance[0] = variance[1]
    of_x_0 = betas * before.sqrt() / (1 - alpha_bar)
    of_x_t = (1 - betas).sqrt() * (1 - before) / (1 - alpha_bar)
    return torch.stack([of_x_0, of_x_t, variance.log(), betas.log()]).float()


def variational_bound(
    table: Tensor, t: Tensor, x_t: Tensor, x_0: Tensor, estimate: Tensor, output: Tensor
) -> Tensor:
    """Returns the term of the variational bound at the steps ``t``, in bits for each number, ``(B,)``.

    That is the divergence of the step that the network takes from the true one; at ``t = 0`` it is the
    negative log likelihood of pixels of 256 values.

    Args:
        table: Result of ``posterior_table``.
        t: Steps, ``(B,)``.
        x_t: Noised data, ``(B, ...)``.
        x_0: Data.
        estimate: What the network takes ``x_0`` to be.
        output: Variances as the network gives them: -1 is the least, 1 the most, on a log scale.
    """
    of_x_0, of_x_t, low, high = table[:, t].view(4, -1, *[1] * (x_t.dim() - 1))
    log_variance = torch.lerp(low, high, (output + 1) / 2)
    mean = of_x_0 * estimate + of_x_t * x_t
    difference = of_x_0 * (x_0 - estimate)
    divergence = log_variance - low - 1 + (low - log_variance).exp()
    divergence = (divergence + difference.square() * (-log_variance).exp()) / 2
    likelihood = -_log_likelihood(x_0, mean, log_variance / 2)
    first = (t == 0).view(-1, *[1] * (x_t.dim() - 1))
    return torch.where(first, likelihood, divergence).flatten(1).mean(dim=1) / math.log(2)


def _log_likelihood(x: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Log of the probability that a Gaussian gives to the bin of each pixel; the end bins are open."""
    scale = (-log_std).exp()
    upper = torch.special.ndtr((x - mean + BIN) * scale)
    lower = torch.special.ndtr((x - mean - BIN) * scale)
    upper = torch.where(x > 1 - BIN, torch.ones_like(upper), upper)
    lower = torch.where(x < BIN - 1, torch.zeros_like(lower), lower)
    return (upper - lower).clamp(min=1e-12).log()
