"""Options of the commands that make videos, and the cascade that they ask for."""

import argparse
from contextlib import suppress
from typing import TYPE_CHECKING

from ..stage_table import DEFAULT_WEIGHTS, LAST, video_stages
from ..utils.errors import UsageError
from ..utils.numbers import MAX_GUIDANCE
from .arguments import add_import, number_in, seed
from .imports import absent

if TYPE_CHECKING:
    from ..cascade import Cascade


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """Adds ``--seed`` and ``--steps``."""
    add = parser.add_argument
    add("--seed", type=seed, default=0, metavar="N", help="0 or more (default: %(default)s)")
    steps = "denoising steps, as many in every stage, 1 to 1000 (default: each stage's own number)"
    add("--steps", type=number_in(int, 1, 1000), metavar="N", help=steps)


def add_guidance(parser: argparse.ArgumentParser) -> None:
    """Adds ``--guidance-scale``, for commands that run the decoder."""
    parser.add_argument(
        "--guidance-scale",
        type=number_in(float, 0, MAX_GUIDANCE),
        metavar="X",
        help="how closely the video follows the prompt or file; 1 is no guidance (default: the decoder's)",
    )


def add_frame_skip(parser: argparse.ArgumentParser) -> None:
    """Adds ``--frame-skip``, for commands that put frames between those of a video."""
    parser.add_argument(
        "--frame-skip",
        type=number_in(int, 1, 15),
        default=5,
        metavar="K",
        help="frames from one key frame to the next in the result, 1 to 15 (default: %(default)s)",
    )


def add_cascade(parser: argparse.ArgumentParser) -> None:
    """Adds ``--until``, ``--weights``, ``--import`` and ``--device``; see ``load_cascade``."""
    names = ", ".join(video_stages())
    text = f"last stage: {names} (default: %(default)s)"
    parser.add_argument("--until", default=LAST, metavar="STAGE", help=text)
    text = "scale, or folder of weights (default: %(default)s)"
    parser.add_argument("--weights", default=DEFAULT_WEIGHTS, metavar="NAME_OR_DIR", help=text)
    add_import(parser)
    text = "cpu, cuda, cuda:1, ... (default: a GPU if there is one)"
    parser.add_argument("--device", metavar="D", help=text)


def check_until(args: argparse.Namespace) -> None:
    """Refuses a stage that is none; after parsing, since a module that ``--import`` names may add stages.

    Raises:
        UsageError: If ``--until`` names none.
    """
    if args.until not in video_stages():
        raise UsageError(f"--until {args.until}: no such stage; one of {', '.join(video_stages())}")


def load_cascade(args: argparse.Namespace, *, text_only: bool = False) -> "Cascade":
    """Loads the stages that ``--weights`` and ``--until`` name, onto ``--device``.

    Args:
        args: Options of ``add_cascade``.
        text_only: See ``Cascade.from_pretrained``.

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
    return Cascade.from_pretrained(args.weights, device, until=args.until, text_only=text_only)
