"""``mav blend``: a video of what lies between two sentences."""

import time
import warnings

from ..utils.console import plain_warnings, stage_progress
from ..utils.errors import refusals
from .arguments import CommandParser, add_import, given, number_in, prompt_of
from .options import add_options, check_until, load_cascade
from .output import base_name, output_folder
from .results import add_results, check_background, check_ground, publish_alone

EXAMPLE = """examples:
  mav blend "a red car" "a red heart"
  mav blend "a red car" "a red heart" --share 0.25     more of the car

The prior draws an image embedding of each sentence, both from the same noise. The video is drawn from an
embedding between the two. Several shares with one seed go from one sentence to the other."""


def main(argv: list[str]) -> None:
    """Makes the video."""
    args = _parser().parse_args(argv)
    first, second = (prompt_of(text, number) for number, text in enumerate(args.prompts, 1))
    check_until(args)
    check_background(args)
    start = time.perf_counter()
    with output_folder(args.out) as folder, plain_warnings():
        cascade = load_cascade(args, text_only=True)
        check_ground(args, cascade.known.ground)
        from ..applications import blend_prompts
        from ..models.sampling import Sampling

        for prompt in (first, second):
            if warning := cascade.known.warning(prompt, *cascade.nearest_names(prompt)):
                warnings.warn(warning, stacklevel=2)
        title = f"{first} | {second}"
        with stage_progress(title) as progress, refusals("mav blend"):
            sampling = Sampling(args.seed, "", args.steps, args.guidance_scale, progress)
            rest = {"fps": args.fps, "frame_skip": args.frame_skip, "until": args.until}
            output = blend_prompts(cascade, first, second, args.share, sampling=sampling, **rest)
        settings = {
            "prompt": title,
            "command": "blend",
            "prompts": [first, second],
            "share": args.share,
            "seed": args.seed,
            **rest,
            "fps": output.rates["decoder"],
            "guidance_scale": args.guidance_scale,
            "steps": args.steps,
            **given(args, "background"),
        }
        base = base_name(f"blend {args.share:g} {title}", args.seed)
        publish_alone(folder, args, cascade, output, settings, base, start)


def _parser() -> CommandParser:
    text = "Make a video of what lies between two sentences."
    parser = CommandParser(prog="mav blend", description=text, epilog=EXAMPLE)
    parser.add_argument(
        "prompts", nargs=2, metavar="PROMPT", help="a sentence; put -- before one that begins with -"
    )
    share = {
        "type": number_in(float, 0, 1),
        "default": 0.5,
        "metavar": "X",
        "help": "share of the second sentence, 0 to 1 (default: %(default)s)",
    }
    add_options(parser, "fps", "frame-skip", "guidance-scale", share=share)
    add_options(parser, "seed", "steps", "until", "weights", "device")
    add_import(parser)
    add_results(parser)
    return parser
