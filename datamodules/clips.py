"""Which frames of a video make a clip: a frame rate drawn at random, and where the clip starts."""

from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from lightning_mav.utils.numbers import Checked, in_range

Start = Literal["random", "first"]


class ClipSampler(Checked):
    """Chooses frames at a frame rate drawn with a beta distribution between two bounds.

    Make-A-Video trains its decoder from high frame rates (little motion) to low ones (much); ``final_beta``
    moves the distribution that way over the first ``beta_batches`` batches.

    Args:
        num_frames: Frames of a clip.
        fps_range: Lowest and highest frame rate.
        beta: Both parameters of the beta distribution over that range; (1, 1) is uniform, (3, 1) mostly high.
        final_beta: Parameters at the end of that change; if None, the distribution stays as it is.
        beta_batches: Number of batches until ``final_beta`` is reached.
        mixed_batches: Length of a training in batches. If set, training draws the same frame rates overall,
            but in random order: each clip takes the distribution of one of these batches, chosen at random.
            0 for the order above.
        even_spacing: Whether to take every n-th frame, so that motion is even where the drawn rate does not
            divide the video's; the nearest rate that divides it is taken.
        start: Where a clip starts: anywhere, or always at the first frame of its video. The second fits short
            animations, which have a beginning that says much about the rest.
    """

    def __init__(
        self,
        num_frames: int,
        *,
        fps_range: tuple[float, float] = (1.0, 30.0),
        beta: tuple[float, float] = (1.0, 1.0),
        final_beta: tuple[float, float] | None = None,
        beta_batches: int = 0,
        mixed_batches: int = 0,
        even_spacing: bool = False,
        start: Start = "random",
    ) -> None:
        if num_frames < 2:
            raise ValueError(f"a clip has at least two frames, got {num_frames=}")
        if not (0 < fps_range[0] <= fps_range[1] and in_range(fps_range[1], 0)):
            raise ValueError(f"frame rates are positive, the lowest first, got {fps_range=}")
        if not all(in_range(value, 0) and value for value in (*beta, *(final_beta or beta))):
            raise ValueError(f"parameters of a beta distribution are positive, got {beta=}, {final_beta=}")
        if (final_beta is None) != (beta_batches <= 0):
            raise ValueError(f"final_beta and beta_batches go together, got {final_beta=}, {beta_batches=}")
        if mixed_batches < 0 or (mixed_batches and final_beta is None):
            raise ValueError(f"mixed_batches goes with final_beta, got {mixed_batches=}, {final_beta=}")
        if start not in get_args(Start):
            raise ValueError(f"start must be one of {get_args(Start)}, got {start!r}")
        self.num_frames = num_frames
        self.fps_range = fps_range
        self.beta = beta
        self.final_beta = final_beta
        self.beta_batches = beta_batches
        self.mixed_batches = mixed_batches
        self.even_spacing = even_spacing
        self.start = start

    def beta_at(self, batch: int) -> tuple[float, float]:
        """Returns the parameters of the beta distribution at a batch, counted from the start of training."""
        if self.final_beta is None:
            return self.beta
        share = min(1.0, batch / self.beta_batches)
        (a_0, b_0), (a_1, b_1) = self.beta, self.final_beta
        return a_0 + share * (a_1 - a_0), b_0 + share * (b_1 - b_0)

    def __call__(self, times: Tensor, rng: np.random.Generator, batch: int = 0) -> tuple[Tensor, float]:
        """Returns the indices ``(num_frames,)`` of a clip and its actual frame rate.

        Args:
            times: When each frame of the video is shown, ``(F,)`` in seconds.
            rng: Source of randomness.
            batch: Number of the batch that the clip is for.
        """
        num, steps = len(times), self.num_frames - 1
        if num <= steps:
            raise ValueError(f"too few frames: {num} of the {self.num_frames} of a clip")
        duration = float(times[-1] - times[0])
        if duration <= 0:
            raise ValueError(f"no duration: {num} frames last {duration} s")
        source_fps = (num - 1) / duration
        low, high = self.fps_range
        if self.mixed_batches:
            batch = int(rng.integers(self.mixed_batches))
        fps = low + (high - low) * rng.beta(*self.beta_at(batch))
        fps = min(max(fps, steps / duration), source_fps)
        if self.even_spacing:
            stride = min(max(1, round(source_fps / fps)), (num - 1) // steps)
            start = self._draw_start(num - stride * steps, rng)
            indices = start + stride * torch.arange(self.num_frames)
        else:
            last_start = times[-1] - steps / fps + 1e-6
            start = self._draw_start(int(torch.searchsorted(times, last_start, right=True)), rng)
            moments = times[start] + torch.arange(self.num_frames, dtype=times.dtype) / fps
            indices = torch.searchsorted((times[1:] + times[:-1]) / 2, moments)
        span = float(times[indices[-1]] - times[indices[0]])
        if span <= 0:
            raise ValueError(f"no duration: the clip starts and ends at {float(times[indices[0]])} s")
        return indices, steps / span

    def _draw_start(self, num: int, rng: np.random.Generator) -> int:
        """Returns the first frame of a clip that may start at any of the first ``num`` frames."""
        return 0 if self.start == "first" else int(rng.integers(num))
