"""``mav animate``, ``morph``, ``vary``, ``extend``, ``loop`` and ``interpolate``: uses of the cascade."""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..stage_table import DEFAULT_WEIGHTS, ENLARGING, LAST, enlarging, video_stages
from ..utils.console import plain_warnings, stage_progress
from ..utils.errors import UsageError
from .arguments import CommandParser, add_import, number_in, seed
from .output import base_name, output_folder
from .provenance import provenance
from .results import add_results, check_background, publish

if TYPE_CHECKING:
    from torch import Tensor

    from ..cascade import Cascade
    from ..models.sampling import Sampling

# For each command: what it says, and the files that it takes.
COMMANDS = {
    "animate": ("Make an image move: a video that begins with it.", ("IMAGE",)),
    "morph": ("Lead from one image to another.", ("IMAGE", "IMAGE")),
    "vary": ("Make a similar video, from the mean CLIP embedding of its frames.", ("VIDEO",)),
    "extend": ("Go on with a video, after its end or before its beginning.", ("VIDEO",)),
    "loop": ("Add frames that lead from the end of a video to its beginning.", ("VIDEO",)),
    "interpolate": ("Put frames between those of a video.", ("VIDEO",)),
}
MAX_EXTENSION = 60.0  # seconds
MAX_ASPECT = 8  # longer side over shorter side of a video, as the shorter one is brought to the stages' size
MAX_NUMBERS = 2**29  # of all pixels of a result, which is held in memory, four bytes each


def main(argv: list[str]) -> None:
    """Runs the command that ``argv`` begins with."""
    name, *rest = argv
    args = _parser(name).parse_args(rest)
    if args.until not in video_stages():
        raise UsageError(f"--until {args.until}: no such stage; one of {', '.join(video_stages())}")
    check_background(args)
    start = time.perf_counter()
    with output_folder(args.out) as folder, plain_warnings():
        cascade = _load(args)
        draw, given = _read(name, args, cascade)
        with stage_progress(f"{name} {args.files[0].name}") as progress:
            from ..models.sampling import Sampling

            sampling = Sampling(args.seed, "", args.steps, args.guidance_scale, progress)
            output = draw(cascade, until=args.until, sampling=sampling)
        settings = _settings(name, args, cascade, sampling, given)
        settings["video"] = {"shape": list(output.video.shape[1:]), "fps": output.fps}
        names: dict[str, list[Path]] = {}
        publish(folder, args, output, settings, base_name(f"{name} {args.files[0].stem}", args.seed), names)
    for paths in names.values():
        print(*paths, sep="\n")
    print(f"{output.video.shape[2]} frames in {time.perf_counter() - start:.1f} s")


def _parser(name: str) -> CommandParser:
    text, files = COMMANDS[name]
    parser = CommandParser(prog=f"mav {name}", description=text)
    add = parser.add_argument
    kind = files[0].lower()
    add("files", nargs=len(files), type=Path, metavar=files[0], help=f"{kind} file")
    add("--seed", type=seed, default=0, metavar="N", help="0 or more (default: %(default)s)")
    if name in ("animate", "morph", "vary"):
        add("--fps", type=number_in(float, 1, 450), metavar="N", help="frame rate (default: the weights')")
    if name in ("animate", "vary", "interpolate"):
        skip = "frames from one key frame to the next, 1 to 15 (default: %(default)s)"
        add("--frame-skip", type=number_in(int, 1, 15), default=5, metavar="K", help=skip)
    if name == "animate":
        ways, default = ("decoder", "interpolation"), "decoder"
        add("--by", choices=ways, default=default, help="which stage goes on from it (default: %(default)s)")
    if name == "extend":
        seconds = number_in(float, 0.01, MAX_EXTENSION)
        add("--seconds", type=seconds, default=1.0, metavar="S", help="to add (default: %(default)s)")
        add("--before", action="store_true", help="before the beginning instead of after the end")
    if name == "loop":
        frames = "frames to add, 1 to 14 (default: %(default)s)"
        add("--frames", type=number_in(int, 1, 14), default=8, metavar="N", help=frames)
    steps = "denoising steps of every stage, 1 to 1000 (default: each stage's own)"
    add("--steps", type=number_in(int, 1, 1000), metavar="N", help=steps)
    scale = "how closely the decoder follows the embedding (default: its own)"
    add("--guidance-scale", type=number_in(float, 0, 1000), metavar="X", help=scale)
    stage = f"last stage: {', '.join(video_stages())} (default: %(default)s)"
    add("--until", default=LAST, metavar="STAGE", help=stage)
    weights = "scale, or folder of weights (default: %(default)s)"
    add("--weights", default=DEFAULT_WEIGHTS, metavar="NAME_OR_DIR", help=weights)
    add_results(parser)
    add_import(parser)
    add("--device", metavar="D", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)")
    return parser


def _load(args: argparse.Namespace) -> "Cascade":
    from ..cascade import Cascade
    from ..utils.precision import usable_device

    device = None if args.device is None else usable_device("--device", args.device)
    return Cascade.from_pretrained(args.weights, device, until=args.until)


def _read(
    name: str, args: argparse.Namespace, cascade: "Cascade"
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Reads the files; returns what draws the video, and the settings of this command alone."""
    from .. import applications
    from ..data.media import read_image_file, read_video_file
    from ..models import shrink

    function = getattr(applications, name)
    if COMMANDS[name][1][0] == "IMAGE":
        images = [read_image_file(path)[None] for path in args.files]
        given = {"fps": args.fps}
        if name == "animate":
            given |= {"frame_skip": args.frame_skip, "by": args.by}
        return partial(_call, function, images, given), given
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
    frames = [video.frames[None]]
    if name == "vary":
        given = {"fps": args.fps, "frame_skip": args.frame_skip}
        return partial(_call, function, frames, given), given
    given = {"fps": video.fps}
    if name == "interpolate":
        given |= {"frame_skip": args.frame_skip}
        if video.frames.shape[1] < 2:
            raise UsageError(f"{args.files[0]}: has one frame: there is nothing between; see mav animate")
    elif name == "extend":
        given |= {"num_frames": max(1, round(args.seconds * video.fps)), "before": args.before}
    else:
        given |= {"num_frames": args.frames}
    _check_result(name, args, cascade, frames[0], given)
    return partial(_call, function, frames, given), given


def _check_result(
    name: str, args: argparse.Namespace, cascade: "Cascade", video: "Tensor", given: dict[str, Any]
) -> None:
    """Refuses what would not fit into memory.

    Raises:
        UsageError: If the result would be too large.
    """
    count = video.shape[2]
    if name == "interpolate":
        count = (count - 1) * given["frame_skip"] + 1
    else:
        count += given["num_frames"]
    share = cascade.decoder.image_size / min(video.shape[-2:])
    for stage in enlarging(ENLARGING[0], args.until) if args.until in ENLARGING else []:
        share *= getattr(cascade, stage).scale
    height, width = (round(side * share) for side in video.shape[-2:])
    if 3 * count * height * width > MAX_NUMBERS:
        raise UsageError(
            f"{args.files[0]}: the result would have {count} frames of {width}x{height}, too many to hold in "
            "memory: cut it into pieces, or stop at an earlier stage by --until"
        )


def _call(
    function: Callable[..., Any], inputs: list[Any], given: dict[str, Any], cascade: "Cascade", **rest: Any
) -> Any:
    return function(cascade, *inputs, **given, **rest)


def _settings(
    name: str, args: argparse.Namespace, cascade: "Cascade", sampling: "Sampling", given: dict[str, Any]
) -> dict[str, Any]:
    """Collects all that made the video, ready for JSON."""
    return {
        "prompt": f"{name} {' '.join(path.name for path in args.files)}",
        "command": name,
        "files": [str(path) for path in args.files],
        "seed": args.seed,
        **given,
        "steps": args.steps,
        "guidance_scale": args.guidance_scale,
        "until": args.until,
        "background": args.background,
        **provenance(cascade, "diffusers"),
    }
