"""What made a video or a report: weights, versions of packages, device and precision."""

from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

    from ..evaluation.report import Report


class Loaded(Protocol):
    """Stages that were loaded from files, such as a cascade."""

    @property
    def files(self) -> Mapping[str, Path]:
        """The file of each stage."""

    @property
    def device(self) -> "torch.device":
        """Where the stages are."""


def provenance(
    cascade: Loaded, *packages: str, device: "torch.device | None" = None, precision: str | None = None
) -> dict[str, Any]:
    """Collects what made a video or a report, ready for JSON.

    Args:
        cascade: Stages that were loaded from files.
        packages: Packages whose versions count, besides this one and torch.
        device: Where it computes, if not where the cascade is now.
        precision: In which precision; None is what suits the device.
    """
    import torch

    from ..utils.precision import precision_name
    from ..weights import sha256

    device = device or cascade.device
    return {
        "weights": {
            stage: {"file": str(path), "sha256": sha256(path)} for stage, path in cascade.files.items()
        },
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "precision": precision or precision_name(device),
        "threads": torch.get_num_threads(),
        "versions": {
            "lightning_mav": metadata.version("lightning-mav"),
            **{name: metadata.version(name) for name in packages},
            "torch": torch.__version__,
        },
    }


def sign(report: "Report", made: dict[str, Any]) -> None:
    """Notes in a report what ``provenance`` found."""
    report.weights, report.versions = made["weights"], made["versions"]
    report.device = f"{made['device']}, {made['threads']} threads, {made['precision']}"
