"""``mav evaluate``: measures what the weights can do."""

import argparse
import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..utils.console import plain_warnings, stage_progress
from ..utils.errors import UsageError, refusals
from .arguments import CommandParser, add_evaluation, given, number_in
from .output import output_folder, publishing
from .provenance import provenance, sign

if TYPE_CHECKING:
    from ..cascade import Cascade
    from ..evaluation.worlds.bench import WorldBench

BENCHES = ("micro", "emoji", "apps", "apps_emoji")
SCOPES = ("cascade", "decoder", "image")
PROTOCOLS = ("ucf101", "msrvtt", "prompts")  # commands of their own, with other options
EXAMPLE = """examples:
  mav evaluate micro --stage decoder --num-per-class 12
  mav evaluate emoji --weights outputs/emoji/weights   # needs data/emoji, and mav weights train emoji_judge
  mav evaluate apps --interpolation outputs/micro/weights/interpolation.safetensors

The folder receives report.json, report.md, index.html to look at, the videos it shows and contact sheets."""


def main(argv: list[str]) -> None:
    """Judges the weights, prints tables and writes a report."""
    protocol, rest = _protocol(argv)
    if protocol is not None:
        from .protocol import main as run_protocol

        run_protocol(protocol, rest)
        return
    args = _parser().parse_args(argv)
    if (args.named or args.bench) not in BENCHES:
        raise UsageError(f"BENCH comes first: mav evaluate {args.named or args.bench} ...")
    bench, start = args.named or args.bench, time.perf_counter()
    out = args.out or Path("outputs/evaluate") / bench
    # The folder is made first, so that one that cannot be written costs no minutes.
    with output_folder(out) as folder, plain_warnings():
        from ..evaluation.report import (
            check_section,
            keep_other_report,
            print_tables,
            replace_section,
            write_report,
        )
        from ..evaluation.worlds.bench import find_bench
        from ..training.runs import config_folder

        world = find_bench(bench)
        scope = args.scope or next(iter(world.last_stage))
        if scope not in world.last_stage:
            raise UsageError(f"--stage {scope}: {bench} judges {' or '.join(world.last_stage)}")
        if args.docs is not None:
            check_section(args.docs, bench)
        overrides = given(args, "seed", "num_per_class", "steps")
        if bench != "micro" and "num_per_class" in overrides:
            raise UsageError("--num-per-class is for micro: set the numbers of the others in a --config")
        config = args.config or config_folder() / "eval" / f"{bench}.yaml"
        settings = world.load_settings(config, **overrides)
        keep_other_report(out, world.title_of(scope))
        cascade = _load(args, world, scope)
        with stage_progress(f"evaluate {bench}, {scope}") as progress, refusals(f"mav evaluate {bench}"):
            evaluation = world.evaluate(cascade, settings, scope, progress)
        report = world.to_report(evaluation, scope)
        report.settings = dataclasses.asdict(settings)
        sign(report, provenance(cascade, "diffusers"))
        with publishing(folder, out, "the report"):
            world.write_pictures(evaluation, report, folder)
            world.write_videos(evaluation, report, folder)
            report.seconds["total"] = round(time.perf_counter() - start, 2)
            write_report(report, folder)
            names = sorted(path.name for path in folder.iterdir())
    print_tables(report.tables)
    if args.docs is not None:
        replace_section(args.docs, report)
    for name in names:
        print(out / name)
    print(f"evaluated in {report.seconds['total']:.0f} s")


def _protocol(argv: list[str]) -> tuple[str | None, list[str]]:
    """Returns the protocol that is asked for, if one is, and the arguments that are left."""
    if argv and argv[0] in PROTOCOLS:
        return argv[0], argv[1:]
    parser = CommandParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--bench")
    found, rest = parser.parse_known_args(argv)
    return (found.bench, rest) if found.bench in PROTOCOLS else (None, argv)


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="mav evaluate",
        description="Measure what the weights can do.",
        epilog=EXAMPLE,
    )
    add, benches = parser.add_argument, (*BENCHES, *PROTOCOLS)
    own = f"{', '.join(PROTOCOLS)}, which have their own options (BENCH --help)"
    more = f"{BENCHES[0]} (default), {', '.join(BENCHES[1:])}, or {own}"
    add("bench", nargs="?", choices=benches, default=BENCHES[0], metavar="BENCH", help=more)
    add("--bench", dest="named", choices=benches, metavar="BENCH", help="the same, by name")
    scopes = f"what to judge of micro and emoji: {', '.join(SCOPES)} (default: {SCOPES[0]})"
    add("--stage", dest="scope", choices=SCOPES, metavar="STAGE", help=scopes)
    num = "micro: prompts of each shape, seen and held out (default: the bench's)"
    add("--num-per-class", type=number_in(int, 1), metavar="N", help=num)
    add("--interpolation", type=Path, metavar="FILE", help="interpolation of another weights file")
    docs = "page in which the section of the bench is replaced, between its marks <!-- BENCH:begin/end -->"
    add("--docs", type=Path, metavar="MD", help=docs)
    add_evaluation(parser)
    return parser


def _load(args: argparse.Namespace, world: "WorldBench", scope: str) -> "Cascade":
    """Loads the stages that a scope needs; for ``image``, the decoder from before its video training."""
    import torch

    from ..cascade import Cascade
    from ..weights import load_stage, weights_files

    weights, until = world.weights if args.weights is None else args.weights, world.last_stage[scope]
    if scope == "image":
        files = weights_files(weights, until=until)
        before_videos = files["decoder"].with_name("decoder_image.safetensors")
        if before_videos.is_file():
            files["decoder"] = before_videos
        cascade = Cascade(**{name: load_stage(name, path) for name, path in files.items()})
        cascade.files = files
        return cascade.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    cascade = Cascade.from_pretrained(weights, until=until)
    if args.interpolation is not None:
        if cascade.interpolation is None:
            raise UsageError(f"--interpolation: --stage {scope} does without it")
        other = load_stage("interpolation", args.interpolation)
        cascade.interpolation = other.to(cascade.device).eval()
        cascade.files["interpolation"] = args.interpolation
    return cascade
