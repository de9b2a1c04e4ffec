"""The worlds on which applications are measured: true clips, and judges of what videos show."""

from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from ....cascade import Cascade
from ....worlds.micro.world import render_videos
from ..emoji.judge import load_judge, nearest_still
from ..emoji.motion import TOP, Gallery
from ..emoji.prompts import choose_prompts as choose_emoji
from ..emoji.settings import EmojiBench
from ..emoji.truth import (
    THINGS,
    TONES_HIDDEN,
    Animation,
    Entry,
    codes_of,
    read_animations,
    read_entries,
    read_stills,
)
from ..prompts import NUM_CLASSES, choose_prompts
from ..sampling import Progress, part_of
from ..scores import read, right
from .settings import AppsSettings


class World(Protocol):
    """A fixed list of ``N`` things, each with its own look and way to move.

    Attributes:
        labels: What each is called.
    """

    labels: list[str]

    def clips(self, fps: float, num_frames: int, generator: torch.Generator) -> Tensor:
        """Returns a true clip of each, ``(N, 3, F, S, S)`` in [-1, 1]."""

    def appearance(self, video: Tensor) -> Tensor:
        """Returns which videos show the thing that they should, ``(N,)``."""

    def motion(self, video: Tensor, fps: float) -> Tensor:
        """Returns which videos move as their thing does, ``(N,)``."""


class MicroWorld:
    """Shapes that move, and detectors that read shape, colour and motion off the pixels.

    Args:
        num: Number of things. A multiple of 12 has each shape equally often, and as many things that
            training videos show as things that they do not.
        size: Height and width of clips.
    """

    def __init__(self, num: int, size: int) -> None:
        prompts = choose_prompts(-(-num // NUM_CLASSES)).first(num)
        self.appearances, self.labels, self.size = prompts.appearances, prompts.texts, size

    def clips(self, fps: float, num_frames: int, generator: torch.Generator) -> Tensor:
        """Renders a clip of each."""
        return render_videos(self.appearances, fps, num_frames, self.size, generator)

    def appearance(self, video: Tensor) -> Tensor:
        """Returns where shape and colour are right."""
        return right(self.appearances, read(video))["appearance"]

    def motion(self, video: Tensor, fps: float) -> Tensor:
        """Returns where the motion belongs to the shape; detectors need no frame rate."""
        return right(self.appearances, read(video))["motion"]


class EmojiWorld:
    """Emoji whose animations were hidden from training, and the judges of ``mav evaluate emoji``.

    The look is right if the judge finds the right still nearest. The motion is right if the own animation is
    among the first five of all hidden ones.

    Args:
        root: Folder of the world.
        num: Number of emoji, at most.
        size: Height and width of clips.
        seed: Chooses emoji.
        progress: Called as ``progress(part, done, total)``.

    Raises:
        UsageError: If the world or the judge is missing or damaged.
    """

    def __init__(
        self, root: Path, num: int, size: int, seed: int = 0, progress: Progress | None = None
    ) -> None:
        entries = read_entries(root)
        prompts = choose_emoji(entries, EmojiBench(seed=seed))
        hidden = {*prompts.rows(THINGS), *prompts.rows(TONES_HIDDEN)}
        chosen = [prompts.entries[row] for row in prompts.mixed() if row in hidden]
        self.entries: list[Entry] = chosen[:num]
        self.labels = [entry.name for entry in self.entries]
        self.judge = load_judge()
        stills = read_stills(root, entries, size, len(entries), part_of(progress, "stills"))
        self.features = self.judge.of_images(stills)
        places = {entry.code: i for i, entry in enumerate(entries)}
        self.own = torch.tensor([places[entry.code] for entry in self.entries])
        self.animations: dict[str, Animation] = {}
        for kind in (TONES_HIDDEN, THINGS):
            codes = codes_of(entries, kind)
            self.animations |= read_animations(root, kind, size, codes, part_of(progress, f"clips, {kind}"))
        self.shown = {entry.thing: self.animations[entry.code] for entry in chosen}
        self.galleries: dict[tuple[float, int], Gallery] = {}

    def clips(self, fps: float, num_frames: int, generator: torch.Generator) -> Tensor:
        """Returns a part of the animation of each, from a random moment on."""
        starts = torch.rand(len(self.entries), generator=generator).tolist()
        own = [self.animations[entry.code] for entry in self.entries]
        pairs = zip(own, starts, strict=True)
        return torch.stack([one.clip(start * one.seconds, fps, num_frames) for one, start in pairs])

    def appearance(self, video: Tensor) -> Tensor:
        """Returns where the nearest still is the own one."""
        return nearest_still(self.judge, self.features, video) == self.own

    def motion(self, video: Tensor, fps: float) -> Tensor:
        """Returns where the own animation is among the first five."""
        key = fps, video.shape[2]
        if key not in self.galleries:
            self.galleries[key] = Gallery(self.shown, *key)
        names = [entry.thing for entry in self.entries]
        return self.galleries[key].ranks([*video], names, torch.Generator().manual_seed(0)) < TOP


def make_world(cascade: Cascade, settings: AppsSettings, progress: Progress | None = None) -> World:
    """Builds the world that settings name, with clips of the decoder's size.

    Raises:
        UsageError: If it, or its judge, is missing or damaged.
    """
    num, size = settings.num, cascade.decoder.image_size
    if settings.world == "emoji":
        return EmojiWorld(Path(settings.data), num, size, settings.seed, progress)
    return MicroWorld(num, size)
