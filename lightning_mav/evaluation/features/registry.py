"""Which feature networks there are, and where their files lie."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ...utils.errors import UsageError
from ...utils.paths import expanded
from ...weights import OUTPUTS, SHIPPED
from .resize import InputContract

VARIABLE = "MAV_FEATURES"
DEFAULT_FOLDER = Path("outputs/features")


@dataclass(frozen=True)
class Spec:
    """An entry of ``registry.yaml``, which explains the fields.

    Args:
        name: Its name.
        title: What it is.
        file: Name of its file.
        source: Where to get the file.
        sha256: Checksum, or None.
        call: How the network is called.
        outputs: Number of values that it returns for a video.
        output: ``features``, ``logits`` or ``probabilities``.
        frames: Fewest and most frames; None for any number.
        input: Input that it expects.
    """

    name: str
    title: str
    file: str
    source: str
    sha256: str | None
    call: str
    outputs: int
    output: str
    frames: tuple[int, int | None]
    input: InputContract

    @property
    def is_shipped(self) -> bool:
        """Whether it is one of the project's own."""
        return self.file.endswith(".safetensors")


def _load(path: Path) -> dict[str, Spec]:
    entries: dict[str, dict[str, Any]] = yaml.safe_load(path.read_bytes())
    return {
        name: Spec(
            name=name, **{**entry, "frames": tuple(entry["frames"]), "input": InputContract(**entry["input"])}
        )
        for name, entry in entries.items()
    }


FEATURES = _load(Path(__file__).with_name("registry.yaml"))


def find_spec(name: str) -> Spec:
    """Returns the entry of a network.

    Raises:
        UsageError: If there is none of this name.
    """
    if name not in FEATURES:
        raise UsageError(f"no feature network {name!r}; there are {', '.join(FEATURES)}")
    return FEATURES[name]


def features_folder(folder: Path | None = None) -> Path:
    """Returns the folder of third-party files: ``folder``, else $MAV_FEATURES, else outputs/features."""
    return folder or Path(expanded(os.environ.get(VARIABLE) or str(DEFAULT_FOLDER)))


def find_features(name: str, folder: Path | None = None) -> Path:
    """Returns where the file of a network is or must be put.

    Args:
        name: Name in the registry.
        folder: Folder of third-party files, see ``features_folder``. For the project's own networks, a file
            that you trained takes precedence over the shipped one.

    Raises:
        UsageError: If there is no network of this name.
    """
    spec = find_spec(name)
    if spec.is_shipped:
        own, shipped = OUTPUTS / "micro" / "weights" / spec.file, SHIPPED / "micro" / spec.file
        return own if own.is_file() else shipped
    return features_folder(folder) / spec.file
