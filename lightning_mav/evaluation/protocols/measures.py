"""Measures of single videos, and the networks that they need; all load before anything is generated."""

import pickle
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from ...clip import Clip
from ...utils.errors import UsageError, first_line
from ...weights import find_weights, load_weights, sha256
from ..features import load_features
from ..metrics import clip_sim
from .items import Item
from .metrics import METRICS
from .real import even_frames
from .settings import ProtocolSettings


class Measure(nn.Module, ABC):
    """Maps videos ``(B, 3, F, H, W)`` in [-1, 1], and the number of each, to values ``(B, K, D)``."""

    name: str

    @abstractmethod
    def forward(self, video: Tensor, numbers: list[int]) -> Tensor:
        """Measures videos."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Returns everything that the values depend on, as plain values."""


class NetworkMeasure(Measure):
    """Features or logits by a network, of a whole video or of ``num_frames`` evenly spaced frames."""

    def __init__(self, network: Any, num_frames: int | None = None) -> None:
        super().__init__()
        self.name, self.network, self.num_frames = network.name, network, num_frames

    def forward(self, video: Tensor, numbers: list[int]) -> Tensor:
        """Returns ``(B, K, D)``, where ``K`` is 1 for whole videos."""
        if self.num_frames is None:
            return self.network(video)[:, None]
        frames = rearrange(even_frames(video, self.num_frames), "b c f h w -> (b f) c 1 h w")
        return self.network(frames).unflatten(0, (len(video), -1))

    def settings(self) -> dict[str, Any]:
        """Returns the settings of the network, and the number of frames."""
        frames = {} if self.num_frames is None else {"frames_of_each_video": self.num_frames}
        return {"network": self.network.settings(), **frames}


class ClipMeasure(Measure):
    """CLIPSIM of a video and its prompt."""

    name = "clip"

    def __init__(self, clip: Clip, facts: dict[str, Any], texts: Mapping[int, str]) -> None:
        super().__init__()
        self.clip, self.facts, self.texts = clip, facts, texts

    def forward(self, video: Tensor, numbers: list[int]) -> Tensor:
        """Returns ``(B, 1, 1)``."""
        return clip_sim(self.clip, video, [self.texts[number] for number in numbers])[:, None, None]

    def settings(self) -> dict[str, Any]:
        """Returns which CLIP it is."""
        return {"network": self.facts, "frames": "the mean over all"}


def load_measures(settings: ProtocolSettings, items: Sequence[Item]) -> dict[str, Measure]:
    """Loads what every metric needs, and tests it on a blank video of ``num_frames`` frames.

    Raises:
        UsageError: If a network is missing, or does not take such videos.
    """
    folder = Path(settings.features) if settings.features else None
    measures: dict[str, Measure] = {}
    loaded: dict[tuple[str, int | None], Measure] = {}  # FVD and KVD share a network
    for metric in settings.metrics:
        sees = METRICS[metric].sees
        if sees == "prompt":
            measures[metric] = ClipMeasure(*load_clip(settings), {item.id: item.prompt for item in items})
            continue
        name, num_frames = settings.networks[metric], settings.num_frames_fid if sees == "frames" else None
        if (name, num_frames) in loaded:
            measures[metric] = loaded[name, num_frames]
            continue
        measure = NetworkMeasure(load_features(name, folder), num_frames)
        measures[metric] = loaded[name, num_frames] = measure
        try:
            with torch.no_grad():
                measure(torch.zeros(1, 3, settings.num_frames, 64, 64), [items[0].id])
        except ValueError as error:
            raise UsageError(f"{metric}: {error}; choose another num_frames or networks.{metric}") from error
    return measures


def load_clip(settings: ProtocolSettings) -> tuple[Clip, dict[str, Any]]:
    """Loads the CLIP for CLIPSIM: one of open_clip's with weights from a file, or one of the project's own.

    Raises:
        UsageError: If its file is missing, or does not hold these weights.
    """
    name = settings.clip
    if "/" in name or name.endswith(".safetensors"):
        try:
            path = find_weights(name)
            clip = load_weights(path)
        except UsageError as error:
            raise UsageError(
                f"clip: {error}; those of open_clip are spelled like {ProtocolSettings.clip}"
            ) from error
        if not isinstance(clip, Clip):
            raise UsageError(f"clip: {path} holds a {type(clip).__name__}; name a CLIP, such as micro/clip")
        return clip, {"name": name, "sha256": sha256(path)}
    remedy = "fetch OpenAI's ViT-B-32.pt and name it with --clip-file FILE or in MAV_CLIP"
    if settings.clip_file is None:
        raise UsageError(f"CLIPSIM needs the weights of {name}: {remedy}, or judge by --clip micro/clip")
    path = Path(settings.clip_file)
    if not path.is_file():
        raise UsageError(f"CLIPSIM: there is no {path}; {remedy}")
    try:
        clip = Clip.from_open_clip(name, pretrained=path)
    except (RuntimeError, ValueError, KeyError, OSError, EOFError, pickle.UnpicklingError) as error:
        reason = first_line(error)
        raise UsageError(f"CLIPSIM: {path} holds no weights of {name} ({reason}); {remedy}") from error
    return clip, {"name": name, "sha256": sha256(path)}
