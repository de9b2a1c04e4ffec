"""Which schedulers of diffusers sample right, and how each is built."""

import importlib
import inspect
from typing import Any

import torch

from ..utils.errors import BadValueError, first_line
from .gaussian import GaussianDiffusion

# Those that draw a known Gaussian from every parametrisation (tests/diffusion/test_schedulers.py).
SCHEDULERS = tuple(
    f"diffusers.{name}Scheduler"
    for name in (
        "DDIM", "DDPM", "DEISMultistep", "DPMSolverMultistep", "DPMSolverSinglestep",
        "EulerAncestralDiscrete", "EulerDiscrete", "SASolver", "UnCLIP", "UniPCMultistep",
    )
)  # fmt: skip
TAKES_EPS = ("diffusers.EulerAncestralDiscreteScheduler",)  # knows no x_0

# Scheduler arguments that would repeat or contradict other settings, and where those settings are.
SAID_BY = {
    **dict.fromkeys(
        ("num_train_timesteps", "trained_betas", "beta_schedule", "beta_start", "beta_end"),
        "schedule and num_timesteps of GaussianDiffusion",
    ),
    "rescale_betas_zero_snr": "zero_terminal_snr of GaussianDiffusion",
    "prediction_type": "prediction of GaussianDiffusion",
    **dict.fromkeys(("clip_sample", "clip_sample_range"), "threshold and threshold_range of Sampler"),
    **dict.fromkeys(
        ("thresholding", "dynamic_thresholding_ratio", "sample_max_value"),
        "threshold, threshold_percentile and threshold_max of Sampler",
    ),
}
# Arguments with which a scheduler of the list does not sample the data, or fails.
BROKEN = (
    ("use_beta_sigmas", True), ("use_flow_sigmas", True), ("interpolation_type", "log_linear"),
    ("solver_type", "bh1"), ("predict_x0", False), ("variance_type", "learned"),
    ("variance_type", "learned_range"),
)  # fmt: skip


def takes_variance(scheduler: str) -> bool:
    """Whether a scheduler adds noise of the variance that a network has learnt.

    DDPMScheduler would, too, but takes the upper end of the range from single steps, even where it skips
    some.
    """
    return scheduler == "diffusers.UnCLIPScheduler"


def check_steps(scheduler: str, num_steps: int) -> int:
    """Returns a number of steps, unless a scheduler cannot take it.

    Raises:
        ValueError: If it cannot.
    """
    if takes_variance(scheduler) and num_steps < 2:  # it goes from the last step to the first
        raise BadValueError(f"{scheduler} needs at least 2 steps, got {num_steps}")
    return num_steps


def check_arguments(scheduler: str, args: dict[str, Any]) -> None:
    """Checks the further arguments of a scheduler.

    Raises:
        ValueError: If one is not for the user to set, or the scheduler refuses it.
    """
    for name, value in args.items():
        if name in SAID_BY:
            raise ValueError(f"scheduler_args may not hold {name}: it is set by {SAID_BY[name]}")
        if (name, value) in BROKEN:
            raise ValueError(f"scheduler_args may not hold {name}={value!r}: it does not draw the data")
    try:
        build_scheduler(scheduler, GaussianDiffusion(), args)
    except (TypeError, ValueError, NotImplementedError, ImportError) as error:
        raise ValueError(f"{scheduler} refuses scheduler_args, got {args}: {first_line(error)}") from error


def step_arguments(scheduler: Any, args: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the further arguments of each step.

    Args:
        scheduler: The scheduler, with its timesteps set.
        args: Arguments of the user, of which those that ``step`` knows are taken.
    """
    known = inspect.signature(scheduler.step).parameters
    given = {key: value for key, value in args.items() if key in known}
    if "prev_timestep" not in known:
        return [given] * len(scheduler.timesteps)
    return [*(given | {"prev_timestep": after} for after in scheduler.timesteps[1:]), given]


def build_scheduler(scheduler: str, diffusion: GaussianDiffusion, args: dict[str, Any]) -> Any:
    """Returns a scheduler on the betas of ``diffusion``.

    Args:
        scheduler: One of ``SCHEDULERS``.
        diffusion: The forward process that the network was trained on.
        args: Further arguments of its constructor, or of its ``step``, which are left out here.
    """
    module, _, name = scheduler.rpartition(".")
    cls = getattr(importlib.import_module(module), name)
    known = inspect.signature(cls.__init__).parameters
    of_step = inspect.signature(cls.step).parameters
    defaults = {"clip_sample": False, "timestep_spacing": "trailing", "trained_betas": diffusion.betas}
    defaults["prediction_type"] = "epsilon" if scheduler in TAKES_EPS else "sample"
    kwargs = {key: value for key, value in defaults.items() if key in known}
    if takes_variance(scheduler) and diffusion.learned_variance:
        kwargs["variance_type"] = "learned_range"
    kwargs |= {k: v for k, v in args.items() if k in known or k not in of_step}
    built = cls(num_train_timesteps=diffusion.num_timesteps, **kwargs)
    if "trained_betas" not in known:  # it knows the cosine schedule alone
        built.betas = torch.tensor(diffusion.betas)
        built.alphas = 1 - built.betas
        built.alphas_cumprod = built.alphas.cumprod(dim=0)
    return built
