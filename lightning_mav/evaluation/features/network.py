"""Feature networks from files, behind one interface: videos in, features out."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...utils.errors import UsageError, first_line
from ...weights import load_weights, sha256
from .registry import VARIABLE, Spec, features_folder, find_features, find_spec
from .resize import prepare

# How each kind of network is called. All take ``(B, 3, F, S, S)`` in the range of their input contract.
CALLS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "i3d": lambda network, x: network(x, rescale=False, resize=False, return_features=True),
    "plain": lambda network, x: network(x),
    # Skips the network's own resizing, which is not clean-fid's.
    "inception": lambda network, x: network.layers((x[:, :, 0] - 128) / 128).flatten(1),
    "micro_things": lambda network, x: network.things(x),
}


class FeatureNetwork(nn.Module):
    """A frozen network that maps videos to features or logits, resizing included.

    It always computes in single precision and in evaluation mode.

    Args:
        network: The network in the file.
        spec: Its entry in the registry.
        sha256: Checksum of the file.
    """

    def __init__(self, network: nn.Module, spec: Spec, sha256: str) -> None:
        super().__init__()
        self.network = network.eval()
        for parameter in network.parameters():  # TorchScript has no requires_grad_ of its own
            parameter.requires_grad_(False)
        self.spec = spec
        self.name = spec.name
        self.sha256 = sha256
        self.num_features = spec.outputs

    def forward(self, video: Tensor) -> Tensor:
        """Maps videos ``(B, 3, F, H, W)`` in [-1, 1], of any size, to ``(B, num_features)``.

        Images are videos of one frame; an image network takes only those. If the network returns
        probabilities, their logarithms are returned.

        Raises:
            ValueError: If the network does not take that many frames.
        """
        low, high = self.spec.frames
        num_frames = video.shape[2] if video.ndim == 5 else 0
        if not low <= num_frames <= (high or num_frames):
            raise ValueError(
                f"{self.name} takes videos (B, 3, F, H, W) of {self._frames()} frames, "
                f"got {tuple(video.shape)}"
            )
        device = next((tensor.device for tensor in self.network.parameters()), video.device)
        x = prepare(video.to(device), self.spec.input)
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            features = CALLS[self.spec.call](self.network, x).float()
        if features.shape != (len(video), self.num_features):
            raise ValueError(
                f"{self.name}: {self.spec.file} returned {tuple(features.shape)} "
                f"for {len(video)} videos, not {self.num_features} numbers each: it is another network"
            )
        if self.spec.output == "probabilities":
            return features.clamp(min=torch.finfo(features.dtype).tiny).log()
        return features

    def train(self, mode: bool = True) -> "FeatureNetwork":
        """Stays in evaluation mode."""
        return super().train(False)

    def settings(self) -> dict[str, Any]:
        """Returns everything that its features depend on, as plain values."""
        return {
            "name": self.name,
            "sha256": self.sha256,
            "source": self.spec.source,
            **asdict(self.spec.input),
            "frames": self._frames(),
            "output": self.spec.output,
        }

    def _frames(self) -> str:
        low, high = self.spec.frames
        return str(low) if low == high else f"{low} or more" if high is None else f"{low} to {high}"


def load_features(name: str, folder: Path | None = None) -> FeatureNetwork:
    """Loads a feature network.

    Args:
        name: Name in the registry: ``i3d``, ``c3d``, ``inception`` or ``micro_video``.
        folder: Folder of third-party files; by default the environment variable MAV_FEATURES, or else
            ``outputs/features``.

    Raises:
        UsageError: If the name is unknown, or the file is missing, differs from its checksum or is not
            TorchScript.
    """
    spec = find_spec(name)
    path = find_features(name, folder)
    if not path.is_file() and spec.is_shipped:
        raise UsageError(f"{name}: there is no {path}; train it with `mav weights train micro_video`")
    if not path.is_file():
        raise UsageError(
            f"{name}: there is no {path}; fetch {spec.file} from {spec.source} "
            f"and put it into {features_folder(folder)} (or name another folder in {VARIABLE})"
        )
    digest = sha256(path)
    if spec.is_shipped:
        return FeatureNetwork(load_weights(path), spec, digest)
    if spec.sha256 not in (None, digest):
        raise UsageError(
            f"{name}: {path} has the sha256 {digest}, not {spec.sha256}: fetch it again from {spec.source}"
        )
    try:
        network = torch.jit.load(path, map_location="cpu")
    except RuntimeError as error:
        raise UsageError(
            f"{name}: {path} is no TorchScript ({first_line(error)}): fetch it again from {spec.source}"
        ) from error
    return FeatureNetwork(network, spec, digest)
