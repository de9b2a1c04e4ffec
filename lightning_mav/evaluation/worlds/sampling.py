"""Samples from a cascade in batches, and from a decoder whose temporal layers are untrained."""

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch
from torch import Tensor

from ...cascade import Cascade
from ...models import Decoder
from ...models.sampling import Sampling
from ...utils.configured import from_config
from ...utils.precision import autocast_context
from .settings import SamplingSettings

Progress = Callable[[str, int, int], None]


def part_of(progress: Progress | None, name: str) -> Callable[[int, int], None] | None:
    """Returns ``progress(done, total)`` of a part of the work."""
    return None if progress is None else lambda done, total: progress(name, done, total)


Settings = TypeVar("Settings", bound=SamplingSettings)


@dataclass
class CascadeSampler(Generic[Settings]):
    """Samples from a cascade in batches: seeded, timed and with progress.

    Args:
        cascade: Stages to judge.
        settings: Settings of the evaluation.
        progress: Called as ``progress(part, done, total)``.
        seconds: Time that each part took.
    """

    cascade: Cascade
    settings: Settings
    progress: Progress | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    def generator(self, part: str) -> torch.Generator:
        """Returns the source of randomness of a part of the evaluation."""
        return torch.Generator().manual_seed(Sampling(self.settings.seed).stage_seed(part))

    def batches(
        self, part: str, num: int, size: int | None = None, noise: str | None = None
    ) -> Iterator[tuple[slice, Sampling]]:
        """Yields slices of ``num`` rows and how to sample each; parts of equal ``noise`` share noise."""
        start = time.perf_counter()
        size = size or self.settings.batch_size
        starts = range(0, num, size)
        for i, row in enumerate(starts):
            progress = self._counted(part, i, len(starts))
            key = f"{noise or part} {i}"
            yield (
                slice(row, min(row + size, num)),
                Sampling(self.settings.seed, key, self.settings.steps, progress=progress),
            )
        self.seconds[part] = round(time.perf_counter() - start, 2)

    def embeds(self, texts: list[str]) -> Tensor:
        """Samples image embeddings ``(N, D)``."""
        rows = self.batches("prior", len(texts))
        return torch.cat([self.cascade.embed(texts[part], sampling).cpu() for part, sampling in rows])

    def images(self, image_embed: Tensor) -> Tensor:
        """Samples stills ``(N, 3, 1, S, S)`` with the decoder."""
        decoder, device, stills = self.cascade.decoder, self.cascade.device, []
        for part, sampling in self.batches("image", len(image_embed), 4 * self.settings.batch_size):
            with torch.inference_mode(), autocast_context(device):
                arguments = sampling.arguments("decoder")
                still = decoder.sample(image_embed[part].to(device), None, num_frames=1, **arguments)
            stills.append(still.float().cpu())
        return torch.cat(stills)

    def key_frames(self, image_embed: Tensor, fps: float | None = None, *, untrained: bool = False) -> Tensor:
        """Samples key frames ``(N, 3, 16, S, S)``, with trained or with untrained temporal layers.

        The decoder starts from the same noise at every frame rate, so that rates can be compared clip by
        clip. The untrained one ignores the rate and would repeat its videos, so it gets new noise at each.
        """
        cascade, fps = self.cascade, fps or self.settings.fps
        name = "untrained" if untrained else "decoder"
        part = name if fps == self.settings.fps else f"{name} {fps:g} fps"
        if untrained:
            cascade = Cascade(cascade.clip, cascade.prior, without_time(cascade.decoder))
        batches = self.batches(part, len(image_embed), noise=part if untrained else name)
        return torch.cat(
            [
                cascade.decode(image_embed[rows].to(cascade.device), fps, sampling).cpu()
                for rows, sampling in batches
            ]
        )

    def between(self, video: Tensor, image_embed: Tensor, part: str = "interpolation") -> Tensor:
        """Interpolates key frames ``(N, 3, F, S, S)``."""
        settings, cascade, device = self.settings, self.cascade, self.cascade.device
        return torch.cat(
            [
                cascade.interpolate(
                    video[rows].to(device),
                    image_embed[rows].to(device),
                    settings.fast_fps,
                    settings.frame_skip,
                    sampling,
                ).cpu()
                for rows, sampling in self.batches(part, len(video))
            ]
        )

    def enlarge(
        self,
        video: Tensor,
        stage: str,
        part: str | None = None,
        size: int = 1,
        keep: Callable[[Tensor], Tensor] = Tensor.cpu,
    ) -> Tensor:
        """Upsamples ``(N, 3, F, S, S)`` with ``sr_lt`` or ``sr_h``, ``size`` videos at a time.

        ``keep`` maps what is made at a time to what is returned, such as bytes to save memory.
        """
        cascade, videos = self.cascade, []
        for rows, sampling in self.batches(part or stage, len(video), size):
            low = video[rows].to(cascade.device)
            if stage == "sr_lt":
                high = cascade.upsample_lt(low, self.settings.fast_fps, sampling)
            else:
                high = cascade.upsample_h(low, sampling)
            videos.append(keep(high.cpu()))
        return torch.cat(videos)

    def enlarge_per_frame(self, video: Tensor, stage: str, part: str | None = None) -> Tensor:
        """Upsamples each frame of ``(N, 3, F, S, S)`` alone, as a video of one frame with its own noise."""
        frames = video.transpose(1, 2).flatten(0, 1)[:, :, None]
        enlarged = self.enlarge(frames, stage, part, size=8)
        return enlarged[:, :, 0].unflatten(0, (len(video), -1)).transpose(1, 2)

    def _counted(self, part: str, i: int, num_parts: int) -> Progress | None:
        progress = self.progress
        if progress is None:
            return None
        return lambda _, done, total: progress(part, i * total + done, num_parts * total)


def without_time(decoder: Decoder) -> Decoder:
    """Returns a copy with the temporal layers at their initial values, so that frames are independent."""
    with torch.random.fork_rng(devices=[]):
        fresh = dict(from_config(decoder.net.config).named_parameters())
    decoder = copy.deepcopy(decoder)
    with torch.no_grad():
        for name, parameter in decoder.net.temporal_parameters():
            parameter.copy_(fresh[name])
    return decoder
