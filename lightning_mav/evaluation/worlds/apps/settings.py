"""Settings of an evaluation of the applications: the world, how many videos, and the bars."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ....utils.numbers import check_number, in_range
from ....utils.paths import expanded
from ....utils.settings import read_settings
from ..settings import SamplingSettings

WORLDS = ("micro", "emoji")
BARS = ("animate_appearance", "animate_motion", "extend_motion", "vary_appearance")  # may be None
MAX_SKIP = 15  # of a window of 16 frames


@dataclass
class AppsSettings(SamplingSettings):
    """Settings of the evaluation of the applications; ``configs/eval/apps.yaml`` explains each."""

    world: str = "micro"
    data: str = "data/emoji"
    num: int = 96
    rates: list[float] = field(default_factory=lambda: [8.0, 24.0])
    skips: list[int] = field(default_factory=lambda: [2, 3, 5])
    num_shown: int = 6
    animate_appearance: float | None = 0.9
    animate_motion: float | None = 0.85
    extend_motion: float | None = 0.8
    vary_appearance: float | None = 0.85

    def __post_init__(self) -> None:
        super().__post_init__()
        self.data = expanded(self.data)
        check_number("num", self.num, 2)
        if self.world not in WORLDS:
            raise ValueError(f"world must be one of {', '.join(WORLDS)}, got {self.world!r}")
        if not self.rates or not all(in_range(fps, 1, 60) for fps in self.rates):
            raise ValueError(f"rates must be frame rates of 1 to 60, got {self.rates}")
        if not all(isinstance(skip, int) and in_range(skip, 2, MAX_SKIP) for skip in self.skips):
            raise ValueError(f"skips must be whole numbers of 2 to {MAX_SKIP}, got {self.skips}")

    def ranges(self) -> dict[str, tuple[float, float]]:
        """Returns the ranges of all numbers that are no counts."""
        return super().ranges() | dict.fromkeys(BARS, (0.0, 1.0))


def load_apps_settings(path: Path, **overrides: Any) -> AppsSettings:
    """Reads settings from a YAML file; ``overrides`` replace values of the file.

    Raises:
        UsageError: If a key or a value is wrong.
    """
    return read_settings(AppsSettings, path, **overrides)
