"""Settings of an evaluation on the emoji: how many prompts of each kind, and how they are sampled."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....stage_table import KEY_FRAMES
from ....utils.numbers import MAX_COUNT, MAX_SEED, check_number
from ....utils.settings import read_settings


@dataclass
class EmojiBench:
    """Settings of the emoji evaluation; ``configs/eval/emoji.yaml`` explains each."""

    data: str = "data/emoji"
    seed: int = 0
    fps: float = 8.0
    frame_skip: int = 3
    steps: int | None = None
    batch_size: int = 4
    num_seen: int = 96
    num_tones: int = 1000
    num_things: int = 1000
    num_never: int = 32
    num_untrained: int = 48
    num_shuffles: int = 96
    num_final: int = 24
    num_enlarged: int = 48
    num_shown: int = 96

    def __post_init__(self) -> None:
        ranges = {"seed": (0, MAX_SEED), "fps": (1, 30), "steps": (1, 1000)}
        ranges["frame_skip"] = (2, KEY_FRAMES - 1)
        ranges["num_shuffles"] = (2, MAX_COUNT)
        for name, value in vars(self).items():
            if isinstance(value, int | float):
                check_number(name, value, *ranges.get(name, (1, MAX_COUNT)))

    @property
    def fast_fps(self) -> float:
        """Frame rate after interpolation."""
        return self.fps * self.frame_skip


def load_emoji_bench(path: Path, **overrides: Any) -> EmojiBench:
    """Reads settings from a YAML file; ``overrides`` replace values of the file.

    Raises:
        UsageError: If a key or a value is wrong.
    """
    return read_settings(EmojiBench, path, **overrides)
