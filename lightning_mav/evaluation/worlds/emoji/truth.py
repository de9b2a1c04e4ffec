"""The true pictures and animations of the emoji, as the shards of the world hold them."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ....data.codecs.decode import IMAGE_FORMATS, VIDEO_FORMATS, decode_image, decode_video
from ....data.codecs.pixels import from_uint8
from ....data.shards.reader import Sample, Shards, find_suffix
from ....data.shards.urls import expand_shards
from ....utils.errors import UsageError, first_line
from ....utils.numbers import check_types
from ....utils.textfile import parse_json
from ....worlds.emoji.hidden import SEEN, THINGS, TONES_HIDDEN, VALIDATION
from ....worlds.emoji.shards import FOLDERS

REMEDY = "run `make world WORLD=emoji`"
MARGIN = 1e-6  # seconds: so that a frame is shown at the very time it starts
NEVER = "none"  # what emoji.json says of stills without an animation
MAX_SECONDS = 60.0  # of processor time for one clip


@dataclass(frozen=True)
class Entry:
    """One emoji, as ``emoji.json`` lists it."""

    code: str
    emoji: str
    name: str
    keywords: list[str]
    thing: str
    tones: list[str]
    animation: str

    def __post_init__(self) -> None:
        check_types(type(self).__init__, vars(self))


@dataclass(frozen=True)
class Animation:
    """One round of an animation.

    Args:
        frames: ``(F, 3, S, S)`` bytes.
        starts: When each frame appears, ``(F,)`` in seconds from the first.
        seconds: Length of the round.
    """

    frames: Tensor
    starts: Tensor
    seconds: float

    def indices(self, start: float, fps: float, num_frames: int) -> Tensor:
        """Returns which frames ``(num_frames,)`` are seen at ``fps`` from ``start`` on, round after round."""
        times = (start + torch.arange(num_frames, dtype=torch.double) / fps + MARGIN) % self.seconds
        return torch.searchsorted(self.starts, times, right=True) - 1

    def clip(self, start: float, fps: float, num_frames: int) -> Tensor:
        """Returns what is seen, ``(3, num_frames, S, S)`` in [-1, 1]."""
        return from_uint8(self.frames[self.indices(start, fps, num_frames)]).movedim(0, 1)


def read_entries(root: Path) -> list[Entry]:
    """Reads ``emoji.json`` of a world.

    Raises:
        UsageError: If it is missing or is no such list.
    """
    path = root / "emoji.json"
    try:
        entries = [Entry(**entry) for entry in parse_json(path.read_bytes())]
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read ({error.strerror}); {REMEDY}, or name its folder"
        ) from error
    except (TypeError, ValueError) as error:
        raise UsageError(f"{path}: is no list of emoji ({error}); {REMEDY}") from error
    if not entries:
        raise UsageError(f"{path}: lists no emoji; {REMEDY}")
    return entries


def read_stills(
    root: Path,
    entries: list[Entry],
    size: int | None,
    num_emoji: int,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Reads the stills of some emoji, ``(N, 3, S, S)`` in [-1, 1].

    Args:
        root: Folder of the world.
        entries: Those emoji.
        size: Height and width wanted; None leaves them as they are.
        num_emoji: How many emoji the world has: its images begin with a still of each.
        progress: Called as ``progress(done, total)``.

    Raises:
        UsageError: If one is missing or damaged.
    """
    wanted = {entry.code for entry in entries}

    def decode(sample: Sample, number: int) -> tuple[str, Tensor | None]:
        code, suffix = _meta(sample)["code"], find_suffix(sample, IMAGE_FORMATS)
        return code, decode_image(sample[suffix], suffix, size) if code in wanted else None

    found = dict(read_samples(root / "images", [*IMAGE_FORMATS, "json"], decode, num_emoji, progress))
    if missing := [entry.code for entry in entries if entry.code not in found]:
        raise UsageError(f"{root / 'images'}: no still of {missing[0]}; {REMEDY}")
    return from_uint8(torch.stack([found[entry.code] for entry in entries]))


def read_animations(
    root: Path,
    kind: str,
    size: int | None,
    codes: Iterable[str],
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Animation]:
    """Reads animations of a kind, such as ``hidden.THINGS``, by code.

    Args:
        root: Folder of the world.
        kind: ``SEEN``, ``VALIDATION``, ``THINGS`` or ``TONES_HIDDEN``.
        size: Height and width wanted; None leaves them as they are.
        codes: Which to read.
        progress: Called as ``progress(done, total)``.

    Raises:
        UsageError: If one is missing or damaged.
    """
    if not (wanted := frozenset(codes)):
        return {}  # a world may have none of a kind, and then no shards

    def decode(sample: Sample, number: int) -> tuple[str, Animation | None]:
        meta = _meta(sample)
        code, num = meta["code"], int(meta["num_frames"])
        if code not in wanted:
            return code, None
        suffix = find_suffix(sample, VIDEO_FORMATS)
        frames, times = decode_video(
            sample[suffix], suffix, size, lambda times: torch.arange(num), max_seconds=MAX_SECONDS
        )
        return code, Animation(frames, times.double(), num / float(meta["fps"]))

    read = read_samples(root / FOLDERS[kind], [*VIDEO_FORMATS, "json"], decode, None, progress)
    found = {code: animation for code, animation in read if animation is not None}
    if missing := sorted(wanted - found.keys()):
        raise UsageError(f"{root / FOLDERS[kind]}: no animation of {missing[0]}; {REMEDY}")
    return found


def codes_of(entries: Iterable[Entry], kind: str) -> list[str]:
    """Returns the codes of the emoji whose animation is of a kind."""
    return [entry.code for entry in entries if entry.animation == kind]


def _meta(sample: Sample) -> dict[str, Any]:
    return dict(parse_json(sample["json"]))


def read_samples(
    folder: Path,
    suffixes: Collection[str],
    decode: Callable[[Sample, int], Any],
    num: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Any]:
    """Reads the first samples of a folder of shards.

    Args:
        folder: The folder.
        suffixes: Suffixes of the members to read.
        decode: Makes of a sample and its number what is returned.
        num: How many samples; None reads all.
        progress: Called as ``progress(done, total)``.

    Raises:
        UsageError: If there are no shards, or ``decode`` raises an error.
    """
    shards = Shards(expand_shards(str(folder), REMEDY), suffixes)
    num, made = len(shards) if num is None else min(num, len(shards)), []

    def refuse(number: int, error: Exception) -> None:
        raise UsageError(f"{shards.name(number)}: cannot be used ({first_line(error)}); {REMEDY}") from error

    for one in shards.make_each(decode, range(num), refuse):
        made.append(one)
        if progress is not None:
            progress(len(made), num)
    return made


__all__ = [
    "NEVER",
    "SEEN",
    "THINGS",
    "TONES_HIDDEN",
    "VALIDATION",
    "Animation",
    "Entry",
    "codes_of",
    "read_animations",
    "read_entries",
    "read_samples",
    "read_stills",
]
