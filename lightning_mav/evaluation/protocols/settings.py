"""Settings of protocols; the files in ``configs/eval`` explain each of them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...stage_table import KEY_FRAMES, LAST, stages, stages_until
from ...utils.numbers import MAX_COUNT, MAX_GUIDANCE, MAX_SEED, check_number
from ...utils.paths import expanded
from ...utils.settings import read_settings
from .metrics import METRICS

RANGES = {
    "seed": (0, MAX_SEED),
    "fps": (1, 30),
    "frame_skip": (1, KEY_FRAMES - 1),
    "steps": (1, 1000),
    "guidance_scale": (0, MAX_GUIDANCE),
    "num_workers": (1, 1000),
    "num_videos": (0, MAX_COUNT),
    **dict.fromkeys(
        ("num_samples", "stride", "num_frames", "shard_size", "num_real", "num_frames_fid", "batch_size"),
        (1, MAX_COUNT),
    ),
    "num_resamples": (1, MAX_COUNT),
    "num_splits": (1, MAX_COUNT),
}
PATHS = ("data", "templates", "prompts", "features", "clip_file")


@dataclass
class ProtocolSettings:
    """Settings of a protocol."""

    protocol: str
    data: str | None = None
    templates: str | None = None
    prompts: str | None = None
    seed: int = 0
    num_samples: int | None = None
    fps: float = 6.0
    frame_skip: int = 5
    stride: int = 1
    num_frames: int = 16
    until: str = LAST
    steps: int | None = None
    guidance_scale: float | None = None
    shard_size: int = 64
    metrics: list[str] = field(default_factory=list)
    networks: dict[str, str] = field(default_factory=dict)
    features: str | None = None
    clip: str = "ViT-B-32-quickgelu"
    clip_file: str | None = None
    num_real: int | None = None
    num_frames_fid: int = 4
    num_splits: int = 10
    batch_size: int = 8
    num_workers: int = 4
    num_resamples: int = 1000
    num_videos: int = 64

    def __post_init__(self) -> None:
        for name in PATHS:
            if getattr(self, name) is not None:
                setattr(self, name, expanded(getattr(self, name)))
        for name, (low, high) in RANGES.items():
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), low, high)
        unknown = [name for name in self.metrics if name not in METRICS]
        if unknown or not self.metrics:
            raise ValueError(f"metrics are some of {', '.join(METRICS)}, got {', '.join(unknown) or 'none'}")
        unnamed = [
            name for name in self.metrics if METRICS[name].sees != "prompt" and name not in self.networks
        ]
        if unnamed:
            raise ValueError(f"networks names no feature network for {', '.join(unnamed)}")

        made = (KEY_FRAMES - 1) * self.step + 1
        if self.num_frames > -(-made // self.stride):
            raise ValueError(
                f"num_frames={self.num_frames} with stride={self.stride} are more than {made} give"
            )

    @property
    def video_fps(self) -> float:
        """Frame rate of the videos that are kept; real videos are read at the same rate."""
        return self.fps * self.step / self.stride

    @property
    def step(self) -> int:
        """Frames from one key frame to the next in the videos that are generated."""
        return self.frame_skip if any(stages()[name].adds_frames for name in stages_until(self.until)) else 1

    @property
    def comparing(self) -> list[str]:
        """Names of the metrics that compare samples with real videos."""
        return [METRICS[name].name for name in self.metrics if METRICS[name].needs_real]


def load_settings(path: Path, **overrides: Any) -> ProtocolSettings:
    """Reads settings from a YAML file; ``overrides`` replace values of the file.

    The path ``templates`` is relative to the folder of the file.

    Raises:
        UsageError: If a key or a value is wrong, or the file cannot be read.
    """
    settings = read_settings(ProtocolSettings, path, **overrides)
    if settings.templates is not None:
        settings.templates = str(path.parent / settings.templates)
    return settings
