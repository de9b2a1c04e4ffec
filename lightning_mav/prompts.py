"""What weights know: ``prompts.json`` beside them, and which of the names in it are nearest to a prompt.

Weights make a video of any prompt. If they have not learnt its words, the video shows something else. So the
prompt's text embedding, on which all stages depend, is compared with what the weights know: with CLIP's
embeddings of pictures, one for each name, in ``prompts.safetensors``, or without that file with the
embeddings of the names as texts.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .utils.configured import Configured
from .utils.errors import UsageError, first_line, writing
from .utils.numbers import check_number, check_types
from .utils.textfile import is_blank, parse_json, read_lines, shortened, write_json
from .weights import load_weights, save_weights

if TYPE_CHECKING:
    from .clip import Clip

FILE, PICTURES = "prompts.json", "prompts.safetensors"
BATCH_SIZE = 128  # names or pictures that are embedded at once
UNSAID = {"a", "an", "the", "emoji"}  # words that may stand beside a name


class NamePictures(Configured, nn.Module):
    """CLIP's embeddings of pictures, one for each name, as a weights file.

    Args:
        num_names: Number of names.
        embed_dim: Length of an embedding.
    """

    embeds: Tensor

    def __init__(self, num_names: int, embed_dim: int) -> None:
        super().__init__()
        self.register_buffer("embeds", torch.zeros(num_names, embed_dim))


@dataclass
class KnownPrompts:
    """What a folder of weights says about prompts in its ``prompts.json``.

    Args:
        fps: Frame rate of the 16 key frames, 1 to 30, where none is asked for.
        names: What the weights have learnt to show; none if that is not told.
        min_similarity: A prompt is unknown if its similarity to the nearest name is less, -1 to 1. None warns
            of nothing.

    Attributes:
        embeds: Unit vectors ``(N, D)``, one for each name, with which prompts are compared. If None, the
            embeddings of the names as texts are used.

    Raises:
        ValueError: If one is of another type or out of its range.
    """

    fps: float = 6.0
    names: Sequence[str] = ()
    min_similarity: float | None = None
    embeds: Tensor | None = field(default=None, init=False, repr=False, compare=False)
    _text_embeds: Tensor | None = field(default=None, init=False, repr=False, compare=False)

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
            For each prompt the nearest names, each with the cosine between the text embedding of the prompt
            and the embedding of the name, nearest first; empty if no names are known.
        """
        check_number("k", k, 1)
        prompts = [prompts] if isinstance(prompts, str) else prompts
        if not self.names or not prompts:
            return [{} for _ in prompts]
        embeds = self._text_embeds if self.embeds is None else self.embeds
        if embeds is None:  # kept: thousands of names take a second
            embeds = self._text_embeds = embed_texts(self.names, clip)
        best = (embed_texts(prompts, clip) @ embeds.T).topk(min(k, len(self.names)))
        rows = zip(best.values.tolist(), best.indices.tolist(), strict=True)
        return [{self.names[i]: round(value, 4) for value, i in zip(*row, strict=True)} for row in rows]

    def warning(self, prompt: str, nearest: dict[str, float]) -> str | None:
        """Returns what to tell about a prompt that is unknown; None if it is known.

        Args:
            prompt: The prompt. If it is a name, it is known; case, articles and the word emoji do not matter.
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
def embed_texts(texts: Sequence[str], clip: "Clip") -> Tensor:
    """Returns CLIP's embeddings of texts, unit vectors ``(N, D)`` on the CPU."""
    text_tokens = clip.tokenize(list(texts), warn=lambda _: None)  # the cascade itself says what is cut
    order = text_tokens.argmax(dim=1).argsort()  # by length: the end token has the highest number
    parts = text_tokens[order].to(next(clip.parameters()).device).split(BATCH_SIZE)
    embeds = torch.cat([clip.encode_text(part)[0].float().cpu() for part in parts])
    return F.normalize(embeds[order.argsort()], dim=1)


@torch.inference_mode()
def embed_images(images: Tensor, clip: "Clip") -> Tensor:
    """Returns CLIP's embeddings of images ``(N, 3, H, W)`` in [-1, 1], unit vectors ``(N, D)`` on the CPU."""
    device = next(clip.parameters()).device
    parts = [clip.encode_image(part.to(device)).float().cpu() for part in images.split(BATCH_SIZE)]
    return F.normalize(torch.cat(parts), dim=1)


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
        known = KnownPrompts(**content)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or shortened(first_line(error), 200)
        remedy = "mend it, or remove it and write it anew with `mav weights prompts`"
        raise UsageError(f"{path}: is not usable ({reason}); {remedy}") from error
    if (folder / PICTURES).exists():
        known.embeds = _read_pictures(folder / PICTURES, len(known.names))
    return known


def _read_pictures(path: Path, num_names: int) -> Tensor:
    pictures = load_weights(path)
    if not isinstance(pictures, NamePictures) or len(pictures.embeds) != num_names:
        raise UsageError(
            f"{path}: does not hold a picture for each of the {num_names} names in {FILE}; write both with "
            "`mav weights prompts FOLDER --names FILE --images SHARDS`"
        )
    return F.normalize(pictures.embeds, dim=1)


def write_known(known: KnownPrompts, folder: Path) -> Path:
    """Writes ``prompts.json`` into a folder of weights, and ``prompts.safetensors`` where it has ``embeds``.

    Raises:
        UsageError: If it cannot be written.
    """
    path = folder / FILE
    with writing(path, "name a folder of weights that you may write to"):
        write_json(path, {name: getattr(known, name) for name in SETTINGS}, indent=1)
        if known.embeds is None:
            (folder / PICTURES).unlink(missing_ok=True)
        else:  # replaces the file at once: a full disk leaves the old one
            pictures = NamePictures(*known.embeds.shape)
            pictures.embeds.copy_(known.embeds)
            save_weights(pictures, folder / PICTURES)
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
