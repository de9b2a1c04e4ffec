"""What all generators of the cascade share: a network, its diffusion and how to sample from it."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..diffusion import GaussianDiffusion, Progress, SampleOptions, Sampler
from ..utils.configured import Configured
from ..utils.errors import UsageError


class DiffusionModel(nn.Module, Configured):
    """A network with the diffusion that it was trained on; one subclass per stage, one weights file each.

    Args:
        net: Denoiser, called as ``net(x_t, t, **cond)``, or as ``net(x_t, t, conditions=...)`` with what its
            ``conditions(**cond)`` computed once for all steps.
        diffusion: Forward process.
        sampler: Scheduler, number of steps, guidance and thresholding to sample with.

    Raises:
        ValueError: If the sampler does not start where a schedule with zero terminal SNR ends.
    """

    # Sampling keeps x_0 within [-limit, limit]: pixels here, whitened embeddings in the prior.
    limit = 1.0
    # Whether each frame is a sample of its own, independent of the frames sampled beside it.
    frame_by_frame = False

    def __init__(self, net: nn.Module, diffusion: GaussianDiffusion, sampler: Sampler) -> None:
        super().__init__()
        if diffusion.zero_terminal_snr and sampler.scheduler_args.get("timestep_spacing") == "leading":
            raise ValueError(
                "with zero_terminal_snr sampling starts at the last step (Lin et al., 2023, section 3.3): "
                "timestep_spacing must be 'trailing', got 'leading'"
            )
        self.net = net
        self.diffusion = diffusion
        self.sampler = sampler

    def loss(self, x_0: Tensor, **cond: Any) -> Tensor:
        """Returns the mean of the ``errors``, a scalar."""
        return self.errors(x_0, **cond).mean()

    def errors(
        self, x_0: Tensor, *, t: Tensor | None = None, eps: Tensor | None = None, **cond: Any
    ) -> Tensor:
        """Returns the mean squared error of the prediction for each sample, ``(B,)``, weighted by its step.

        The loss of variances is added, if they are learnt.

        Args:
            x_0: Data, ``(B, ...)``.
            t: Steps, ``(B,)``; drawn if not given.
            eps: Noise of the shape of ``x_0``; drawn if not given.
            cond: Conditions of the network.
        """
        t = self.diffusion.sample_timesteps(len(x_0), x_0.device) if t is None else t
        eps = self.diffusion.correlate(torch.randn_like(x_0)) if eps is None else eps
        x_t = self.diffusion.q_sample(x_0, t, eps)
        prediction, variance = self._predict(x_t, t, **cond)
        errors = squared_errors(prediction, self.diffusion.target(x_0, t, eps))
        errors = errors * self.diffusion.loss_weight(t)
        if variance is not None:
            errors = errors + self.diffusion.variance_loss(x_0, t, x_t, prediction, variance)
        return errors

    def predict_x_0(self, x_t: Tensor, t: Tensor, conditions: Any, guidance_scale: float = 1.0) -> Tensor:
        """Returns the guided estimate of ``x_0``, thresholded, of the shape of ``x_t``.

        If variances are learnt, they follow as further channels; they are not guided.

        Args:
            x_t: Noised data, ``(B, ...)``.
            t: Steps, ``(B,)``.
            conditions: Result of the network's ``conditions``; with guidance, for ``guided`` conditions.
            guidance_scale: Classifier-free guidance (Ho and Salimans, 2022); 1 is none.
        """
        if guidance_scale == 1.0:
            prediction, variance = self._predict(x_t, t, conditions=conditions)
        else:  # both halves in one batch
            both, variance = self._predict(torch.cat([x_t, x_t]), torch.cat([t, t]), conditions=conditions)
            conditional, unconditional = both.chunk(2)
            variance = None if variance is None else variance[: len(conditional)]
            prediction = torch.lerp(unconditional, conditional, guidance_scale)
            if self.sampler.guidance_rescale:
                scale = self._std(conditional) / self._std(prediction)
                prediction = prediction * torch.lerp(
                    torch.ones_like(scale), scale, self.sampler.guidance_rescale
                )
        x_0 = self.diffusion.to_x_0(prediction, x_t, t)
        if self.frame_by_frame:
            frames = self.sampler.clip(x_0.transpose(1, 2).flatten(0, 1), self.limit)
            x_0 = frames.unflatten(0, (len(x_0), -1)).transpose(1, 2)
        else:
            x_0 = self.sampler.clip(x_0, self.limit)
        return x_0 if variance is None else torch.cat([x_0, variance], dim=1)

    def _predict(self, x_t: Tensor, t: Tensor, **cond: Any) -> tuple[Tensor, Tensor | None]:
        """Returns the network's prediction at ``x_t``, ``(B, ...)``, and its variances, in single precision.

        Raises:
            UsageError: If a user's network gives another shape, which might be broadcast silently.
        """
        prediction = self.net(x_t, t, **cond)
        shape = prediction.shape if isinstance(prediction, Tensor) else None
        learns = self.diffusion.learned_variance
        wanted = torch.Size((len(x_t), (1 + learns) * x_t.shape[1], *x_t.shape[2:]))
        if shape and self.frame_by_frame and wanted[2] == 1 and len(shape) == len(wanted):
            wanted = torch.Size((*wanted[:2], shape[2], *wanted[3:]))  # one noise for all frames
        if shape != wanted:
            found = type(prediction).__name__ if shape is None else tuple(shape)
            raise UsageError(
                f"{type(self.net).__name__} returns {found} for x_t of {tuple(x_t.shape)}: it must return a "
                "tensor of " + ("twice as many channels" if learns else "the same shape")
            )
        prediction, *variance = prediction.float().chunk(1 + learns, dim=1)
        return prediction, variance[0] if variance else None

    def _std(self, x: Tensor) -> Tensor:
        """Returns the standard deviation of each sample of ``(B, ...)``, as ``(B, 1, ...)``."""
        dims = [d for d in range(1, x.dim()) if not (self.frame_by_frame and d == 2)]
        return x.std(dim=dims, keepdim=True)

    @torch.no_grad()
    def denoise(
        self, noise: Tensor, *, adjust: Callable[[Tensor, Tensor], Tensor] | None = None, **kwargs: Any
    ) -> Tensor:
        """Runs the sampler from independent ``noise``, ``(B, ...)``.

        Args:
            noise: ``x_T``.
            adjust: Maps each estimate of ``x_0`` and its steps ``(B,)`` to the estimate that is used instead.
            kwargs: Conditions of the network, ``(B, ...)``, and what ``SampleOptions`` has.
        """
        options = {name: kwargs.pop(name) for name in SampleOptions.__annotations__ if name in kwargs}
        cond: dict[str, Tensor | None] = kwargs
        scale = options.pop("guidance_scale", None)
        scale = self.sampler.guidance_scale if scale is None else scale
        plain = self.net.conditions(**cond) if scale == 1.0 or self.sampler.guidance_interval else None  # type: ignore[operator]
        conditions = plain if scale == 1.0 else self.net.conditions(**guided(cond, noise))  # type: ignore[operator]

        def predict(x_t: Tensor, t: Tensor) -> Tensor:
            if scale == 1.0 or not self.sampler.guides(self.diffusion, t):
                output = self.predict_x_0(x_t, t, plain)
            else:
                output = self.predict_x_0(x_t, t, conditions, scale)
            if adjust is None:
                return output
            x_0, variances = output.tensor_split([x_t.shape[1]], dim=1)
            return torch.cat([adjust(x_0, t), variances], dim=1)

        return self.sampler.sample(predict, self.diffusion.correlate(noise), self.diffusion, **options)


def squared_errors(a: Tensor, b: Tensor) -> Tensor:
    """Returns the mean squared difference of each pair of samples ``(B, ...)``, ``(B,)``."""
    return F.mse_loss(a, b, reduction="none").flatten(1).mean(dim=1)


def guided(cond: dict[str, Tensor | None], like: Tensor) -> dict[str, Tensor | None]:
    """Doubles the conditions of samples ``like``, ``(B, ...)``, and drops those of the second half."""
    twice = {key: value if value is None else torch.cat([value, value]) for key, value in cond.items()}
    drop = torch.arange(2 * len(like), device=like.device) >= len(like)
    return {**twice, "drop": drop}


def part_of(progress: Progress | None, i: int, num_parts: int) -> Progress | None:
    """Reports the steps of part ``i`` (a window, a chunk) after those of the parts before it."""
    if progress is None:
        return None
    return lambda done, total: progress(i * total + done, num_parts * total)
