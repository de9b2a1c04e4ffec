"""What a user may choose about how samples are drawn, the same for every stage."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..diffusion import SampleOptions
from ..stage_table import stages
from ..utils.errors import BadValueError
from ..utils.numbers import MAX_SEED, check_number, check_types, check_whole, seed_from


@dataclass(frozen=True)
class Sampling:
    """How the stages draw their samples.

    Every stage has a generator of its own, seeded from ``seed``, ``key`` and the stage's name. So
    changing the steps of one stage keeps the noise of the others, and a prompt gives the same video alone or
    beside other prompts.

    Args:
        seed: Seed, 0 or more.
        key: Distinguishes this sample from others of the same seed; the cascade uses the prompt.
        num_steps: Denoising steps, for all stages or by stage; a stage not named keeps its own number.
        guidance_scale: Classifier-free guidance, by stage; a plain number is the decoder's.
        progress: Called as ``progress(stage, done, total)`` after each step.
        finished: Called as ``finished(stage, video, fps)`` with what each stage of the cascade makes,
            ``(B, 3, F, H, W)`` on the CPU, as soon as it is there.

    Raises:
        ValueError: If a number is not finite or out of its range, or there is no stage of a name.

    Examples:
        >>> sampling = Sampling(seed=1, key="a red ball", num_steps={"decoder": 10}, guidance_scale=2.0)
        >>> sampling.arguments("decoder")["num_steps"], sampling.arguments("decoder")["guidance_scale"]
        (10, 2.0)
        >>> print(sampling.arguments("prior")["num_steps"])  # its own
        None
    """

    seed: int = 0
    key: str = ""
    num_steps: int | Mapping[str, int] | None = None
    guidance_scale: float | Mapping[str, float] | None = None
    progress: Callable[[str, int, int], None] | None = None
    finished: Callable[[str, Tensor, float], None] | None = None

    def __post_init__(self) -> None:
        check_types(type(self).__init__, vars(self))
        check_whole("seed", self.seed, 0, MAX_SEED)
        for name, values, check, low in (
            ("num_steps", self.num_steps, check_whole, 1),
            ("guidance_scale", self.guidance_scale, check_number, 0),
        ):
            by_stage = values if isinstance(values, Mapping) else {"clip": values}  # any name will do
            for stage, value in by_stage.items():
                if stage not in stages():
                    raise BadValueError(f"{name} must name some of {', '.join(stages())}, got {stage!r}")
                if value is not None:
                    check(name, value, low)

    def stage_seed(self, stage: str) -> int:
        """Returns the seed of one stage's generator."""
        return seed_from(self.seed, stage, self.key)

    def tell(self, stage: str, video: Tensor, fps: float) -> None:
        """Tells whoever wants to know that a stage of the cascade is finished."""
        if self.finished is not None:
            self.finished(stage, video, fps)

    def arguments(self, stage: str) -> SampleOptions:
        """Returns what the stage's ``sample`` takes besides its conditions."""
        steps, guidance = self.num_steps, self.guidance_scale
        if guidance is not None and not isinstance(guidance, Mapping):
            guidance = {"decoder": guidance}
        return {
            "num_steps": steps.get(stage) if isinstance(steps, Mapping) else steps,
            "guidance_scale": guidance.get(stage) if guidance else None,
            "generator": torch.Generator().manual_seed(self.stage_seed(stage)),
            "progress": functools.partial(self.progress, stage) if self.progress else None,
        }


DEFAULT = Sampling()


def chosen_seed(seed: int | None, generator: torch.Generator | None) -> int:
    """Returns the seed, one that a generator draws, or 0 if neither is given.

    Raises:
        ValueError: If both are given.
    """
    if generator is None:
        return 0 if seed is None else seed
    if seed is not None:
        raise ValueError("seed and generator both say what is drawn: give one of them")
    return int(torch.randint(2**31, (), generator=generator, device=generator.device))


def chosen_steps(
    num_steps: int | Mapping[str, int] | None, num_inference_steps: int | None
) -> int | Mapping[str, int] | None:
    """Returns the number of steps, which may be given by either name.

    Raises:
        ValueError: If it is given by both.
    """
    if num_inference_steps is None:
        return num_steps
    if num_steps is not None:
        raise ValueError("num_steps and num_inference_steps are the same: give one of them")
    return num_inference_steps
