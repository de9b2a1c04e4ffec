"""Writes the emoji as shards: captioned stills, and unlabelled clips of those that are not hidden.

``images/`` holds every still several times with different captions, first all with their names.
``videos/``, ``videos-val/``, ``videos-things/`` and ``videos-tones/`` hold the clips that are seen, those to
choose by, and those that are hidden. ``emoji.json`` lists all emoji with their names and how they are hidden,
``left_out.json`` what has no name or no picture, ``other_names.json`` names that only test words.
``ORIGIN.md`` says whose the pictures and names are.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from ...data.codecs.animations import measure
from ...data.codecs.images import GROUND
from ...utils.errors import UsageError, writing
from ...utils.numbers import MAX_COUNT, MAX_SEED, check_number
from ...utils.textfile import write_text
from ..folders import write_folder
from . import hidden
from .names import Emoji, code_of, describe, read_annotations
from .other_names import read_other_names, write_other_names
from .packages import Package, find_files, usable
from .phrases import set_aside
from .samples import Clips, Stills
from .tones import mend_tones

VERSION = 1  # increase it when the same settings give other shards than before
IMAGES_PER_SHARD, VIDEOS_PER_SHARD = 1000, 50
FOLDERS = {
    hidden.SEEN: "videos",
    hidden.VALIDATION: "videos-val",
    hidden.THINGS: "videos-things",
    hidden.TONES_HIDDEN: "videos-tones",
}
# Both licences ask that these lines go with every copy; the packages hold the licences' texts.
ORIGIN = """# Where these pictures and names come from

Pictures: Fluent Emoji, Copyright (c) Microsoft Corporation, MIT License
(https://github.com/microsoft/fluentui-emoji, https://github.com/microsoft/fluentui-emoji-animated).
Names and keywords: CLDR, Copyright (c) 1991-2025 Unicode, Inc., Unicode License V3
(https://www.unicode.org/license.txt).
Other names: emoji-datasource, Copyright (c) 2013 Cal Henderson, MIT License.

Packages of the npm registry that they were taken from; `packages` holds them with their licences:

"""
STILLS, ANIMATIONS, PICTURES = "*emoji-3d*", "*emoji-anim*", "assets/*.webp"  # folders of packages, files


@dataclass
class EmojiSettings:
    """All that decides what is written.

    Args:
        packages: Where pictures and names come from.
        ground: Colour under transparent pixels: red, green and blue, 0 to 255.
        video_size: Height and width of clips.
        min_seconds: Animations are repeated to at least this length.
        captions: Captions of each still.
        mixed_phrases: Phrases to put together from words, see ``phrases.make_phrases``.
        hidden_things: See ``hidden.split``.
        hidden_tones: See ``hidden.split``.
        validation: See ``hidden.split``.
        seed: Decides what is hidden, and the captions.
    """

    packages: list[Package] = field(default_factory=list)
    ground: list[int] = field(default_factory=lambda: list(GROUND))
    video_size: int = 256
    min_seconds: float = 4.0
    captions: int = 8
    mixed_phrases: int = 250_000
    hidden_things: float = 0.2
    hidden_tones: float = 0.2
    validation: float = 0.03
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.ground) != 3 or not all(0 <= value <= 255 for value in self.ground):
            raise ValueError(f"ground is red, green and blue, 0 to 255 each, got {self.ground}")
        if self.video_size < 2 or self.video_size % 2:
            raise ValueError(f"video_size is even and at least 2, got {self.video_size}")
        ranges = {
            "seed": (0, MAX_SEED),
            "min_seconds": (0, 60),
            "captions": (1, 1000),
            "mixed_phrases": (0, MAX_COUNT),
        }
        ranges |= dict.fromkeys(("hidden_things", "hidden_tones", "validation"), (0, 1))
        for name, (low, high) in ranges.items():
            check_number(name, getattr(self, name), low, high)


@dataclass
class World:
    """The emoji that were found.

    Args:
        emoji: By code, those that have a name and a still.
        stills: File of each still, by code.
        clips: File of each animation, by code.
        kinds: How each animation is hidden, by code.
        without_name: Codes of stills that have no name.
        without_picture: Codes that have a name, and no still.
    """

    emoji: dict[str, Emoji]
    stills: dict[str, Path]
    clips: dict[str, Path]
    kinds: dict[str, str]
    without_name: list[str]
    without_picture: list[str]


def find_world(folders: list[Path], settings: EmojiSettings) -> World:
    """Finds pictures and names in unpacked packages.

    Raises:
        UsageError: If a package is missing, a file is damaged or too small, or all animations are hidden.
    """
    annotations = read_annotations(folders)
    stills = mend_tones(_by_code(find_files(folders, STILLS, PICTURES)))
    for what, found in (("names", annotations), ("stills", stills)):
        if not found:
            raise UsageError(f"there is no package with {what}: list one, as configs/world/emoji.yaml does")
    named = {code: describe(code, annotations) for code in stills}
    emoji = {code: one for code, one in sorted(named.items()) if one is not None}
    moving = _by_code(find_files(folders, ANIMATIONS, PICTURES))
    clips = {
        code: path for code, path in moving.items() if code in emoji and _moves(path, settings.video_size)
    }
    kinds = hidden.split(
        clips,
        things=settings.hidden_things,
        tones=settings.hidden_tones,
        validation=settings.validation,
        seed=settings.seed,
    )
    if clips and hidden.SEEN not in kinds.values():
        raise UsageError("no animation is left to train on: lower hidden_things or validation")
    without_picture = sorted(code for code in annotations if code not in stills)
    return World(emoji, stills, clips, kinds, sorted(stills.keys() - emoji.keys()), without_picture)


def _by_code(paths: list[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(paths):  # the packages hold a few twice, with and without U+FE0F
        with usable(path):
            found[code_of(path.stem)] = path
    return found


def _moves(path: Path, size: int) -> bool:
    """Whether a picture has several frames, which must not be smaller than clips are to be."""
    with usable(path):
        num_frames, side = measure(path.read_bytes())
    if num_frames > 1 and side < size:
        raise UsageError(f"{path} has {side} pixels: choose a video_size of at most {side}, not {size}")
    return num_frames > 1


def write_world(root: Path, packages: Path, settings: EmojiSettings, *, progress: bool = True) -> World:
    """Writes all shards under ``root``; folders that were written with these settings stay.

    Phrases that were written for other stills are renamed, with a warning.

    Args:
        root: Folder to write to.
        packages: Folder of the unpacked packages.
        settings: What to write.
        progress: Whether to show bars.

    Returns:
        What was found in the packages.

    Raises:
        UsageError: If a package is missing or damaged, or a folder cannot be written.
    """
    folders = [packages / package.stem for package in settings.packages]
    world = find_world(folders, settings)
    other_names = read_other_names(folders, world.emoji)
    set_aside(root, [*world.emoji])
    red, green, blue = settings.ground
    ground = red, green, blue
    common = {
        "world_version": f"emoji {VERSION}",
        "packages": [package.spec for package in settings.packages],
        "ground": list(ground),
        "seed": settings.seed,
    }
    stills = Stills([(one, world.stills[code]) for code, one in world.emoji.items()], ground, settings.seed)
    wanted = {**common, "tones": "by brightness", "num_samples": settings.captions * len(world.emoji)}
    write_folder(root / "images", wanted, stills, IMAGES_PER_SHARD, progress)
    for kind, name in FOLDERS.items():
        codes = sorted(code for code, own in world.kinds.items() if own == kind)
        Random(settings.seed).shuffle(codes)  # so that each shard holds some of everything
        clips = Clips(
            [(code, world.clips[code]) for code in codes], ground, settings.video_size, settings.min_seconds
        )
        shares = [settings.hidden_things, settings.hidden_tones, settings.validation]
        size = {"video_size": settings.video_size, "min_seconds": settings.min_seconds, "hidden": shares}
        wanted = {**common, **size, "num_samples": len(codes)}
        write_folder(root / name, wanted, clips, VIDEOS_PER_SHARD, progress)
    listed = [_entry(one, world.kinds.get(code)) for code, one in world.emoji.items()]
    left_out = {"without_name": world.without_name, "without_picture": world.without_picture}
    specs = "".join(f"- {package.spec}\n" for package in settings.packages)
    texts = {
        "emoji.json": json.dumps(listed, indent=1, ensure_ascii=False) + "\n",
        "left_out.json": json.dumps(left_out, indent=1, ensure_ascii=False) + "\n",
        "ORIGIN.md": ORIGIN + specs,
    }
    for name, text in texts.items():
        with writing(root / name, "move it away"):
            write_text(root / name, text)
    write_other_names(root, other_names)
    return world


def _entry(emoji: Emoji, kind: str | None) -> dict[str, Any]:
    return {
        "code": emoji.code,
        "emoji": emoji.character,
        "name": emoji.full_name,
        "keywords": list(emoji.keywords),
        "thing": emoji.thing,
        "tones": list(emoji.tones),
        "animation": kind or "none",
    }


def count_kinds(world: World) -> Counter[str]:
    """Counts animations by how they are hidden, and stills that never move."""
    counts = Counter(world.kinds.values())
    counts["never animated"] = len(world.emoji) - len(world.clips)
    return counts
