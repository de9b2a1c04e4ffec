"""``mav animate``, ``morph``, ``vary``, ``extend``, ``loop`` and ``interpolate``: uses of the cascade."""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..utils.console import plain_warnings, stage_progress
from ..utils.errors import UsageError
from .arguments import CommandParser, number_in
from .options import add_cascade, add_frame_skip, add_guidance, add_sampling, check_until, load_cascade
from .output import base_name, output_folder
from .provenance import provenance
from .results import add_results, check_background, publish

if TYPE_CHECKING:
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


def main(argv: list[str]) -> None:
    """Runs the command that ``argv`` begins with."""
    name, *rest = argv
    args = _parser(name).parse_args(rest)
    check_until(args)
    check_background(args)
    start = time.perf_counter()
    with output_folder(args.out) as folder, plain_warnings():
        cascade = load_cascade(args)
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
    if name in ("animate", "morph", "vary"):
        add("--fps", type=number_in(float, 1, 450), metavar="N", help="frame rate (default: the weights')")
    if name in ("animate", "vary", "interpolate"):
        add_frame_skip(parser)
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
    add_sampling(parser)
    add_guidance(parser)
    add_cascade(parser)
    add_results(parser)
    return parser


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
    video = read_video_file(args.files[0], lambda part: shrink(part, size))
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
    return partial(_call, function, frames, given), given


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
