"""Settings of an evaluation on the emoji: how many prompts of each kind, and how they are sampled."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....utils.numbers import MAX_COUNT, check_number
from ....utils.paths import expanded
from ....utils.settings import read_settings
from ..settings import SamplingSettings


@dataclass
class EmojiBench(SamplingSettings):
    """Settings of the emoji evaluation; ``configs/eval/emoji.yaml`` explains each."""

    fps: float = 8.0
    frame_skip: int = 3
    batch_size: int = 4
    data: str = "data/emoji"
    num_seen: int = 96
    num_tones: int = 1000
    num_things: int = 1000
    num_never: int = 32
    num_untrained: int = 24
    num_shuffles: int = 96
    num_final: int = 24
    num_enlarged: int = 48
    num_shown: int = 96

    def __post_init__(self) -> None:
        super().__post_init__()
        self.data = expanded(self.data)
        check_number("num_shuffles", self.num_shuffles, 2, MAX_COUNT)


def load_emoji_bench(path: Path, **overrides: Any) -> EmojiBench:
    """Reads settings from a YAML file; ``overrides`` replace values of the file.

    Raises:
        UsageError: If a key or a value is wrong.
    """
    return read_settings(EmojiBench, path, **overrides)
