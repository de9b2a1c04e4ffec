"""Sampling: from noise to ``x_0`` with diffusers' schedulers."""

from collections.abc import Callable, Sequence
from typing import Any, TypedDict, get_args

import torch
from torch import Tensor

from ..utils.configured import Configured
from ..utils.numbers import check_number, check_whole
from .gaussian import GaussianDiffusion
from .noise import StepNoise, StepNoiseMode, sample_noise
from .schedulers import (
    SCHEDULERS,
    TAKES_EPS,
    build_scheduler,
    check_arguments,
    check_steps,
    step_arguments,
    takes_variance,
)
from .threshold import Threshold, apply_threshold

Progress = Callable[[int, int], None]


class SampleOptions(TypedDict, total=False):
    """What every ``sample`` of ``lightning_mav.models`` takes by name besides its conditions.

    Attributes:
        num_steps: Denoising steps; None takes the sampler's number.
        guidance_scale: Classifier-free guidance, 1 for none; None takes the sampler's.
        generator: Source of all noise; None draws from torch's global one.
        step_noise: Noise that stochastic schedulers add at each step, such as noise that frames share; None
            draws it from the generator.
        progress: Called with the steps done and their total after each.
    """

    num_steps: int | None
    guidance_scale: float | None
    generator: torch.Generator | None
    step_noise: StepNoise | None
    progress: Progress | None


class Sampler(Configured):
    """Draws samples with a scheduler of diffusers.

    ``SCHEDULERS`` lists those that work. The network's prediction becomes ``x_0``, which is thresholded and
    then given to the scheduler; so every parametrisation works with every scheduler of the list.

    Args:
        scheduler: Import path of the scheduler class.
        num_steps: Denoising steps, unless the caller asks for another number.
        guidance_scale: Classifier-free guidance, unless the caller asks for another; 1 is none.
        scheduler_args: Further arguments of the scheduler, or of its ``step``, such as ``eta`` of DDIM.
        threshold: How ``x_0`` is kept in its range, see ``apply_threshold``.
        threshold_range: The range's upper end; None takes the stage's own: 1 for pixels, 5 for the prior's
            whitened embeddings.
        threshold_percentile: Of ``dynamic``.
        threshold_max: Of ``dynamic``.
        guidance_rescale: Share of a guided prediction that is scaled back to the standard deviation of the
            conditional one, 0 to 1 (Lin et al., 2023, section 3.4).
        guidance_interval: Noise levels ``sqrt((1 - alpha_bar) / alpha_bar)``, lower and upper end, between
            which there is guidance; None guides at every step (Kynkaanniemi et al., 2024).

    Raises:
        ValueError: If an argument is out of range, the scheduler is not in the list or refuses its arguments.

    Examples:
        >>> sampler, diffusion = Sampler("diffusers.DDIMScheduler", num_steps=5), GaussianDiffusion()
        >>> truth = torch.full((2, 3, 8, 8), 0.5)
        >>> sample = sampler.sample(lambda x_t, t: truth, torch.randn(2, 3, 8, 8), diffusion)
        >>> torch.allclose(sample, truth, atol=0.02)
        True
    """

    def __init__(
        self,
        scheduler: str = "diffusers.DPMSolverMultistepScheduler",
        *,
        num_steps: int = 20,
        guidance_scale: float = 1.0,
        scheduler_args: dict[str, Any] | None = None,
        threshold: Threshold = "static",
        threshold_range: float | None = None,
        threshold_percentile: float = 0.995,
        threshold_max: float | None = None,
        guidance_rescale: float = 0.0,
        guidance_interval: Sequence[float] | None = None,
    ) -> None:
        # Not any import path: a weights file names the scheduler, and must not run other code.
        if scheduler not in SCHEDULERS:
            raise ValueError(f"scheduler must be one of {', '.join(SCHEDULERS)}, got {scheduler!r}")
        check_number("num_steps", num_steps, 1)
        if threshold not in get_args(Threshold):
            raise ValueError(f"threshold must be one of {', '.join(get_args(Threshold))}, got {threshold!r}")
        if not 0 < threshold_percentile <= 1:
            raise ValueError(
                f"threshold_percentile must be above 0 and at most 1, got {threshold_percentile}"
            )
        for name, value in (("threshold_range", threshold_range), ("threshold_max", threshold_max)):
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be positive, got {value}")
        check_number("guidance_rescale", guidance_rescale, 0, 1)
        if guidance_interval is not None and (
            len(guidance_interval) != 2 or not 0 <= guidance_interval[0] < guidance_interval[1]
        ):
            raise ValueError(f"guidance_interval must be two rising noise levels, got {guidance_interval}")
        self.scheduler = scheduler
        self.num_steps = num_steps
        self.guidance_scale = guidance_scale
        self.scheduler_args = scheduler_args or {}
        self.threshold: Threshold = threshold
        self.threshold_range = threshold_range
        self.threshold_percentile = threshold_percentile
        self.threshold_max = threshold_max
        self.guidance_rescale = guidance_rescale
        self.guidance_interval = guidance_interval
        check_steps(scheduler, num_steps)
        if scheduler_args:
            check_arguments(scheduler, scheduler_args)

    def build_scheduler(self, diffusion: GaussianDiffusion) -> Any:
        """Returns the scheduler on the betas of ``diffusion``."""
        return build_scheduler(self.scheduler, diffusion, self.scheduler_args)

    def clip(self, x_0: Tensor, limit: float) -> Tensor:
        """Thresholds estimates ``(B, ...)``; ``limit`` is the stage's own range."""
        limit = limit if self.threshold_range is None else self.threshold_range
        percentile, maximum = self.threshold_percentile, self.threshold_max
        return apply_threshold(x_0, self.threshold, limit, percentile=percentile, maximum=maximum)

    def guides(self, diffusion: GaussianDiffusion, t: Tensor) -> bool:
        """Whether there is guidance at the steps ``t``, ``(B,)``, all of them the same."""
        if self.guidance_interval is None:
            return True
        low, high = self.guidance_interval
        alpha_bar = float(diffusion.alphas_cumprod[t[0]])
        return low**2 * alpha_bar <= 1 - alpha_bar <= high**2 * alpha_bar

    def sample(
        self,
        predict_x_0: Callable[[Tensor, Tensor], Tensor],
        noise: Tensor,
        diffusion: GaussianDiffusion,
        *,
        num_steps: int | None = None,
        generator: torch.Generator | None = None,
        step_noise: StepNoise | None = None,
        progress: Progress | None = None,
    ) -> Tensor:
        """Denoises ``noise``, of any shape ``(B, ...)``, to a sample of the same shape.

        Args:
            predict_x_0: Maps ``x_t`` and steps ``(B,)`` to ``x_0``, guidance included; learned variances
                follow as further channels.
            noise: ``x_T``.
            diffusion: The forward process that the network was trained on.
            num_steps: See ``SampleOptions``, also for the arguments below.
            generator: Source of the noise of the steps.
            step_noise: The noise of the steps, instead of ``generator``.
            progress: Called after each step.

        Raises:
            ValueError: If there are more steps than the forward process has.
        """
        scheduler, num_steps = self.build_scheduler(diffusion), num_steps or self.num_steps
        check_whole("num_steps", num_steps, 1, diffusion.num_timesteps)
        scheduler.set_timesteps(check_steps(self.scheduler, num_steps))
        if hasattr(scheduler, "set_begin_index"):
            # Else it finds its place by timestep, and uneven spacing can repeat a timestep.
            scheduler.set_begin_index(0)

        def drawn(draw: int, shape: tuple[int, ...]) -> Tensor:
            fresh = sample_noise(shape, noise, generator) if step_noise is None else step_noise(draw, shape)
            return diffusion.correlate(fresh)

        x_t = noise * scheduler.init_noise_sigma
        timesteps, mode = scheduler.timesteps, StepNoiseMode(drawn)
        step_args = step_arguments(scheduler, self.scheduler_args)
        for done, (t, args) in enumerate(zip(timesteps, step_args, strict=True), start=1):
            steps = torch.full((len(x_t),), int(t), device=x_t.device)
            x_in = scheduler.scale_model_input(x_t, t)
            output = predict_x_0(x_in, steps)
            estimate = output[:, : x_t.shape[1]]
            if x_t.shape != estimate.shape:  # one noise for all frames; some schedulers write into x_t
                x_t = x_t.expand_as(estimate).contiguous()
            if self.scheduler in TAKES_EPS:
                a, s = diffusion.coefficients(steps, x_in)
                estimate = (x_in - a * estimate) / s
            with mode:
                estimate = output if takes_variance(self.scheduler) else estimate
                x_t = scheduler.step(estimate, t, x_t, return_dict=False, **args)[0]
            if progress is not None:
                progress(done, len(timesteps))
        return x_t
