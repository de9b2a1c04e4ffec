"""What weights know: ``prompts.json`` beside them, and which of the names in it are nearest to a prompt.

Any prompt makes a video. One in words that the weights have not learnt makes a video of something else. So
its text embedding, on which all stages depend, is compared with those of the names that they know.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from .utils.errors import UsageError, first_line, writing
from .utils.numbers import check_number, check_types
from .utils.precision import autocast_context
from .utils.textfile import is_blank, parse_json, read_lines, shortened, write_json

if TYPE_CHECKING:
    from .clip import Clip

FILE = "prompts.json"
BATCH_SIZE = 128  # names that are embedded at once
UNSAID = {"a", "an", "the", "emoji"}  # words that may stand beside a name


@dataclass
class KnownPrompts:
    """What a folder of weights says about prompts in its ``prompts.json``.

    Args:
        fps: Frame rate of the 16 key frames, 1 to 30, where none is asked for.
        names: What the weights have learnt to show; none if that is not told.
        min_similarity: A prompt is unknown if its similarity to the nearest name is less, -1 to 1. None warns
            of nothing.

    Raises:
        ValueError: If one is of another type or out of its range.
    """

    fps: float = 6.0
    names: Sequence[str] = ()
    min_similarity: float | None = None
    _embeds: Tensor | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        settings = {name: getattr(self, name) for name in SETTINGS}
        check_types(type(self).__init__, settings)
        check_number("fps", self.fps, 1, 30)
        if self.min_similarity is not None:
            check_number("min_similarity", self.min_similarity, -1, 1)
        if any(map(is_blank, self.names)):
            raise ValueError("names must not be blank")

    def nearest(self, prompts: str | Sequence[str], clip: "Clip", k: int = 3) -> list[dict[str, float]]:
        """Finds the names nearest to prompts.

        Args:
            prompts: One prompt or several.
            clip: The CLIP of the weights.
            k: How many names.

        Returns:
            For each prompt the nearest names, each with the cosine between its text embedding and that of
            the prompt, nearest first; nothing if no names are known.
        """
        check_number("k", k, 1)
        prompts = [prompts] if isinstance(prompts, str) else prompts
        if not self.names or not prompts:
            return [{} for _ in prompts]
        if self._embeds is None:  # kept: of thousands of names it takes a third of a second
            self._embeds = _directions(self.names, clip)
        best = (_directions(prompts, clip) @ self._embeds.T).topk(min(k, len(self.names)))
        rows = zip(best.values.tolist(), best.indices.tolist(), strict=True)
        return [{self.names[i]: round(value, 4) for value, i in zip(*row, strict=True)} for row in rows]

    def warning(self, prompt: str, nearest: dict[str, float]) -> str | None:
        """Returns what to tell about a prompt that is unknown; None if it is known.

        Args:
            prompt: The prompt. A name counts as known in any case, also with an article or the word emoji.
            nearest: Its nearest names, as ``nearest`` returns them.
        """
        if self.min_similarity is None or max(nearest.values(), default=1.0) >= self.min_similarity:
            return None
        if _plain(prompt) in map(_plain, self.names):
            return None
        others = ", ".join(f'"{name}" ({similarity:.2f})' for name, similarity in nearest.items())
        return f'"{shortened(prompt, 100)}" is not among what these weights know; nearest: {others}'


SETTINGS = tuple(field.name for field in dataclasses.fields(KnownPrompts) if field.init)


def _plain(name: str) -> list[str]:
    return [word for word in name.casefold().split() if word not in UNSAID]


@torch.inference_mode()
def _directions(texts: Sequence[str], clip: "Clip") -> Tensor:
    """Embeds texts into unit vectors ``(N, D)`` on the CPU."""
    text_tokens = clip.tokenize(list(texts), warn=lambda _: None)  # the cascade itself says what is cut
    order = text_tokens.argmax(dim=1).argsort()  # by length: the end token has the highest number
    device = next(clip.parameters()).device
    parts = text_tokens[order].to(device).split(BATCH_SIZE)
    with autocast_context(device):
        embeds = torch.cat([clip.encode_text(part)[0].float().cpu() for part in parts])
    return F.normalize(embeds[order.argsort()], dim=1)


def read_known(folder: Path) -> KnownPrompts:
    """Reads ``prompts.json`` in a folder of weights; without that file no names are known.

    Raises:
        UsageError: If it is not what ``write_known`` writes.
    """
    path = folder / FILE
    if not path.exists():
        return KnownPrompts()
    try:
        content = parse_json(path.read_bytes())
        if not isinstance(content, dict):
            raise ValueError(f"it must be an object with {', '.join(SETTINGS)}")
        if unknown := content.keys() - set(SETTINGS):
            raise ValueError(f"unknown {shortened(repr(min(unknown)))}; keys are {', '.join(SETTINGS)}")
        return KnownPrompts(**content)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or shortened(first_line(error), 200)
        remedy = "mend it, or remove it and write it anew with `mav weights prompts`"
        raise UsageError(f"{path}: is not usable ({reason}); {remedy}") from error


def write_known(known: KnownPrompts, folder: Path) -> Path:
    """Writes ``prompts.json`` into a folder of weights and returns its path.

    Raises:
        UsageError: If it cannot be written.
    """
    path = folder / FILE
    with writing(path, "name a folder of weights that you may write to"):
        write_json(path, {name: getattr(known, name) for name in SETTINGS}, indent=1)
    return path


def read_names(path: Path) -> list[str]:
    """Reads names from a text file with one in each line, or the ``name`` of each object in a list of JSON.

    Raises:
        UsageError: If it is neither, or holds no name.
    """
    remedy = "name a file with a name in each line, or JSON such as emoji.json of the emoji world"
    lines = read_lines(path, remedy)
    try:
        if path.suffix == ".json":
            lines = [entry["name"] for entry in parse_json("\n".join(lines).encode())]
        names = list(dict.fromkeys(name.strip() for name in lines if not is_blank(name)))
    except (ValueError, TypeError, KeyError, AttributeError):
        names = []
    if not names:
        raise UsageError(f"{path}: holds no names; {remedy}")
    return names
