"""``mav weights``: lists the networks, checks their files, says where they belong and what they know."""

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..utils.console import plain_warnings, print_table, stage_progress
from ..utils.errors import UsageError, writing
from ..utils.paths import visible
from .arguments import CommandParser, colour, given, number_in, seed
from .output import output_folder
from .weights_import import add_import_command
from .weights_whiten import add_whiten_command

if TYPE_CHECKING:
    from torch import nn

    from ..evaluation.worlds.sampling import Progress

    Trained = tuple[nn.Module, dict[str, Any]]  # a network, and what to record of its training

OUT = {  # where networks go that only measure
    "micro_video": Path("outputs/micro/weights/video_features.safetensors"),
    "emoji_judge": Path("outputs/emoji/weights/judge.safetensors"),
}
EXAMPLE = """examples:
  mav weights list
  mav weights path i3d
  mav weights check
  mav weights train emoji_judge --data data/emoji
  mav weights import karlo downloads/karlo
  mav weights import clip ViT-L-14-quickgelu ViT-L-14.pt --out outputs/karlo/weights/clip.safetensors
  mav weights prompts outputs/emoji/weights --names data/emoji/emoji.json --images data/emoji/images --fps 8

`prompts` writes prompts.json beside the weights. What is not given stays as it is in that file. With --images
it also writes CLIP's embeddings of the pictures into prompts.safetensors: prompts are then compared with what
they show, not with how they are called. New names without --images remove the pictures of the old ones.
Feature networks of others are looked for in the folder that --folder or the environment variable MAV_FEATURES
names, else in outputs/features."""


class File(NamedTuple):
    """A file of weights: what it is called, where it is or belongs, its checksum if known, and its source."""

    name: str
    path: Path
    sha256: str | None
    source: str


def main(argv: list[str]) -> None:
    """Runs ``list``, ``check``, ``path``, ``prompts``, ``train``, ``import`` or ``whiten``."""
    args = _parser().parse_args(argv)
    with plain_warnings():
        args.run(args)


def find_files(folder: Path | None = None) -> list[File]:
    """Lists the feature networks, then the shipped and your own weights of the stages."""
    from ..evaluation.features import FEATURES, find_features
    from ..weights import OUTPUTS, SHIPPED, read_checksums

    files = []
    for name, spec in FEATURES.items():
        path = find_features(name, folder)
        files.append(File(name, path, spec.sha256 or read_checksums(path.parent).get(path.name), spec.source))
    paths = {file.path for file in files}
    for root, pattern, source in (
        (SHIPPED, "*/*.safetensors", "shipped"),
        (OUTPUTS, "*/weights/*.safetensors", "trained here"),
    ):
        for path in sorted(set(visible(root, pattern)) - paths):
            name = f"{path.relative_to(root).parts[0]}/{path.stem}"
            files.append(File(name, path, read_checksums(path.parent).get(path.name), source))
    return files


def _list(args: argparse.Namespace) -> None:
    rows = []
    for file in find_files(args.folder):
        size = f"{file.path.stat().st_size / 1e6:.1f} MB" if file.path.is_file() else "missing"
        rows.append([file.name, str(file.path), size, file.source])
    print_table(["name", "file", "size", "source"], rows, width=240)


def _check(args: argparse.Namespace) -> None:
    from ..weights import has_digest, sha256

    bad, unknown, num_right = [], [], 0
    for file in find_files(args.folder):
        if not file.path.is_file():
            continue
        if file.sha256 is None and file.path.suffix == ".safetensors":
            try:
                if has_digest(file.path):
                    num_right += 1
                    continue
            except UsageError as error:
                bad.append(str(error))
                continue
        digest = sha256(file.path)
        if file.sha256 is None:
            unknown.append(file)
            print(f"{file.name}: no checksum is known; {file.path} has {digest}")
        elif digest != file.sha256:
            bad.append(f"{file.path} (fetch it again: {file.source})")
            print(f"{file.name}: {file.path} has {digest}, not {file.sha256}")
        else:
            num_right += 1
    if bad:
        raise UsageError(f"{len(bad)} of the files are damaged: {'; '.join(bad)}")
    print(f"{num_right} files have their checksums" + (f", {len(unknown)} have none" if unknown else ""))


def _path(args: argparse.Namespace) -> None:
    from ..evaluation.features import FEATURES, find_features
    from ..weights import find_weights

    if args.name in FEATURES:
        print(find_features(args.name, args.folder))
        return
    try:
        print(find_weights(args.name))
    except UsageError as error:
        raise UsageError(f"{error}; feature networks are {', '.join(FEATURES)}") from None


def _prompts(args: argparse.Namespace) -> None:
    from ..data.captioned import read_pictures
    from ..prompts import embed_images, read_known, read_names, write_known
    from ..weights import load_stage, weights_files

    clip = weights_files(args.folder)["clip"]
    # Not the old pictures, which may be damaged: they are replaced, or stay as they are.
    before, changes = read_known(clip.parent, pictures=False), given(args, "fps", "min_similarity", "ground")
    if args.names:
        changes["names"] = read_names(args.names)
    known = dataclasses.replace(before, **changes)
    if args.images is not None:
        network = load_stage("clip", clip)
        known.embeds = embed_images(read_pictures(args.images, known.names, network.image_size), network)
    replaces = args.images is not None or known.names != before.names
    path = write_known(known, clip.parent, pictures=replaces)
    limit = "none are unknown" if known.min_similarity is None else f"unknown below {known.min_similarity:g}"
    print(f"wrote {path}: {len(known.names)} names, {limit}, key frames at {known.fps:g} fps")


def _train(args: argparse.Namespace) -> None:
    from ..weights import save_weights

    out = args.out or OUT[args.name]
    if out.exists() and not out.is_file():
        raise UsageError(f"--out {out}: is no file; name one, such as {OUT[args.name].name}")
    # The folder is made first, so that one that cannot be written costs no minutes.
    with output_folder(out.parent), stage_progress(f"{args.name}, seed {args.seed}") as progress:
        network, training = {"micro_video": _micro_video, "emoji_judge": _emoji_judge}[args.name](
            args, progress
        )
    with writing(out, "choose another --out"):
        path = save_weights(network, out, training={"seed": args.seed, **training})
    print(f"wrote {path}")


def _micro_video(args: argparse.Namespace, progress: "Progress") -> "Trained":
    from ..evaluation.features.micro_training import NUM_STEPS, accuracy, train

    if args.data is not None:
        raise UsageError(
            "--data is for emoji_judge: micro_video is trained on videos that are drawn meanwhile"
        )
    num_steps = args.steps or NUM_STEPS
    network = train(args.seed, num_steps, lambda step, _: progress("train", step, num_steps))
    right = {"true": accuracy(network, mixed=False), "mixed": accuracy(network, mixed=True)}
    for kind, shares in right.items():
        print(f"right, {kind} videos: " + ", ".join(f"{name} {share:.1%}" for name, share in shares.items()))
    return network, {"steps": num_steps, "accuracy": right}


def _emoji_judge(args: argparse.Namespace, progress: "Progress") -> "Trained":
    from ..evaluation.worlds.emoji.judge_training import (
        NUM_STEPS,
        judge_accuracy,
        train_judge,
        training_pictures,
        validation_clips,
    )

    num_steps, data = args.steps or NUM_STEPS, args.data or Path("data/emoji")
    pictures, clips = training_pictures(data, progress), validation_clips(data, progress)
    network = train_judge(
        *pictures,
        num_steps=num_steps,
        seed=args.seed,
        progress=lambda step, total, _: progress("train", step, total),
    )
    right = judge_accuracy(network, pictures[0], clips)
    share = f"{right['value']:.1%}" if right["n"] else "unknown, since this world has none"
    print(f"right, {right['n']} clips not trained on: {share}")
    return network, {"steps": num_steps, "accuracy": right}


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="mav weights",
        description="List, check, find and import weights, say what they know; train networks that measure.",
        epilog=EXAMPLE,
    )
    commands = parser.add_subparsers(metavar="list|check|path|prompts|train|import|whiten", required=True)
    for name, run, text in (
        ("list", _list, "show which there are, and where to get what is missing"),
        ("check", _check, "compare the files that are there with their checksums"),
        ("path", _path, "print where a file is or must be put"),
    ):
        command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        if name == "path":
            command.add_argument("name", metavar="NAME", help="e.g. i3d, or decoder, or micro/decoder")
        command.add_argument("--folder", type=Path, metavar="DIR", help="of others' feature networks")
        command.set_defaults(run=run)

    prompts = commands.add_parser(
        "prompts",
        help="write which prompts weights know",
        description="Write which prompts weights know, and their frame rate, into prompts.json beside them.",
    )
    add = prompts.add_argument
    add("folder", metavar="NAME_OR_DIR", help="scale, or folder of weights")
    add("--names", type=Path, metavar="FILE", help="a name in each line, or JSON such as emoji.json")
    add("--images", metavar="SHARDS", help="captioned shards that begin with a picture of each name")
    add("--fps", type=number_in(float, 1, 30), metavar="N", help="frame rate of the 16 key frames, 1 to 30")
    similarity = "a prompt is unknown if it is less similar to every name, -1 to 1"
    add("--min-similarity", type=number_in(float, -1, 1), metavar="X", help=similarity)
    add("--ground", type=colour, metavar="COLOUR", help="colour that all pictures lie on, such as white")
    prompts.set_defaults(run=_prompts)

    train = commands.add_parser(
        "train",
        help=f"train {' or '.join(OUT)} anew",
        description=f"Train {' or '.join(OUT)} anew, in minutes on one thread.",
    )
    train.add_argument("name", metavar="NAME", choices=OUT, help=" or ".join(OUT))
    train.add_argument("--data", type=Path, metavar="DIR", help="world of emoji_judge (default: data/emoji)")
    train.add_argument("--seed", type=seed, default=0, metavar="N", help="(default: 0)")
    train.add_argument("--steps", type=number_in(int, 1), metavar="N", help="of training (default: all)")
    files = ", ".join(map(str, OUT.values()))
    train.add_argument("--out", type=Path, metavar="FILE", help=f"(default: {files})")
    train.set_defaults(run=_train)
    add_import_command(commands)
    add_whiten_command(commands)
    return parser
