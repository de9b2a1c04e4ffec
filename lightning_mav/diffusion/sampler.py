"""Sampling: from noise to ``x_0`` with any of diffusers' schedulers."""

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..configured import Configured
from .gaussian import GaussianDiffusion

Progress = Callable[[int, int], None]


class Sampler(Configured):
    """Draws samples with a scheduler of diffusers (DDPM, DDIM, DPM-Solver++, ...).

    The scheduler is always given ``x_0``, so that every parametrisation works with every scheduler.

    Args:
        scheduler: Import path of the scheduler class.
        num_steps: Denoising steps, unless the caller asks for another number.
        guidance_scale: Classifier-free guidance, unless the caller asks for another; 1 is none.
        scheduler_args: Further arguments of the scheduler.

    Raises:
        ValueError: If there is no such scheduler, or ``num_steps`` is not positive.
    """

    def __init__(
        self,
        scheduler: str = "diffusers.DPMSolverMultistepScheduler",
        *,
        num_steps: int = 20,
        guidance_scale: float = 1.0,
        scheduler_args: dict[str, Any] | None = None,
    ) -> None:
        # Not any import path: a weights file names the scheduler, and must not run other code.
        if not scheduler.startswith("diffusers.") or not scheduler.endswith("Scheduler"):
            raise ValueError(
                f"scheduler must be one of diffusers', e.g. diffusers.DDIMScheduler, got {scheduler!r}"
            )
        if num_steps < 1:
            raise ValueError(f"num_steps must be at least 1, got {num_steps}")
        self.scheduler = scheduler
        self.num_steps = num_steps
        self.guidance_scale = guidance_scale
        self.scheduler_args = scheduler_args or {}

    def build_scheduler(self, diffusion: GaussianDiffusion) -> Any:
        """Returns the scheduler on the betas of ``diffusion``.

        Raises:
            ValueError: If diffusers has no such scheduler.
        """
        module, _, name = self.scheduler.rpartition(".")
        cls = getattr(importlib.import_module(module), name, None)
        if cls is None:
            raise ValueError(f"diffusers has no scheduler {name!r}")
        defaults = {"prediction_type": "sample", "clip_sample": False, "timestep_spacing": "trailing"}
        known = inspect.signature(cls.__init__).parameters
        kwargs = {key: value for key, value in defaults.items() if key in known} | self.scheduler_args
        return cls(num_train_timesteps=diffusion.num_timesteps, trained_betas=diffusion.betas, **kwargs)

    def sample(
        self,
        predict_x_0: Callable[[Tensor, Tensor], Tensor],
        noise: Tensor,
        diffusion: GaussianDiffusion,
        *,
        num_steps: int | None = None,
        generator: torch.Generator | None = None,
        progress: Progress | None = None,
    ) -> Tensor:
        """Denoises ``noise``, of any shape ``(B, ...)``, to a sample of the same shape.

        Args:
            predict_x_0: Maps ``x_t`` and steps ``(B,)`` to ``x_0``, guidance included.
            noise: ``x_T``.
            diffusion: The forward process that the network was trained on.
            num_steps: Denoising steps.
            generator: Source of the noise that stochastic schedulers add.
            progress: Called with the steps done and their total after each.
        """
        scheduler = self.build_scheduler(diffusion)
        scheduler.set_timesteps(num_steps or self.num_steps)
        if hasattr(scheduler, "set_begin_index"):
            # Else it looks its place up by timestep, of which uneven spacing can have two alike.
            scheduler.set_begin_index(0)
        step_kwargs: dict[str, Any] = {"return_dict": False}
        if "generator" in inspect.signature(scheduler.step).parameters:
            step_kwargs["generator"] = generator
        x_t = noise * scheduler.init_noise_sigma
        timesteps = scheduler.timesteps
        for done, t in enumerate(timesteps, start=1):
            steps = torch.full((len(x_t),), int(t), device=x_t.device)
            x_0 = predict_x_0(scheduler.scale_model_input(x_t, t), steps)
            x_t = scheduler.step(x_0, t, x_t, **step_kwargs)[0]
            if progress is not None:
                progress(done, len(timesteps))
        return x_t
