"""What weights know: ``prompts.json`` beside them, and which of the names in it are nearest to a prompt.

Weights make a video of any prompt. If they have not learnt its words, the video shows something else. So the
prompt's text embedding, on which all stages depend, is compared with what the weights know: with CLIP's
embeddings of pictures, one for each name, in ``prompts.safetensors``, or without that file with the
embeddings of the names as texts.
"""

import dataclasses
import hashlib
import json
import os
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
from .utils.paths import replacing
from .utils.textfile import is_blank, parse_json, read_lines, shortened, write_json
from .weights import load_weights, read_checksums, read_training, remove_weights, save_weights, sha256

if TYPE_CHECKING:
    from .clip import Clip

FILE, PICTURES, CLIP = "prompts.json", "prompts.safetensors", "clip.safetensors"
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
        ground: Colour of the ground that all pictures lie on, three bytes; None if there is no such ground.

    Attributes:
        embeds: Unit vectors ``(N, D)``, one for each name, with which prompts are compared. If None, the
            embeddings of the names as texts are used.

    Raises:
        ValueError: If one is of another type or out of its range.
    """

    fps: float = 6.0
    names: Sequence[str] = ()
    min_similarity: float | None = None
    ground: list[int] | None = None
    embeds: Tensor | None = field(default=None, init=False, repr=False, compare=False)
    _text_embeds: Tensor | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_types(type(self).__init__, {name: getattr(self, name) for name in SETTINGS})
        check_number("fps", self.fps, 1, 30)
        if self.min_similarity is not None:
            check_number("min_similarity", self.min_similarity, -1, 1)
        if self.ground is not None and (len(self.ground) != 3 or not {*self.ground} <= {*range(256)}):
            raise ValueError(f"ground must be three bytes, got {self.ground}")
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
        check_types(type(self).nearest, {"k": k})
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


def read_known(folder: Path, embed_dim: int | None = None, *, pictures: bool = True) -> KnownPrompts:
    """Reads ``prompts.json`` in a folder of weights; without that file no names are known.

    Args:
        folder: The folder.
        embed_dim: Length of the embeddings of the CLIP there, if it is loaded.
        pictures: Whether to read the embeddings of pictures, too.

    Raises:
        UsageError: If they are not what ``write_known`` writes, or do not go together.
    """
    path, known = folder / FILE, KnownPrompts()
    try:
        if os.path.lexists(path):
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
    path = folder / PICTURES
    # A file that is listed but missing is an error: min_similarity was chosen for pictures.
    if pictures and (os.path.lexists(path) or PICTURES in read_checksums(folder)):
        known.embeds = _read_pictures(path, known.names, embed_dim)
    return known


def _read_pictures(path: Path, names: Sequence[str], embed_dim: int | None) -> Tensor:
    pictures, origin = load_weights(path), read_training(path)  # files of earlier versions have no origin
    if not isinstance(pictures, NamePictures):
        reason = f"holds a {type(pictures).__name__}, not the pictures of names"
    elif len(pictures.embeds) != len(names) or origin.get("names") not in (None, _digest(names)):
        reason = f"does not hold the pictures of the {len(names)} names in {FILE}, in their order"
    elif embed_dim not in (None, pictures.embeds.shape[1]) or (
        "clip" in origin and origin["clip"] != _clip_checksum(path.parent)
    ):
        reason = f"was made with another CLIP than {CLIP} beside it"
    else:
        return F.normalize(pictures.embeds, dim=1)
    raise UsageError(
        f"{path}: {reason}; write both with `mav weights prompts FOLDER --names FILE --images SHARDS`"
    )


def _digest(names: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps([*names]).encode()).hexdigest()


def _clip_checksum(folder: Path) -> str:
    return read_checksums(folder).get(CLIP) or sha256(folder / CLIP)


def write_known(known: KnownPrompts, folder: Path, *, pictures: bool = True) -> Path:
    """Writes ``prompts.json`` into a folder of weights, and ``prompts.safetensors`` where it has ``embeds``.

    Args:
        known: What to write.
        folder: A folder with the CLIP that the embeddings are of.
        pictures: Whether to write or remove ``prompts.safetensors``, too; otherwise it stays as it is.

    Raises:
        UsageError: If it cannot be written. The old files then stay.
    """
    path, remedy = folder / FILE, "make room, or name a folder of weights that you may write to"
    with writing(path, remedy), replacing(path) as part:
        write_json(part, {name: getattr(known, name) for name in SETTINGS}, indent=1)
        if pictures and known.embeds is not None:
            module = NamePictures(*known.embeds.shape)
            module.embeds.copy_(known.embeds)
            with writing(folder / PICTURES, remedy):
                origin = {"names": _digest(known.names), "clip": _clip_checksum(folder)}
                save_weights(module, folder / PICTURES, training=origin)
    if pictures and known.embeds is None:
        with writing(folder / PICTURES, remedy):
            remove_weights(folder / PICTURES)
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
