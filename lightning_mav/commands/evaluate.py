"""``mav evaluate``: measures what the weights can do."""

import argparse
import dataclasses
import json
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from .arguments import CommandParser
from .console import plain_warnings, stage_progress
from .generate import number_in
from .output import output_folder, publishing

if TYPE_CHECKING:
    from ..cascade import Cascade
    from ..evaluation.report import Table

BENCHES = ("micro",)
STAGES = ("cascade", "decoder", "image")
EXAMPLE = """example:
  mav evaluate micro --stage decoder --num-per-class 12

The folder receives report.json, report.md, contact_sheet.png, sheets with a contact sheet of each shape and,
for videos, fps_response.png."""


def main(argv: list[str]) -> None:
    """Judges the weights, prints tables and writes a report."""
    args = _parser().parse_args(argv)
    bench, start = args.named or args.bench, time.perf_counter()
    out = args.out or Path("outputs/evaluate") / bench
    # The folder is made first, so that one that cannot be written costs no minutes.
    with output_folder(out) as folder, plain_warnings():
        from ..evaluation import evaluate_micro, load_settings
        from ..evaluation.plot import draw_response
        from ..evaluation.report import tables, to_markdown
        from ..evaluation.sheets import draw_sheet, draw_sheets
        from .runs import config_folder

        overrides = {"seed": args.seed, "num_per_class": args.num_per_class, "steps": args.steps}
        settings = load_settings(args.config or config_folder() / "eval" / f"{bench}.yaml", **overrides)
        cascade = _load(args.weights, args.stage)
        with stage_progress(f"evaluate {bench}, {args.stage}") as progress:
            evaluation = evaluate_micro(cascade, settings, args.stage, progress)
        report = {"bench": bench, "stage": args.stage, **evaluation.report}
        report |= {"settings": dataclasses.asdict(settings), **_origin(cascade)}
        report["seconds"]["total"] = round(time.perf_counter() - start, 2)
        with publishing(folder, out, "the report"):
            (folder / "report.json").write_text(json.dumps(report, indent=2, allow_nan=False) + "\n")
            (folder / "report.md").write_text(to_markdown(report))
            draw_sheet(evaluation).save(folder / "contact_sheet.png")
            (folder / "sheets").mkdir()
            for shape, sheet in draw_sheets(evaluation).items():
                sheet.save(folder / "sheets" / f"{shape}.png")
            if report["fps_response"]:
                draw_response(report["fps_response"]).save(folder / "fps_response.png")
            names = sorted(path.name for path in folder.iterdir())
    _show(tables(report))
    for name in names:
        print(out / name)
    print(f"evaluated in {report['seconds']['total']:.0f} s")


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="mav evaluate",
        description="Measure what the weights can do.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add, benches = parser.add_argument, ", ".join(BENCHES)
    add("bench", nargs="?", choices=BENCHES, default=BENCHES[0], metavar="BENCH", help=f"one of {benches}")
    add("--bench", dest="named", choices=BENCHES, metavar="BENCH", help="the same, by name")
    stages = f"what to judge: {', '.join(STAGES)} (default: %(default)s)"
    add("--stage", choices=STAGES, default=STAGES[0], metavar="STAGE", help=stages)
    weights = "scale, or folder of weights (default: %(default)s)"
    add("--weights", "--scale", default="micro", metavar="NAME_OR_DIR", help=weights)
    add("--out", type=Path, metavar="DIR", help="folder (default: outputs/evaluate/BENCH)")
    num = "prompts of each shape, seen and held out (default: the bench's)"
    add("--num-per-class", type=number_in(int, 1), metavar="N", help=num)
    add("--seed", type=number_in(int, 0), metavar="N", help="0 or more (default: the bench's)")
    steps = "denoising steps of every stage (default: each stage's own)"
    add("--steps", type=number_in(int, 1, 1000), metavar="N", help=steps)
    add("--config", type=Path, metavar="YAML", help="settings instead of the bench's own")
    return parser


def _load(weights: str, stage: str) -> "Cascade":
    """Loads what judging a stage needs; for stills that is the decoder before it saw videos."""
    import torch

    from ..cascade import Cascade, weights_files
    from ..evaluation import LAST_STAGE
    from ..models import Decoder
    from ..weights import load_weights

    if stage != "image":
        return Cascade.from_pretrained(weights, until=LAST_STAGE[stage])
    files = weights_files(weights, until="decoder")
    before_videos = files["decoder"].with_name("decoder_image.safetensors")
    if before_videos.is_file():
        files["decoder"] = before_videos
    stages = {name: load_weights(path) for name, path in files.items()}
    if not isinstance(stages["decoder"], Decoder):
        raise UsageError(f"{files['decoder']}: holds no Decoder; put one there")
    cascade = Cascade(**stages)
    cascade.files = files
    return cascade.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def _origin(cascade: "Cascade") -> dict[str, Any]:
    """Says what was judged, where."""
    import torch

    from ..precision import precision_name
    from ..weights import sha256

    device = cascade.device
    files = cascade.files.items()
    return {
        "weights": {stage: {"file": str(path), "sha256": sha256(path)} for stage, path in files},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "precision": precision_name(device),
        "versions": {"lightning_mav": metadata.version("lightning-mav"), "torch": torch.__version__},
    }


def _show(tables: "list[Table]") -> None:
    from rich.console import Console
    from rich.table import Table as RichTable

    console = Console()
    if not console.is_terminal:
        console.width = 140  # in a file nothing need be cut to 80 columns
    for title, header, rows in tables:
        table = RichTable(*header, title=title, title_justify="left")
        for row in rows:
            table.add_row(*row)
        console.print(table)
