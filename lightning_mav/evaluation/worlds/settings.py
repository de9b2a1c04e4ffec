"""Settings of evaluations on a world: what all share, and how many prompts, renders and steps micro has."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...stage_table import KEY_FRAMES
from ...utils.numbers import MAX_COUNT, MAX_SEED, check_number, in_range
from ...utils.settings import read_settings


@dataclass
class SamplingSettings:
    """What the settings of every world say about sampling; all numbers beside these are counts."""

    seed: int = 0
    fps: float = 6.0
    frame_skip: int = 5
    steps: int | None = None
    batch_size: int = 16

    def __post_init__(self) -> None:
        ranges = self.ranges()
        for name, value in vars(self).items():
            if isinstance(value, int | float):
                check_number(name, value, *ranges.get(name, (1, MAX_COUNT)))

    def ranges(self) -> dict[str, tuple[float, float]]:
        """Returns the ranges of all numbers that are no counts."""
        return {"seed": (0, MAX_SEED), "fps": (1, 30), "steps": (1, 1000), "frame_skip": (2, KEY_FRAMES - 1)}

    @property
    def fast_fps(self) -> float:
        """Frame rate after interpolation."""
        return self.fps * self.frame_skip


@dataclass
class MicroSettings(SamplingSettings):
    """Settings of the micro-world evaluation; ``configs/eval/micro.yaml`` explains each."""

    num_per_class: int = 16
    num_between_per_class: int = 8
    num_final_per_class: int = 4
    final_stride: int = 5
    num_renders: int = 288
    num_final_renders: int = 96
    num_untrained: int = 12
    speed_fps: list[float] = field(default_factory=lambda: [10.0, 15.0, 24.0])
    num_speed_per_class: int = 8
    num_speed_renders: int = 384
    num_clip_renders: int = 2
    num_windows: int = 24
    num_sr_videos: int = 12
    num_sr_images: int = 24
    num_noise_videos: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        rates = self.speed_fps
        if not rates or not all(in_range(fps, 1, 1000) for fps in rates) or self.fps in rates:
            raise ValueError(f"speed_fps must be rates of 1 or more, other than fps, got {self.speed_fps}")

    @property
    def rates(self) -> list[float]:
        """Frame rates at which speeds are compared."""
        return [self.fps, *self.speed_fps]


def load_micro_settings(path: Path, **overrides: Any) -> MicroSettings:
    """Reads settings from a YAML file; ``overrides`` replace values of the file.

    Raises:
        UsageError: If a key or a value is wrong.
    """
    return read_settings(MicroSettings, path, **overrides)
