"""Unlabelled videos as video2dataset writes them: tar files of ``KEY.mp4`` and ``KEY.json``."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_mav.data.codecs.decode import MAX_VIDEO_BYTES, MAX_WORK, VIDEO_FORMATS, decode_video
from lightning_mav.data.codecs.pixels import from_uint8
from lightning_mav.data.shards.reader import Sample, find_suffix
from lightning_mav.datamodules.base import Batch, ShardsDataModule
from lightning_mav.datamodules.clips import ClipSampler, Start
from lightning_mav.datamodules.image_text import crop
from lightning_mav.datamodules.store import Stored
from lightning_mav.utils.numbers import check_number


class VideoShards(ShardsDataModule):
    """Reads clips at random frame rates: ``video (B, 3, F, H, W)`` in [-1, 1] and ``fps (B,)``.

    Captions are never read: only the video of each sample is opened. Frame rates come from its frame times.

    Args:
        urls: Shards to train on, see ``ShardsDataModule``.
        num_frames: Frames of a clip.
        fps_range: Lowest and highest frame rate; a short or slow video may not allow all of it.
        beta: Parameters of the beta distribution over that range; (1, 1) is uniform, (3, 1) mostly high.
        final_beta: Parameters that the distribution moves to; it stays as it is if None.
        beta_batches: Number of batches until ``final_beta`` is reached.
        mixed_batches: Batches whose distributions are drawn in random order instead, see ``ClipSampler``.
        even_spacing: Whether to take every n-th frame, at the nearest frame rate that this allows.
        start: Whether clips start anywhere or at the first frame of their video, see ``ClipSampler``.
        max_seconds: CPU seconds of decoding after which a video is skipped.
        batch_size: Clips per batch and device.
        kwargs: See ``ShardsDataModule``.
    """

    kind = "video"
    suffixes = frozenset(VIDEO_FORMATS)
    max_member_bytes = MAX_VIDEO_BYTES
    remedy = "make them with 'mav data pack' or video2dataset, or with 'mav world' or 'mav world emoji'"

    def __init__(
        self,
        urls: str | dict[str, Any],
        *,
        num_frames: int = 16,
        fps_range: tuple[float, float] = (1.0, 30.0),
        beta: tuple[float, float] = (1.0, 1.0),
        final_beta: tuple[float, float] | None = None,
        beta_batches: int = 0,
        mixed_batches: int = 0,
        even_spacing: bool = False,
        start: Start = "random",
        max_seconds: float = MAX_WORK,
        batch_size: int = 8,
        **kwargs: Any,
    ) -> None:
        super().__init__(urls, batch_size=batch_size, **kwargs)
        check_number("max_seconds", max_seconds, 0)
        self.max_seconds = max_seconds
        self.choose = ClipSampler(
            num_frames,
            fps_range=fps_range,
            beta=beta,
            final_beta=final_beta,
            beta_batches=beta_batches,
            mixed_batches=mixed_batches,
            even_spacing=even_spacing,
            start=start,
        )

    def decode(self, sample: Sample) -> dict[str, Any]:
        """Decodes all frames of a video that is long enough for a clip, and their times."""
        suffix = find_suffix(sample, VIDEO_FORMATS)
        frames, times = decode_video(sample[suffix], suffix, self.image_size, max_seconds=self.max_seconds)
        self.choose(times, np.random.default_rng(0))
        return {"frames": frames, "times": times}

    def example(self, sample: Sample, rng: np.random.Generator, batch: int) -> dict[str, Any]:
        """Decodes the frames of a random clip."""
        suffix = find_suffix(sample, VIDEO_FORMATS)
        fps = 0.0

        def choose(times: Tensor) -> Tensor:
            nonlocal fps
            indices, fps = self.choose(times, rng, batch)
            return indices

        seconds = self.max_seconds
        frames, _ = decode_video(sample[suffix], suffix, self.image_size, choose, max_seconds=seconds)
        return {"frames": crop(frames, self.crop_size, rng), "fps": fps}

    def stored_example(self, stored: Stored, rng: np.random.Generator, batch: int) -> dict[str, Any]:
        """Takes a random clip of a decoded video."""
        indices, fps = self.choose(stored["times"], rng, batch)
        return {"frames": crop(stored["frames"][indices], self.crop_size, rng), "fps": fps}

    def collate(self, examples: list[dict[str, Any]]) -> Batch:
        """Stacks clips."""
        video = torch.stack([example["frames"] for example in examples]).transpose(1, 2).contiguous()
        return {"video": from_uint8(video), "fps": torch.tensor([example["fps"] for example in examples])}

    def store_settings(self) -> dict[str, Any]:
        """Returns all settings that the store depends on; videos too short for a clip are left out of it."""
        return {
            "kind": self.kind,
            "image_size": self.image_size,
            "min_frames": self.choose.num_frames,
            "max_seconds": self.max_seconds,
        }
