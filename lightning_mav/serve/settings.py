"""What a user may choose for each use of the cascade, and in which range."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Setting:
    """A number, or a yes or no, that a user may choose.

    Args:
        label: What the page calls it.
        kind: ``int``, ``float`` or ``bool``.
        low: Least value.
        high: Largest value.
        default: Value at first; None leaves the choice to the weights or the stages.
        info: What it does.
        option: The command's option, without ``--``; None is its name in ``SETTINGS``.
    """

    label: str
    kind: type
    low: float = 0
    high: float = 1
    default: Any = None
    info: str = ""
    option: str | None = None


SETTINGS = {
    "seed": Setting("Seed", int, 0, 2**31 - 1, 0, "The same seed and settings give the same video."),
    "seconds": Setting("Seconds to add", float, 0.1, 10, 1.0),
    "before": Setting("Before the beginning", bool, default=False),
    "frames": Setting("Frames to add", int, 1, 14, None, "1 to 14. If empty: about 2.5 seconds."),
    "frame_skip": Setting("Frame skip", int, 1, 15, 5, "A higher number: smoother, but slower."),
    "fps": Setting("Frames per second", float, 1, 30, None, "Of the 16 key frames. Low: more motion."),
    "result_fps": Setting(
        "Frames per second",
        float,
        1,
        450,
        None,
        "If empty: 5 times the usual rate of key frames.",
        option="fps",
    ),
    "guidance_scale": Setting("Guidance", float, 0, 20, None, "How closely to follow the prompt or file."),
    "share": Setting("Share of the second sentence", float, 0, 1, 0.5),
    "steps": Setting("Steps", int, 1, 100, None, "Denoising steps of every stage. More take longer."),
}
SAMPLING = ("seed", "steps")  # settings of all uses
OF_DECODER = ("fps", "frame_skip", "guidance_scale")  # settings of uses that run the decoder
