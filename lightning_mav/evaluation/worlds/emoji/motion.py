"""Which true animation does a video move like? Only the order of its frames counts.

A frame is described by where its edges are. The description of a video has its mean over time taken away. Two
videos are compared by the cosine of their descriptions, at the phase where they fit best, since a clip may
begin anywhere in an animation.

A large cosine does not yet mean the same motion: videos of one thing share the places where edges can be. So
the frames of the video are also put in many random orders, and the score is how far the true order lies above
them, in standard deviations. Hence a video without an order, such as shuffled frames or frames drawn
independently, scores like any other: by chance alone.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ...intervals import wilson
from ..sampling import Progress
from .truth import Animation

SIZE = 32  # height and width at which motion is compared
GREY = (0.299, 0.587, 0.114)
SMALL = 1e-6
TOP = 5


def edges(video: Tensor) -> Tensor:
    """Describes each frame of ``(F, 3, S, S)`` in [-1, 1] by its edges, ``(F, D)``, less their mean."""
    video = video.float()
    if video.shape[-1] != SIZE:
        video = F.interpolate(video, size=(SIZE, SIZE), mode="area")
    grey = (video * torch.tensor(GREY).view(3, 1, 1)).sum(dim=1, keepdim=True)
    across = grey[..., :-1, 1:] - grey[..., :-1, :-1]
    down = grey[..., 1:, :-1] - grey[..., :-1, :-1]
    found = F.avg_pool2d(torch.cat([across, down], dim=1).abs(), 2).flatten(1)
    found = found - found[0]  # exactly 0 for a video at rest, whose mean is not free of rounding
    return found - found.mean(dim=0)


class Gallery:
    """True animations that a video may move like.

    Args:
        animations: By name.
        fps: Frame rate of the videos.
        num_frames: Their length.
        num_shuffles: Random orders that a video's own order is compared with.
        seed: Decides the orders.
        step: Phases that are tried: every ``step``-th frame of an animation.
    """

    def __init__(
        self,
        animations: Mapping[str, Animation],
        fps: float,
        num_frames: int,
        num_shuffles: int = 96,
        seed: int = 0,
        step: int = 2,
    ) -> None:
        self.names = list(animations)
        generator = torch.Generator().manual_seed(seed)
        own = torch.arange(num_frames)
        others = torch.rand(num_shuffles, num_frames, generator=generator).argsort(dim=1)
        orders = torch.cat([own[None], others])
        # Row ``o`` picks frame ``orders[o, i]`` for time ``i``, for all ``i``: orders, frames times frames.
        self.orders = F.one_hot(orders, num_frames).transpose(1, 2).flatten(1).float()
        frames: list[Tensor] = []
        phases: list[Tensor] = []
        norms: list[Tensor] = []
        for animation in animations.values():
            described = edges(animation.frames.float() / 127.5 - 1)
            starts = animation.starts[::step].tolist()
            seen = torch.stack([animation.indices(start, fps, num_frames) for start in starts])
            norms.append(described.square().sum(dim=1)[seen].sum(dim=1).sqrt() + SMALL)
            phases.append(seen + sum(len(one) for one in frames))
            frames.append(described)
        self.num_phases = [len(seen) for seen in phases]
        self.frames = torch.cat(frames).T  # of all animations, one after the other
        self.phases, self.norms = torch.cat(phases).T.flatten(), torch.cat(norms)

    def scores(self, video: Tensor) -> Tensor:
        """Returns how well a video ``(3, F, S, S)`` in [-1, 1] fits each animation; 0 for one at rest."""
        frames = edges(video.movedim(1, 0))
        frames = frames / (frames.norm() + SMALL)
        products = (frames @ self.frames)[:, self.phases]  # frames, times and phases
        cosine = self.orders @ products.view(-1, len(self.norms)) / self.norms  # orders, phases
        best = torch.stack([own.amax(dim=1) for own in cosine.split(self.num_phases, dim=1)])
        return (best[:, 0] - best[:, 1:].mean(dim=1)) / (best[:, 1:].std(dim=1) + SMALL)

    def ranks(self, videos: Sequence[Tensor], names: Sequence[str], generator: torch.Generator) -> Tensor:
        """Returns the rank of each video's own animation, ``(N,)``, 0 for the best; equals are drawn by lot.

        Args:
            videos: Each ``(3, F, S, S)``.
            names: The animation that each should move like.
            generator: Draws lots.
        """
        ranks = []
        for video, name in zip(videos, names, strict=True):
            scores = self.scores(video)
            own = scores[self.names.index(name)]
            equal = int((scores == own).sum())
            lot = int(torch.randint(equal, (), generator=generator))
            ranks.append(int((scores > own).sum()) + lot)
        return torch.tensor(ranks)


class Ranking:
    """Collects how often the own animation is among the first, by kind of video.

    Args:
        gallery: The animations.
        generator: Draws lots between equals.
        progress: Called as ``progress(part, done, total)``.
    """

    def __init__(
        self, gallery: Gallery, generator: torch.Generator, progress: Progress | None = None
    ) -> None:
        self.gallery, self.generator, self.progress = gallery, generator, progress
        self.shares: dict[str, dict[str, dict[str, float]]] = {}

    def add(self, kind: str, videos: Sequence[Tensor], names: Sequence[str]) -> Tensor:
        """Ranks videos; returns the rank of the own animation of each, ``(N,)``."""
        ranks = []
        for done, (video, name) in enumerate(zip(videos, names, strict=True), 1):
            ranks.append(self.gallery.ranks([video], [name], self.generator))
            if self.progress is not None:
                self.progress(f"motion, {kind}", done, len(videos))
        if not ranks:
            return torch.zeros(0, dtype=torch.long)
        found = torch.cat(ranks)
        self._count(kind, found)
        return found

    def split(self, kind: str, ranks: Tensor, which: Sequence[bool]) -> None:
        """Counts some of the ranks by themselves."""
        if any(which):
            self._count(kind, ranks[torch.tensor(which)])

    def chance(self) -> None:
        """Adds what guessing would give."""
        num = len(self.gallery.names)
        one, five = 1 / num, min(1.0, TOP / num)
        self.shares["chance"] = {
            "top 1": {"value": one, "low": one, "high": one, "n": 0},
            "top 5": {"value": five, "low": five, "high": five, "n": 0},
        }

    def _count(self, kind: str, ranks: Tensor) -> None:
        self.shares[kind] = {"top 1": wilson(ranks < 1), "top 5": wilson(ranks < TOP)}
