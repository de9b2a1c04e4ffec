"""``mav weights import``: weights that others have trained become those of our stages."""

import argparse
from pathlib import Path
from typing import Any

from ..utils.console import print_table
from ..utils.errors import UsageError
from .arguments import CommandParser

KARLO = """PATH holds the files of Karlo's authors (*prior*.ckpt, *decoder*.ckpt, *sr*.ckpt and *stats*.th),
or is a folder as diffusers keeps it (prior, text_proj, decoder, super_res_first, super_res_last). Nothing is
downloaded. See docs/karlo.md."""


def add_import_command(commands: Any) -> None:
    """Adds ``import`` to the commands of ``mav weights``."""
    text = "make weights of others those of our stages"
    parser = commands.add_parser("import", help=text, description=f"{text[0].upper()}{text[1:]}.")
    kinds: Any = parser.add_subparsers(metavar="karlo", required=True, parser_class=CommandParser)
    karlo = kinds.add_parser(
        "karlo", help="Karlo, an open unCLIP", description="Import Karlo's five networks.", epilog=KARLO
    )
    add = karlo.add_argument
    add("path", metavar="PATH", type=Path, help="folder with the files")
    add("--scale", default="karlo", metavar="SCALE", help="scale that has their sizes (default: karlo)")
    add("--clip", metavar="NAME_OR_FILE", help="CLIP that Karlo was trained with (default: SCALE/clip)")
    add("--out", type=Path, metavar="DIR", help="(default: outputs/SCALE/weights)")
    karlo.set_defaults(run=_karlo)


def _karlo(args: argparse.Namespace) -> None:
    from ..clip import text_half
    from ..training.runs import find_run, model_settings, scale_name
    from ..weights import OUTPUTS, find_weights, load_stage
    from ..weights.imports import PARTS, Text, import_karlo

    name = scale_name(args.scale)
    out = args.out or OUTPUTS / name / "weights"
    runs = {stage: find_run(stage, None, args.scale) for stage in PARTS}
    files = {stage: out / f"{run.name}.safetensors" for stage, run in runs.items()}
    if there := [str(path) for path in files.values() if path.exists()]:
        raise UsageError(f"{', '.join(there)}: already there; move it away, or choose another --out")
    settings = {stage: model_settings(run, args.scale) for stage, run in runs.items()}
    try:
        path = find_weights(args.clip or f"{name}/clip")
    except UsageError as error:
        raise UsageError(
            f'no weights of {args.clip or f"{name}/clip"}: the decoder needs what CLIP makes of the text "": '
            "save OpenAI's ViT-L/14 first (docs/karlo.md says how), or name it by --clip"
        ) from error
    clip = load_stage("clip", path, text_half)
    rows = import_karlo(args.path, settings, Text(*clip.encode_text(clip.tokenize([""]))), files)
    print_table(
        ["network", "tensors", "left over", "parameters", "differs from diffusers' by"],
        [
            [row.module, str(row.num_tensors), "0", f"{row.num_parameters:,}", f"{row.difference:.1e}"]
            for row in rows
        ],
        "Karlo, fp32",
    )
    for file in files.values():
        print(f"wrote {file}")
