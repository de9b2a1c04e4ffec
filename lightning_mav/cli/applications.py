"""``mav animate``, ``morph``, ``vary``, ``extend``, ``loop`` and ``interpolate``: uses of the cascade."""

import argparse
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..stage_table import ENLARGING, enlarging
from ..utils.console import plain_warnings, stage_progress
from ..utils.errors import UsageError, refusals
from .arguments import CommandParser, add_import, number_in
from .options import Option, add_options, check_until, load_cascade
from .output import base_name, output_folder
from .results import add_results, check_background, check_ground, publish_alone

if TYPE_CHECKING:
    from torch import Tensor

    from ..cascade import Cascade

MAX_EXTENSION = 60.0  # seconds
MAX_ASPECT = 8  # longer side of a video over its shorter one, which is scaled to the stages' size
MAX_NUMBERS = 2**29  # values of all pixels of a result; it is held in memory, four bytes each


@dataclass(frozen=True)
class _Command:
    """One of the commands, named as its function in ``applications``.

    Args:
        text: What it does.
        files: Kind of each file that it takes, ``IMAGE`` or ``VIDEO``.
        shared: Options that other commands have as well.
        own: Its own options.
        begins: Stage that makes the first of its videos; ``--until`` names this one or a later one.
        needs: Stage that has to be loaded, even if ``--until`` names an earlier one.
    """

    text: str
    files: tuple[str, ...]
    shared: tuple[str, ...] = ()
    own: dict[str, Option] = field(default_factory=dict)
    begins: str = "interpolation"
    needs: str = "interpolation"


COMMANDS = {
    "animate": _Command(
        "Make an image move: a video that begins with it.",
        ("IMAGE",),
        ("fps", "frame-skip", "guidance-scale"),
        {
            "by": {
                "choices": ("decoder", "interpolation"),
                "default": "decoder",
                "help": "stage that makes the key frames from the image (default: %(default)s)",
            }
        },
        begins="decoder",
    ),
    "morph": _Command(
        "Turn one image into another.",
        ("IMAGE", "IMAGE"),
        own={
            "fps": {
                "type": number_in(float, 1, 450),
                "metavar": "N",
                "help": "frame rate of the result (default: 5 times that of the weights)",
            }
        },
    ),
    "vary": _Command(
        "Make a similar video, from the mean CLIP embedding of its frames.",
        ("VIDEO",),
        ("fps", "frame-skip", "guidance-scale"),
        begins="decoder",
        needs="decoder",
    ),
    "extend": _Command(
        "Continue a video after its end, or before its beginning.",
        ("VIDEO",),
        own={
            "seconds": {
                "type": number_in(float, 0.01, MAX_EXTENSION),
                "default": 1.0,
                "metavar": "S",
                "help": "seconds to add (default: %(default)s)",
            },
            "before": {"action": "store_true", "help": "add before the beginning instead of after the end"},
        },
    ),
    "loop": _Command(
        "Add frames that lead from the end of a video to its beginning.",
        ("VIDEO",),
        own={
            "frames": {
                "type": number_in(int, 1, 14),
                "metavar": "N",
                "help": "frames to add, 1 to 14 (default: about 2.5 seconds of frames)",
            }
        },
    ),
    "interpolate": _Command("Add frames between those of a video.", ("VIDEO",), ("frame-skip",)),
}


def main(argv: list[str]) -> None:
    """Runs the command that ``argv`` begins with."""
    name, *rest = argv
    args = _parser(name).parse_args(rest)
    check_until(args, COMMANDS[name].begins)
    check_background(args)
    start = time.perf_counter()
    with output_folder(args.out) as folder, plain_warnings():
        cascade = load_cascade(args, at_least=COMMANDS[name].needs)
        check_ground(args, cascade.known.ground)
        from .. import applications
        from ..models.sampling import Sampling
        from ..weights.digest import sha256

        inputs, given = _read(name, args, cascade)
        guidance_scale = given.pop("guidance_scale", None)
        with stage_progress(f"{name} {args.files[0].name}") as progress:
            sampling = Sampling(args.seed, "", args.steps, guidance_scale, progress)
            function = getattr(applications, name)
            with refusals(f"mav {name}"):
                output = function(cascade, *inputs, **given, until=args.until, sampling=sampling)
        settings = {
            "prompt": f"{name} {' '.join(path.name for path in args.files)}",
            "command": name,
            "files": [str(path) for path in args.files],
            "sha256": [sha256(path) for path in args.files],
            "seed": args.seed,
            **given,
            "steps": args.steps,
            "guidance_scale": guidance_scale,
            "until": args.until,
            "background": args.background,
        }
        base = base_name(f"{name} {args.files[0].stem}", args.seed)
        publish_alone(folder, args, cascade, output, settings, base, start)


def _parser(name: str) -> CommandParser:
    command = COMMANDS[name]
    parser = CommandParser(prog=f"mav {name}", description=command.text)
    kind, count = command.files[0], len(command.files)
    parser.add_argument("files", nargs=count, type=Path, metavar=kind, help=f"{kind.lower()} file")
    add_options(parser, *command.shared, **command.own)
    add_options(parser, "seed", "steps", "until", "weights", "device")
    add_import(parser)
    add_results(parser)
    return parser


def _read(name: str, args: argparse.Namespace, cascade: "Cascade") -> tuple[list["Tensor"], dict[str, Any]]:
    """Returns what the function of a command takes: images or a video, as batches of one, and settings.

    Raises:
        UsageError: If a file cannot be read, or has too few frames.
    """
    from ..data.media import read_image_file, read_video_file
    from ..models import shrink

    command = COMMANDS[name]
    names = [option.replace("-", "_") for option in (*command.shared, *command.own)]
    given = {option: getattr(args, option) for option in names}
    if "IMAGE" in command.files:
        return [read_image_file(path)[None] for path in args.files], given
    size = max(cascade.clip.image_size, cascade.decoder.image_size)
    path = args.files[0]

    def smaller(part: "Tensor") -> "Tensor":
        sides = part.shape[-2:]
        if max(sides) > MAX_ASPECT * min(sides):
            raise UsageError(
                f"{path}: {sides[1]}x{sides[0]} pixels: one side is more than {MAX_ASPECT} times "
                "as long as the other; cut it"
            )
        return shrink(part, size)

    video = read_video_file(path, smaller)
    if name == "interpolate" and video.frames.shape[1] < 2:
        raise UsageError(f"{path}: has one frame: there is nothing between; see mav animate")
    given.setdefault("fps", video.fps)
    if "seconds" in given:
        given["num_frames"] = max(1, round(given.pop("seconds") * video.fps))
    if "frames" in given:
        given["num_frames"] = given.pop("frames")
    if name != "vary":
        _check_result(args, cascade, video.frames, given)
    return [video.frames[None]], given


def _check_result(
    args: argparse.Namespace, cascade: "Cascade", video: "Tensor", given: dict[str, Any]
) -> None:
    """Refuses a result that would not fit into memory; ``video`` is ``(3, F, H, W)``.

    Raises:
        UsageError: If the result would be too large.
    """
    from ..applications import loop_frames

    count = (video.shape[1] - 1) * given.get("frame_skip", 1) + 1
    if "num_frames" in given:
        window = cascade.stage("interpolation").num_frames
        count += given["num_frames"] or loop_frames(given["fps"], window)
    share = cascade.decoder.image_size / min(video.shape[-2:])
    for stage in enlarging(ENLARGING[0], args.until) if args.until in ENLARGING else []:
        share *= getattr(cascade, stage).scale
    height, width = (round(side * share) for side in video.shape[-2:])
    if 3 * count * height * width > MAX_NUMBERS:
        raise UsageError(
            f"{args.files[0]}: the result would have {count} frames of {width}x{height}, too many to hold in "
            "memory: cut it into pieces, or stop at an earlier stage by --until"
        )
