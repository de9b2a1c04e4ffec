"""``mav generate``: prompts become videos, with a contact sheet and a JSON file each."""

import argparse
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..stage_table import DEFAULT_WEIGHTS, LAST, video_stages
from ..utils.console import plain_warnings, stage_progress
from ..utils.errors import UsageError
from ..utils.numbers import MAX_GUIDANCE
from .arguments import CommandParser, add_import, given, number_in, prompt_of, seed
from .imports import absent
from .output import base_name, output_folder
from .provenance import provenance
from .results import add_results, check_background, publish

if TYPE_CHECKING:
    from ..cascade import Cascade, CascadeOutput

EXAMPLE = """examples:
  mav generate "a red car" --out outputs/demo --seed 1
  mav generate "mermaid: dark skin tone" "a red heart"
  mav generate "a large red ball on a white background" --weights micro

For each prompt the folder receives SLUG-SEED.mp4, .gif or what --formats names, .png (contact sheet) and
.json (all settings). The same video made again replaces the earlier one; a different one of the same name is
called SLUG-SEED-2, and so on. The 16 key frames play at --fps; with the frames between them the video plays
at FPS * FRAME_SKIP, and lasts 15 / FPS seconds. If the weights do not know a prompt, a line says so and names
what is nearest."""


def main(argv: list[str]) -> None:
    """Generates a video for each prompt."""
    args = _parser().parse_args(argv)
    if args.until not in video_stages():
        raise UsageError(f"--until {args.until}: no such stage; one of {', '.join(video_stages())}")
    check_background(args)
    prompts = [prompt_of(argument, number) for number, argument in enumerate(args.prompts, 1)]
    start = time.perf_counter()
    with output_folder(args.out) as folder, plain_warnings():
        cascade = _load(args)
        names: dict[str, list[Path]] = {}
        for prompt in prompts:
            with stage_progress(prompt) as progress:
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
            settings = _settings(args, prompt, cascade, output)
            publish(folder, args, output, settings, base_name(prompt, args.seed), names)
    for paths in names.values():
        print(*paths, sep="\n")
    print(f"{len(names)} video{'s' * (len(names) > 1)} in {time.perf_counter() - start:.1f} s")


def _parser() -> CommandParser:
    parser = CommandParser(prog="mav generate", description="Turn prompts into videos.", epilog=EXAMPLE)
    add = parser.add_argument
    add("prompts", nargs="+", metavar="PROMPT", help="what to show")
    add("--seed", type=seed, default=0, metavar="N", help="0 or more (default: %(default)s)")
    add(
        "--fps",
        type=number_in(float, 1, 30),
        metavar="N",
        help="frame rate of the 16 key frames, 1 to 30: low for much motion (default: the weights' own)",
    )
    add(
        "--frame-skip",
        type=number_in(int, 1, 15),
        default=5,
        metavar="K",
        help="frames from one key frame to the next, 1 to 15; 15 * K + 1 in all (default: %(default)s)",
    )
    add(
        "--guidance-scale",
        type=number_in(float, 0, MAX_GUIDANCE),
        metavar="X",
        help="how closely the decoder follows the prompt, 0 or more; 1 is no guidance (default: its own)",
    )
    add(
        "--steps",
        type=number_in(int, 1, 1000),
        metavar="N",
        help="denoising steps of every stage, 1 to 1000 (default: each stage's own)",
    )
    names = ", ".join(video_stages())
    add("--until", default=LAST, metavar="STAGE", help=f"last stage: {names} (default: %(default)s)")
    add(
        "--weights",
        default=DEFAULT_WEIGHTS,
        metavar="NAME_OR_DIR",
        help="scale, or folder of weights (default: %(default)s)",
    )
    add_results(parser)
    add_import(parser)
    add("--device", metavar="D", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)")
    return parser


def _load(args: argparse.Namespace) -> "Cascade":
    # Before anything else imports diffusers. Its utilities would import TorchDynamo, which takes nearly as
    # long as torch itself, to mark models for a compiler that this program never runs; and SciPy, if it is
    # installed, for schedules that no stage uses.
    with absent("torch._dynamo"), absent("scipy"), suppress(ImportError):
        import diffusers  # noqa: F401
    from ..cascade import Cascade
    from ..utils.precision import usable_device

    device = None if args.device is None else usable_device("--device", args.device)
    return Cascade.from_pretrained(args.weights, device, until=args.until, text_only=True)


def _settings(
    args: argparse.Namespace, prompt: str, cascade: "Cascade", output: "CascadeOutput"
) -> dict[str, Any]:
    """Collects all that made the video, ready for JSON."""
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
        "prompt": prompt,
        "seed": args.seed,
        "fps": output.rates["decoder"],
        "frame_skip": args.frame_skip,
        "guidance_scale": args.guidance_scale,
        "steps": args.steps,
        "until": args.until,
        **given(args, "background"),
        "video": {"shape": list(output.video.shape[1:]), "fps": output.fps},
        **({"nearest_names": nearest} if (nearest := cascade.nearest_names(prompt)[0]) else {}),
        "stages": stages,
        **provenance(cascade, "diffusers"),
    }
