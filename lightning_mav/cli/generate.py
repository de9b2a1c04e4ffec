"""``mav generate``: prompts become videos, with a contact sheet and a JSON file each."""

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..utils.console import plain_warnings, stage_progress
from ..utils.errors import UsageError, refusals
from ..utils.textfile import read_prompts
from .arguments import CommandParser, add_import, given, number_in, prompt_of
from .options import add_options, check_until, load_cascade
from .output import base_name, made_before, output_folder
from .provenance import provenance
from .results import add_results, check_background, check_ground, endings_of, publish
from .shares import run_shares, share_of

if TYPE_CHECKING:
    from ..cascade import Cascade, CascadeOutput

EXAMPLE = """examples:
  mav generate "a red car" --out outputs/demo --seed 1
  mav generate "mermaid: dark skin tone" "a red heart"
  mav generate "a large red ball on a white background" --weights micro
  mav generate --prompts prompts.txt --devices 2 --skip-existing

For each prompt the folder receives SLUG-SEED.mp4, .gif or what --formats names, .png (contact sheet) and
.json (all settings). The same video made again replaces the earlier one; a different one of the same name is
called SLUG-SEED-2, and so on. The 16 key frames play at --fps; with the frames between them the video plays
at FPS * FRAME_SKIP, and lasts 15 / FPS seconds. If the weights do not know a prompt, a line says so and names
what is nearest."""


def main(argv: list[str]) -> None:
    """Generates a video for each prompt."""
    args = _parser().parse_args(argv)
    check_until(args)
    check_background(args)
    prompts, start = _prompts(args), time.perf_counter()
    if (count := min(args.devices, len(prompts))) > 1 and args.share is None:
        run_shares(argv, count, args.device)
    elif args.share is None:
        _generate(args, prompts)
    else:
        _generate(args, share_of(prompts, [base_name(prompt, args.seed) for prompt in prompts], args.share))
        return
    print(f"{len(prompts)} video{'s' * (len(prompts) > 1)} in {time.perf_counter() - start:.1f} s")


def _prompts(args: argparse.Namespace) -> list[str]:
    prompts = [prompt_of(argument, number) for number, argument in enumerate(args.prompts, 1)]
    if args.file is not None:
        prompts += read_prompts(args.file)
    if not prompts:
        raise UsageError('no prompts: give a PROMPT, such as "a red car", or a file of them by --prompts')
    return prompts


def _generate(args: argparse.Namespace, prompts: list[str]) -> None:
    """Makes the videos one after the other, and prints the paths of each as soon as it is there."""
    with output_folder(args.out) as folder, plain_warnings():
        args.device = _own_device(args)
        cascade = load_cascade(args, text_only=True)
        check_ground(args, cascade.known.ground)
        origin = provenance(cascade, "diffusers")
        names: dict[str, Any] = {}
        for prompt in prompts:
            asked, base = _asked(args, prompt, cascade) | origin, base_name(prompt, args.seed)
            if args.skip_existing and (
                name := made_before(args.out, base, asked, endings_of(args.formats), names)
            ):
                names[name] = []
                print(f"{prompt}: made before, left out", file=sys.stderr)
                continue
            with stage_progress(prompt) as progress, refusals("mav generate"):
                output = cascade(
                    prompt,
                    seed=args.seed,
                    fps=args.fps,
                    guidance_scale=args.guidance_scale,
                    num_steps=args.steps,
                    frame_skip=args.frame_skip,
                    until=args.until,
                    progress=progress,
                )
            settings = asked | _made(args, prompt, cascade, output)
            print(*publish(folder, args, output, settings, base, names), sep="\n", flush=True)


def _parser() -> CommandParser:
    parser = CommandParser(prog="mav generate", description="Turn prompts into videos.", epilog=EXAMPLE)
    add = parser.add_argument
    add("prompts", nargs="*", metavar="PROMPT", help="what to show; put -- before one that begins with -")
    text = "text file with a prompt in each line; blank lines and those that begin with # are left out"
    add("--prompts", dest="file", type=Path, metavar="FILE", help=text)
    add_options(parser, "fps", "frame-skip", "seed", "steps", "guidance-scale")
    text = "leave out videos that are in --out already, made with the same settings"
    add("--skip-existing", action="store_true", help=text)
    add_options(parser, "until", "weights", "device")
    add_import(parser)
    add_results(parser)
    text = "processes that divide the prompts: on a GPU each, or all on the CPU (default: %(default)s)"
    add("--devices", type=number_in(int, 1, 1000), default=1, metavar="N", help=text)
    add("--share", type=_share, help=argparse.SUPPRESS)  # of one of these processes
    return parser


def _share(text: str) -> tuple[int, int]:
    number, _, count = text.partition("/")
    return int(number), int(count)


def _own_device(args: argparse.Namespace) -> str | None:
    """Returns the device of this process: of several, each has its own GPU."""
    import torch

    if args.share is None or args.device == "cpu" or not torch.cuda.is_available():
        return args.device
    return f"cuda:{args.share[0]}"


def _asked(args: argparse.Namespace, prompt: str, cascade: "Cascade") -> dict[str, Any]:
    """Collects what is known of a video before it is made, but for what makes it, ready for JSON."""
    return {
        "prompt": prompt,
        "seed": args.seed,
        "fps": cascade.known.fps if args.fps is None else args.fps,
        "frame_skip": args.frame_skip,
        "guidance_scale": args.guidance_scale,
        "steps": args.steps,
        "until": args.until,
        **given(args, "background"),
    }


def _made(
    args: argparse.Namespace, prompt: str, cascade: "Cascade", output: "CascadeOutput"
) -> dict[str, Any]:
    """Collects what the stages have made, and with which settings of their own, ready for JSON."""
    from ..models.sampling import Sampling

    sampling = Sampling(args.seed, prompt, args.steps, args.guidance_scale)
    stages = {}
    for stage, result in output.stages.items():
        asked, own = sampling.arguments(stage), getattr(cascade, stage).config["init_args"]
        # All arguments of the stage and its sampler, so that new settings are recorded, too.
        settings = {**own, **own["sampler"]["init_args"], "diffusion": own["diffusion"]["init_args"]}
        del settings["sampler"]
        steps, guidance = settings.pop("num_steps"), asked["guidance_scale"]
        stages[stage] = {
            "shape": list(result.shape[1:]),
            "seed": sampling.stage_seed(stage),
            **settings,
            "steps": asked["num_steps"] or steps,
            "guidance_scale": settings["guidance_scale"] if guidance is None else guidance,
            "seconds": round(output.seconds[stage], 3),
        }
    return {
        "video": {"shape": list(output.video.shape[1:]), "fps": output.fps},
        **({"nearest_names": nearest} if (nearest := cascade.nearest_names(prompt)[0]) else {}),
        "stages": stages,
    }
