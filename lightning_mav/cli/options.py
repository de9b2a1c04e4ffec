"""Options that several commands have, and the cascade that they ask for."""

import argparse
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..stage_table import DEFAULT_WEIGHTS, LAST, stages_until, video_stages
from ..utils.errors import UsageError
from ..utils.numbers import MAX_GUIDANCE
from .arguments import number_in, seed
from .imports import absent

if TYPE_CHECKING:
    from ..cascade import Cascade

Option = Mapping[str, Any]  # what ``add_argument`` takes besides the name


def add_options(parser: argparse.ArgumentParser, *names: str, **own: Option) -> None:
    """Adds options.

    Args:
        parser: The command's.
        names: Those that other commands have, too, without ``--``.
        own: The command's own, by name.
    """
    shared = _shared()
    for name, option in ({name: shared[name] for name in names} | own).items():
        parser.add_argument(f"--{name}", **option)


def _shared() -> dict[str, Option]:
    return {
        "fps": {
            "type": number_in(float, 1, 30),
            "metavar": "N",
            "help": "frame rate of the 16 key frames, 1 to 30: low for much motion (default: the weights' "
            "own)",
        },
        "frame-skip": {
            "type": number_in(int, 1, 15),
            "default": 5,
            "metavar": "K",
            "help": "frames from one key frame to the next in the result, 1 to 15 (default: %(default)s)",
        },
        "seed": {"type": seed, "default": 0, "metavar": "N", "help": "0 or more (default: %(default)s)"},
        "steps": {
            "type": number_in(int, 1, 1000),
            "metavar": "N",
            "help": "denoising steps, as many in every stage, 1 to 1000 (default: each stage's own number)",
        },
        "guidance-scale": {
            "type": number_in(float, 0, MAX_GUIDANCE),
            "metavar": "X",
            "help": "how closely the video follows the prompt or file, 0 or more; 1 is no guidance "
            "(default: the decoder's own)",
        },
        "until": {
            "default": LAST,
            "metavar": "STAGE",
            "help": f"last stage: {', '.join(video_stages())} (default: %(default)s)",
        },
        "weights": {
            "default": DEFAULT_WEIGHTS,
            "metavar": "NAME_OR_DIR",
            "help": "scale, or folder of weights (default: %(default)s)",
        },
        "device": {
            "metavar": "D",
            "help": "cpu, cuda, cuda:1, ... (default: a GPU if there is one)",
        },
    }


def check_until(args: argparse.Namespace, first: str = "decoder") -> None:
    """Refuses a stage that is none; after parsing, since a module that ``--import`` names may add stages.

    Args:
        args: The options.
        first: Stage that the command begins with; an earlier one would give nothing.

    Raises:
        UsageError: If ``--until`` names no stage, or an earlier one.
    """
    try:
        stages_until(args.until, first)
    except ValueError as error:
        raise UsageError(f"--{error}") from None


def load_cascade(
    args: argparse.Namespace, *, text_only: bool = False, at_least: str | None = None
) -> "Cascade":
    """Loads the stages that ``--weights`` and ``--until`` name, onto ``--device``.

    Args:
        args: Those options.
        text_only: See ``Cascade.from_pretrained``.
        at_least: Stage that is needed even if ``--until`` names an earlier one.

    Raises:
        UsageError: If there are no such weights, or no such device.
    """
    # Before anything else imports diffusers. Its utilities would import TorchDynamo, which takes nearly as
    # long as torch itself, to mark models for a compiler that this program never runs; and SciPy, if it is
    # installed, for schedules that no stage uses.
    with absent("torch._dynamo"), absent("scipy"), suppress(ImportError):
        import diffusers  # noqa: F401
    from ..cascade import Cascade
    from ..utils.precision import usable_device

    device = None if args.device is None else usable_device("--device", args.device)
    until = max(args.until, at_least or args.until, key=video_stages().index)
    return Cascade.from_pretrained(args.weights, device, until=until, text_only=text_only)
