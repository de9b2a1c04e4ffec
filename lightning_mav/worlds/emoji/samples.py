"""What the shards of the emoji hold: the members of each sample."""

from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

from ...data.codecs.animations import read_animation
from ...data.codecs.encode import encode_mp4, encode_png
from ...data.codecs.images import GROUND, read_image
from ...data.codecs.resize import to_square
from .names import Emoji, captions
from .packages import usable


@dataclass
class Stills:
    """Returns the members of stills by their number: all with their names first, then with other captions."""

    emoji: list[tuple[Emoji, Path]]
    ground: tuple[int, int, int]
    seed: int

    def __call__(self, index: int) -> dict[str, Any]:
        """Reads a still; its file is taken as it is if readers put the same ground under it.

        Raises:
            UsageError: If it is damaged, found when it comes first.
        """
        which, (emoji, path) = index // len(self.emoji), self.emoji[index % len(self.emoji)]
        caption = captions(emoji, Random(f"{self.seed} {index}")) if which else emoji.full_name
        with usable(path):
            data = path.read_bytes()
            member = {"webp": data}
            if self.ground != GROUND:
                pixels = read_image(data, "webp", self.ground).copy()
                member = {"png": encode_png(torch.from_numpy(pixels))}
            elif not which:
                read_image(data, "webp")
        return {
            **member,
            "txt": caption,
            "json": {"caption": caption, "code": emoji.code, "status": "success"},
        }


@dataclass
class Clips:
    """Returns the members of clips by their number."""

    animations: list[tuple[str, Path]]
    ground: tuple[int, int, int]
    size: int
    min_seconds: float

    def __call__(self, index: int) -> dict[str, Any]:
        """Decodes an animation on the ground, repeats it, and encodes it with its own frame times.

        Raises:
            UsageError: If it is damaged.
        """
        code, path = self.animations[index]
        with usable(path):
            frames, ends = read_animation(path.read_bytes(), self.ground)
            frames = np.stack([to_square(frame, self.size) for frame in frames])
        rounds = max(1, -(-round(self.min_seconds * 1000) // round(ends[-1])))
        durations = np.diff(ends, prepend=0)
        times = np.concatenate([[0], np.cumsum(np.tile(durations, rounds))])[:-1]
        fps = float(1000 * len(frames) / ends[-1])
        video = torch.from_numpy(np.tile(frames, (rounds, 1, 1, 1)))
        meta = {
            "code": code,
            "status": "success",
            "width": self.size,
            "height": self.size,
            "fps": round(fps, 3),
            "num_frames": len(frames),
            "duration": len(video) / fps,
        }
        pts = [round(time) for time in times.tolist()]
        return {"mp4": encode_mp4(video, round(fps), pts), "json": meta}
