"""``mav weights import``: weights that others have trained become those of our stages."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..utils.console import print_table
from ..utils.errors import UsageError, writing
from .arguments import CommandParser

if TYPE_CHECKING:
    from ..clip import Clip

KARLO = """PATH holds the files of Karlo's authors (*prior*.ckpt, *decoder*.ckpt, *sr*.ckpt and *stats*.th),
or is a folder as diffusers keeps it (prior, text_proj, decoder, super_res_first, super_res_last). Nothing is
downloaded. See docs/karlo.md."""

CLIP = """FILE is a checkpoint of NAME in a format of open_clip's: safetensors, a state dict of torch.save, a
training's checkpoint, or OpenAI's TorchScript archive, whose program is not run. Nothing is downloaded. The
weights count as trained: no training overwrites them. See docs/weights.md."""
PIXELS = 0.02  # by which open_clip's rounding to bytes changes a picture, as a share of its largest number


def add_import_command(commands: Any) -> None:
    """Adds ``import`` to the commands of ``mav weights``."""
    text = "turn weights that others published into weights of these stages"
    parser = commands.add_parser("import", help=text, description=f"{text[0].upper()}{text[1:]}.")
    kinds: Any = parser.add_subparsers(metavar="clip|karlo", required=True, parser_class=CommandParser)
    clip = kinds.add_parser(
        "clip",
        help="a CLIP that open_clip knows",
        description="Import one of open_clip's CLIPs.",
        epilog=CLIP,
    )
    clip.add_argument("name", metavar="NAME", help="open_clip's name, such as ViT-L-14-quickgelu")
    clip.add_argument("path", metavar="FILE", type=Path, help="checkpoint")
    tag = "name in open_clip.list_pretrained(): needed if weights of NAME differ in how they see pictures"
    clip.add_argument("--tag", metavar="TAG", help=tag)
    clip.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        required=True,
        help="such as outputs/karlo/weights/clip.safetensors",
    )
    clip.set_defaults(run=_clip)
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
            "import OpenAI's ViT-L/14 first (docs/karlo.md says how), or name it by --clip"
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


def _clip(args: argparse.Namespace) -> None:
    from ..clip.architectures import build_reference, differences
    from ..weights import save_weights
    from ..weights.imports import TOLERANCE, check_room

    out, path = args.out, args.path
    if out.suffix != ".safetensors":
        raise UsageError(f"--out {out}: name a file that ends in .safetensors")
    if out.exists():
        raise UsageError(f"{out}: already there; move it away, or choose another --out")
    if not path.is_file():
        raise UsageError(f"{path}: no such file: name a checkpoint of {args.name}")
    clip = _read_clip(args)
    state = clip.state_dict().values()
    check_room(out, sum(4 * tensor.numel() for tensor in state), f"{args.name} needs")
    found = differences(clip, build_reference(args.name, path), args.name)
    for what, limit in {"images": TOLERANCE, "texts": TOLERANCE, "pixels": PIXELS}.items():
        if not found[what] <= limit:
            raise UsageError(
                f"{path}: {what} differ from open_clip's by {found[what]:.1e}, more than {limit:g}: nothing "
                "was written; this version does not compute what open_clip does"
            )
    record = {"source": f"open_clip {args.name}", "file": path.name, "tag": args.tag, "differences": found}
    with writing(out, "make room, or choose another --out"):
        save_weights(clip, out, training=record, dtype="fp32")
    print_table(
        ["what", "differs from open_clip's by"],
        [[what, f"{value:.1e}"] for what, value in found.items()],
        f"{args.name}, fp32",
    )
    print(f"{len(state)} tensors, 0 left over, {sum(tensor.numel() for tensor in state):,} parameters")
    print(f"wrote {out}")


def _read_clip(args: argparse.Namespace) -> "Clip":
    """Builds the model and fills it with the tensors of the file, each in its place."""
    from ..clip import Clip
    from ..clip.architectures import clip_arguments, plain_names, preprocessing
    from ..weights.imports import check_fit, read_tensors

    name, path = args.name, args.path
    try:
        settings = {**clip_arguments(name), **preprocessing(name, args.tag, path)}
    except ValueError as error:
        raise UsageError(str(error)) from error
    given = read_tensors(path)
    if "input_resolution" in given and not settings["quick_gelu"]:
        raise UsageError(f"{path}: is OpenAI's, for {name}-quickgelu, not {name}: name that instead")
    tensors = plain_names(given)
    clip = Clip(**settings).eval()
    if "logit_scale" in tensors and tensors["logit_scale"].numel() == 1:
        tensors["logit_scale"] = tensors["logit_scale"].reshape(())  # some keep it as a list of one
    wanted = {key: tensor.shape for key, tensor in clip.model.state_dict().items()}
    check_fit(name, path, tensors, wanted, "name the model of open_clip that the file is of")
    if bad := [key for key, tensor in tensors.items() if not tensor.isfinite().all()]:
        raise UsageError(f"{path}: {bad[0]} holds numbers that are not finite: fetch the file again")
    clip.model.load_state_dict(tensors)
    return clip
