"""What an evaluation on the emoji finds."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ...report import Figure
from .prompts import Prompts
from .settings import EmojiBench
from .truth import Animation, Entry

Share = dict[str, Any]  # as ``wilson`` returns it


@dataclass
class Truth:
    """What the world holds.

    Args:
        entries: All emoji.
        stills: Their stills, ``(N, 3, 32, 32)``.
        animations: Hidden ones, and those of the prompts, by code.
    """

    entries: list[Entry]
    stills: Tensor
    animations: dict[str, Animation]


@dataclass
class EmojiEvaluation:
    """Results of an evaluation.

    Args:
        settings: Those of the evaluation.
        prompts: What was asked for.
        video: Key frames of each, ``(N, 3, F, S, S)``.
        truth: What the world holds.
        nearest: The still that the judge reads off each video, ``(N,)``.
        appearance: Shares that are right, by kind of prompt or control and by ``both``, ``thing``, ``tone``.
        motion: Shares by table, row and ``top 1`` and ``top 5``.
        ranks: Rank of the own animation of each hidden prompt, by its number.
        words: See ``judge_words``.
        stages: Comparisons of super-resolution and of final videos.
        fvd: FVD by kind of video.
        amounts: Movement and loop gap by kind of video.
        final: Final videos of some prompts, ``(3, F, S, S)`` bytes, by number.
        figures: The numbers that matter most.
        seconds: Time of each part.
    """

    settings: EmojiBench
    prompts: Prompts
    video: Tensor
    truth: Truth
    nearest: Tensor
    appearance: dict[str, dict[str, Share]] = field(default_factory=dict)
    motion: dict[str, dict[str, dict[str, Share]]] = field(default_factory=dict)
    ranks: dict[int, int] = field(default_factory=dict)
    words: dict[str, dict[str, Share]] = field(default_factory=dict)
    stages: dict[str, Any] = field(default_factory=dict)
    fvd: dict[str, float] = field(default_factory=dict)
    amounts: dict[str, dict[str, float]] = field(default_factory=dict)
    final: dict[int, Tensor] = field(default_factory=dict)
    figures: list[Figure] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
