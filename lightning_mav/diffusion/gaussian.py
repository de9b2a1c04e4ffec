"""The forward process and the three things a network may predict."""

from typing import Literal

import torch
from torch import Tensor, nn

from ..configured import Configured
from .schedule import Schedule, make_betas

Prediction = Literal["eps", "v", "x_0"]


class GaussianDiffusion(nn.Module, Configured):
    """Gaussian diffusion in discrete steps (Ho et al., 2020).

    Args:
        schedule: How ``alpha_bar`` falls with ``t``.
        num_timesteps: Number of steps.
        prediction: What the network predicts: the noise ``eps``, the velocity
            ``v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x_0`` (Salimans and Ho, 2022), or ``x_0``.
        timesteps: How training draws ``t``: evenly, or from a logit-normal distribution, which spends less
            on the two ends, where there is little to learn.
        logit_mean: Mean of that normal distribution; above 0 it spends more on high noise, which is where
            the frames of a video, many views of one thing, settle how it moves.

    Raises:
        ValueError: If an argument is not one of its choices.
    """

    alphas_cumprod: Tensor

    def __init__(
        self,
        schedule: Schedule = "cosine",
        *,
        num_timesteps: int = 1000,
        prediction: Prediction = "eps",
        timesteps: Literal["uniform", "logit_normal"] = "uniform",
        logit_mean: float = 0.0,
    ) -> None:
        super().__init__()
        if prediction not in ("eps", "v", "x_0"):
            raise ValueError(f"prediction must be 'eps', 'v' or 'x_0', got {prediction!r}")
        if timesteps not in ("uniform", "logit_normal"):
            raise ValueError(f"timesteps must be 'uniform' or 'logit_normal', got {timesteps!r}")
        self.num_timesteps = num_timesteps
        self.prediction = prediction
        self.timesteps = timesteps
        self.logit_mean = logit_mean
        self.betas = make_betas(schedule, num_timesteps).tolist()
        alphas_cumprod = (1 - torch.tensor(self.betas, dtype=torch.double)).cumprod(dim=0)
        self.register_buffer("alphas_cumprod", alphas_cumprod.float(), persistent=False)

    def sample_timesteps(self, n: int, device: torch.device | None = None) -> Tensor:
        """Draws ``(n,)`` steps, stratified, so that every batch covers the whole range."""
        u = (torch.rand((), device=device) + torch.arange(n, device=device) / n) % 1
        u = u[torch.randperm(n, device=device)]
        if self.timesteps == "logit_normal":
            u = torch.sigmoid(torch.special.ndtri(u.clamp(1e-4, 1 - 1e-4)) * 1.2 + self.logit_mean)
        return (u * self.num_timesteps).long().clamp(max=self.num_timesteps - 1)

    def coefficients(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Returns ``sqrt(alpha_bar)`` and ``sqrt(1 - alpha_bar)`` at ``t``, ``(B, 1, ...)`` as ``like``."""
        alpha_bar = self.alphas_cumprod[t].view(-1, *[1] * (like.dim() - 1))
        return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()

    def q_sample(self, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """Noises ``x_0``, of any shape ``(B, ...)``, to the steps ``t``, ``(B,)``."""
        a, s = self.coefficients(t, x_0)
        return a * x_0 + s * eps

    def target(self, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """Returns what the network should have predicted."""
        if self.prediction == "eps":
            return eps
        if self.prediction == "x_0":
            return x_0
        a, s = self.coefficients(t, x_0)
        return a * eps - s * x_0

    def to_x_0(self, prediction: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Turns the network's prediction at ``x_t`` into ``x_0``."""
        if self.prediction == "x_0":
            return prediction
        a, s = self.coefficients(t, x_t)
        if self.prediction == "v":
            return a * x_t - s * prediction
        return (x_t - s * prediction) / a

    def to_eps(self, prediction: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Turns the network's prediction at ``x_t`` into the noise ``eps``; not defined where it is zero."""
        if self.prediction == "eps":
            return prediction
        a, s = self.coefficients(t, x_t)
        return (x_t - a * self.to_x_0(prediction, x_t, t)) / s
