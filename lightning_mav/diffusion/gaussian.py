"""The forward process and the three parametrisations: eps, v and x_0."""

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from ..utils.configured import Configured
from ..utils.numbers import check_number
from .schedule import Schedule, make_betas, with_zero_terminal_snr
from .variance import posterior_table, variational_bound

VLB_WEIGHT = 0.001  # of the variational bound in the hybrid loss (Nichol and Dhariwal, 2021, section 3.1)

Prediction = Literal["eps", "v", "x_0"]
FrameNoise = Literal["independent", "mixed", "progressive"]


class GaussianDiffusion(nn.Module, Configured):
    """Gaussian diffusion in discrete steps (Ho et al., 2020).

    Args:
        schedule: How ``alpha_bar`` falls with ``t``.
        num_timesteps: Number of steps.
        prediction: What the network predicts: the noise ``eps``, the velocity
            ``v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x_0`` (Salimans and Ho, 2022), or ``x_0``.
        timesteps: How training draws ``t``: evenly, or from a logit-normal distribution, which spends less
            on the two ends, where there is little to learn.
        logit_mean: Mean of that normal distribution. Values above 0 train more on high noise, where the
            motion of a video is decided.
        zero_terminal_snr: Whether the schedule is shifted so that the last step holds no signal, as sampling
            assumes (Lin et al., 2023, section 3.1). Then ``eps`` says nothing about ``x_0`` there.
        min_snr_gamma: Upper end of the signal-to-noise ratio that weighs the errors of ``x_0`` in the loss
            (Hang et al., 2023, section 3.4); 5 there. None weighs errors of the prediction evenly.
        frame_noise: Noise of the frames of a video: drawn for each by itself, or correlated (Ge et al., 2023,
            PYoCo, section 4.1): ``mixed`` has a part that all frames share, ``progressive`` a part that each
            frame takes from the one before.
        frame_noise_alpha: The ratio of the standard deviations of the shared part and of the frame's own.
        learned_variance: Whether the network has twice as many outputs, of which the second half choose the
            variances of its steps, between the least and the most that they can be (Nichol and Dhariwal,
            2021). They are trained by the variational bound, as a further term of the loss.

    Raises:
        ValueError: If an argument is not one of its choices, or out of range.

    Examples:
        >>> diffusion = GaussianDiffusion("cosine", prediction="v")
        >>> x_0, eps, t = torch.randn(2, 3, 8, 8), torch.randn(2, 3, 8, 8), torch.tensor([10, 500])
        >>> x_t, v = diffusion.q_sample(x_0, t, eps), diffusion.target(x_0, t, eps)
        >>> torch.allclose(diffusion.to_x_0(v, x_t, t), x_0, atol=1e-5)
        True
    """

    alphas_cumprod: Tensor
    posterior: Tensor

    def __init__(
        self,
        schedule: Schedule = "cosine",
        *,
        num_timesteps: int = 1000,
        prediction: Prediction = "eps",
        timesteps: Literal["uniform", "logit_normal"] = "uniform",
        logit_mean: float = 0.0,
        zero_terminal_snr: bool = False,
        min_snr_gamma: float | None = None,
        frame_noise: FrameNoise = "independent",
        frame_noise_alpha: float = 1.0,
        learned_variance: bool = False,
    ) -> None:
        super().__init__()
        if prediction not in ("eps", "v", "x_0"):
            raise ValueError(f"prediction must be 'eps', 'v' or 'x_0', got {prediction!r}")
        if timesteps not in ("uniform", "logit_normal"):
            raise ValueError(f"timesteps must be 'uniform' or 'logit_normal', got {timesteps!r}")
        if frame_noise not in get_args(FrameNoise):
            raise ValueError(f"frame_noise must be one of {get_args(FrameNoise)}, got {frame_noise!r}")
        check_number("frame_noise_alpha", frame_noise_alpha, 0)
        if min_snr_gamma is not None and not min_snr_gamma > 0:
            raise ValueError(f"min_snr_gamma must be positive, got {min_snr_gamma}")
        if zero_terminal_snr and prediction == "eps":
            raise ValueError("zero_terminal_snr needs prediction 'v' or 'x_0', got 'eps'")
        self.num_timesteps = num_timesteps
        self.prediction = prediction
        self.timesteps = timesteps
        self.logit_mean = logit_mean
        self.zero_terminal_snr = zero_terminal_snr
        self.min_snr_gamma = min_snr_gamma
        self.frame_noise = frame_noise
        self.frame_noise_alpha = frame_noise_alpha
        self.learned_variance = learned_variance
        betas = make_betas(schedule, num_timesteps)
        alphas_cumprod = (1 - betas).cumprod(dim=0)
        if zero_terminal_snr:
            alphas_cumprod, betas = with_zero_terminal_snr(alphas_cumprod)
        self.betas = betas.tolist()  # for schedulers
        self.register_buffer("alphas_cumprod", alphas_cumprod.float(), persistent=False)
        if learned_variance:
            check_number("num_timesteps", num_timesteps, 2)
            self.register_buffer("posterior", posterior_table(betas), persistent=False)

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
        """Returns the target of the network's prediction."""
        if self.prediction == "eps":
            return eps
        if self.prediction == "x_0":
            return x_0
        a, s = self.coefficients(t, x_0)
        return a * eps - s * x_0

    def loss_weight(self, t: Tensor) -> Tensor | float:
        """Returns the weight of the squared error of the prediction at the steps ``t``, ``(B,)``."""
        if self.min_snr_gamma is None:
            return 1.0
        alpha_bar = self.alphas_cumprod[t]
        snr = alpha_bar / (1 - alpha_bar)
        weight = snr.clamp(max=self.min_snr_gamma)  # of x_0's error; those of eps and v are multiples of it
        return weight if self.prediction == "x_0" else weight / (snr + 1 if self.prediction == "v" else snr)

    def variance_loss(
        self, x_0: Tensor, t: Tensor, x_t: Tensor, prediction: Tensor, variance: Tensor
    ) -> Tensor:
        """Returns the loss of learnt variances, ``(B,)``; its gradient does not reach the prediction.

        Args:
            x_0: Data, ``(B, ...)``.
            t: Steps, ``(B,)``.
            x_t: Noised data.
            prediction: First half of the network's outputs.
            variance: Second half.
        """
        estimate = self.to_x_0(prediction.detach(), x_t, t)
        bound = variational_bound(self.posterior, t, x_t, x_0, estimate, variance)
        return VLB_WEIGHT * self.num_timesteps * bound  # t is drawn: the bound is the sum over all

    def correlate(self, noise: Tensor) -> Tensor:
        """Correlates independent noise of frames, ``(B, C, F, H, W)``, as ``frame_noise`` says.

        Every value stays standard normal. Noise of other shapes or of a single frame is returned as it is.
        """
        if self.frame_noise == "independent" or noise.dim() != 5 or noise.shape[2] == 1:
            return noise
        place = torch.arange(noise.shape[2], dtype=torch.double)
        ratio = self.frame_noise_alpha**2
        if self.frame_noise == "mixed":
            covariance = (ratio + torch.eye(len(place), dtype=torch.double)) / (1 + ratio)
        else:
            covariance = math.sqrt(ratio / (1 + ratio)) ** (place[:, None] - place).abs()
        factor = torch.linalg.cholesky(covariance).to(noise)
        return torch.einsum("fg,bcghw->bcfhw", factor, noise)

    def to_x_0(self, prediction: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Turns the network's prediction at ``x_t`` into ``x_0``."""
        if self.prediction == "x_0":
            return prediction
        a, s = self.coefficients(t, x_t)
        if self.prediction == "v":
            return a * x_t - s * prediction
        return (x_t - s * prediction) / a
