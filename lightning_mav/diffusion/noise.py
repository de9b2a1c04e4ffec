"""Noise for sampling: generators, seeds, and noise that frames or windows share."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ..utils.numbers import seed_from

# Maps the number of a draw, from 0, and a shape to noise that broadcasts to this shape.
StepNoise = Callable[[int, tuple[int, ...]], Tensor]


def sample_noise(shape: Sequence[int], like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draws normal noise on the generator's device, so that every device starts from the same noise."""
    device = generator.device if generator is not None else like.device
    return torch.randn(shape, generator=generator, device=device).to(like.device)


def fork_seed(generator: torch.Generator | None) -> int:
    """Derives a seed from the generator's state without changing that state.

    Without a generator the seed is drawn from torch's own.
    """
    if generator is None:
        return int(torch.randint(2**62, ()))
    fork = torch.Generator(generator.device)
    fork.set_state(generator.get_state())
    return int(torch.randint(2**62, (), generator=fork, device=generator.device))


@dataclass(frozen=True)
class SeededNoise:
    """Step noise in slices, each of which depends on its place, the draw and the seed alone.

    So the noise of a frame or a window is the same whatever else is processed beside it.

    Args:
        seed: Seed of all slices.
        places: The places of the slices along ``dim``. With one place, all slices share its noise.
        dim: Dimension along which slices lie.
    """

    seed: int
    places: Iterable[int]
    dim: int

    def __call__(self, draw: int, shape: tuple[int, ...]) -> Tensor:
        """Returns the noise of a draw, of ``shape``, or with a size of 1 along ``dim`` where it is shared."""
        one = [1 if i == self.dim else size for i, size in enumerate(shape)]
        return torch.cat([self._slice(draw, place, one) for place in self.places], dim=self.dim)

    def _slice(self, draw: int, place: int, shape: list[int]) -> Tensor:
        generator = torch.Generator().manual_seed(seed_from(self.seed, draw, place))
        return torch.randn(shape, generator=generator)


class StepNoiseMode(TorchFunctionMode):
    """Gives ``step_noise`` to whatever draws normal noise within its context.

    Every scheduler calls ``torch.randn`` inside ``step``, but they differ in how, or whether, they accept
    noise from outside. So the call itself is replaced, in this thread and context only.

    Args:
        step_noise: Where the noise comes from.
    """

    def __init__(self, step_noise: StepNoise) -> None:
        super().__init__()
        self.step_noise = step_noise
        self.num_draws = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Replaces ``torch.randn`` and ``torch.randn_like``; everything else stays as it is."""
        kwargs = kwargs or {}
        if func is torch.randn_like:
            shape, like = args[0].shape, {"device": args[0].device, "dtype": args[0].dtype}
        elif func is torch.randn:
            shape = kwargs["size"] if "size" in kwargs else args[0] if isinstance(args[0], Sequence) else args
            like = {}
        else:
            return func(*args, **kwargs)
        noise = self.step_noise(self.num_draws, tuple(shape))
        self.num_draws += 1
        like |= {key: kwargs[key] for key in ("device", "dtype") if kwargs.get(key) is not None}
        return noise.to(**like).expand(shape)
