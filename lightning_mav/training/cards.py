"""Cards: their peak speed, whether a run fits, and how long it takes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from ..utils.errors import UsageError
from ..utils.numbers import check_number
from ..utils.precision import PRECISIONS
from ..utils.settings import read_yaml
from .runs import config_folder


@dataclass(frozen=True)
class Card:
    """A graphics card.

    Args:
        name: Full name.
        memory: GB, of 10^9 bytes.
        tflops: TFLOP/s in bf16, dense.
        source: Where both are from.
        devices: Names of it that CUDA knows.
        calibration: Measured peak memory of a run on it, divided by the planned one; None if none was
            measured.

    Raises:
        ValueError: If a number is not positive.
    """

    name: str
    memory: float
    tflops: float
    source: str
    devices: tuple[str, ...] = ()
    calibration: float | None = None

    def __post_init__(self) -> None:
        for name in ("memory", "tflops", "calibration"):
            if (value := getattr(self, name)) is not None:
                check_number(name, value, 1e-6)


def read_cards(path: Path | None = None) -> dict[str, Card]:
    """Reads a table of cards, by default that of the package.

    Raises:
        UsageError: If the file cannot be read, or a card in it is described otherwise than ``Card``.
    """
    path = path or config_folder() / "cards.yaml"
    found: Any = OmegaConf.to_container(read_yaml(path, "name a YAML file of cards"))
    try:
        return {name: Card(**card) for name, card in found.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise UsageError(f"{path}: is no table of cards ({error}); see configs/cards.yaml") from error


def peak_of(device: torch.device, precision: str) -> float | None:
    """Returns the peak speed of a device, in FLOP/s; None if the table does not have it.

    Args:
        device: The device.
        precision: Precision of a training, named as in ``PRECISIONS``; the table has that of half precision.
    """
    if device.type != "cuda" or PRECISIONS.get(precision) is None:
        return None
    name = torch.cuda.get_device_name(device)
    return next((1e12 * card.tflops for card in read_cards().values() if name in card.devices), None)


def on_card(card: Card, peak: int, flops: float, steps: int, mfu: float) -> dict[str, Any]:
    """Returns whether a run fits a card, and how long it takes there.

    Args:
        card: The card.
        peak: Planned peak memory of a device, in bytes.
        flops: Operations of a device in a step.
        steps: Steps of the run; -1 for no limit.
        mfu: Share of the card's peak speed that is reached.
    """
    needed = peak * (card.calibration or 1)
    seconds = flops / (mfu * card.tflops * 1e12)
    return {
        "name": card.name,
        "memory": round(card.memory * 1e9),
        "needed": round(needed),
        "fits": needed <= card.memory * 1e9,
        "calibrated": card.calibration is not None,
        "seconds_per_step": seconds,
        "days": seconds * steps / 86400 if steps > 0 else None,
    }
