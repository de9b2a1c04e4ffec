"""The arguments of ``mav data``."""

import argparse
from pathlib import Path

from ..utils.textfile import shortened
from ..utils.threads import num_cores
from .arguments import CommandParser, number_in, seed

MAX_SAMPLES = 300_000  # of a shard: three members each, and readers take a million
SHARDS = "folder, pattern or brace notation"
MAX_SIDE = 16384  # pixels; the limit of H.264
EXAMPLE = """examples:
  mav data pack footage data/footage --gop 30 --size 256
  mav data check data/footage --decode
  mav data show data/footage --fps-range 1 30

SHARDS is a folder, a pattern ("data/*/0*.tar") or brace notation ("data/{00000..00099}.tar"); show also takes
those elsewhere ("https://host/{00000..00099}.tar", "s3://bucket/folder")."""


def make_parser() -> CommandParser:
    """Makes the parser of the subcommands, whose name is ``command``."""
    parser = CommandParser(prog="mav data", description="Pack, check, index and show shards.", epilog=EXAMPLE)
    commands = parser.add_subparsers(dest="command", metavar="pack|check|index|show", required=True)
    for name, help, description, add_arguments in (
        ("pack", "make shards of a folder", "Make shards of a folder.", _add_pack),
        ("check", "find what is broken", "Find what is broken in shards.", _add_check),
        ("index", "write indexes beside shards", "Write indexes.", _add_shards),
        ("show", "draw samples and frame rates", "Draw what is in shards.", _add_show),
    ):
        add_arguments(commands.add_parser(name, help=help, description=description))
    return parser


def _add_shards(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shards", metavar="SHARDS", help=SHARDS)


def _add_pack(parser: argparse.ArgumentParser) -> None:
    add, count = parser.add_argument, number_in(int, 1)
    add(
        "source",
        type=Path,
        metavar="SRC",
        help="folder of videos or animated pictures, or of images and captions; or list of files",
    )
    add("folder", type=Path, metavar="DST", help="folder for the shards")
    add("--kind", choices=("video", "image"), help="which to pack where SRC holds both")
    add(
        "--gop", type=count, metavar="N", help="encode videos anew, with N frames from key frame to key frame"
    )
    add(
        "--size",
        type=number_in(int, 2, MAX_SIDE),
        metavar="S",
        help="encode videos anew, S pixels on the shorter side",
    )
    add("--min-frames", type=count, default=16, metavar="N", help="of a video (default: %(default)s)")
    few = number_in(int, 1, MAX_SAMPLES)
    add("--samples-per-shard", type=few, default=1000, metavar="N", help="(default: %(default)s)")
    help = "under transparent pixels: a name such as white, or #rrggbb (default: white)"
    add("--ground", type=_colour, default="white", metavar="COLOUR", help=help)
    add("--max-bytes-per-shard", type=count, metavar="N", help="of files as they are in SRC")
    add(
        "--part",
        type=_part,
        default=(1, 1),
        metavar="I/N",
        help="write every N-th shard only, from the I-th on",
    )
    _add_workers(parser)


def _add_check(parser: argparse.ArgumentParser) -> None:
    _add_shards(parser)
    parser.add_argument("--decode", action="store_true", help="decode every image and every frame too")
    _add_workers(parser)


def _add_show(parser: argparse.ArgumentParser) -> None:
    add, count = parser.add_argument, number_in(int, 1)
    _add_shards(parser)
    out = Path("outputs/data")
    add("--out", type=Path, default=out, metavar="DIR", help="folder (default: %(default)s)")
    add("--num", type=count, default=24, metavar="N", help="samples on the sheet (default: %(default)s)")
    fps, beta = number_in(float, 0, 1000), number_in(float, 0, 1000)
    add(
        "--fps-range", type=fps, nargs=2, default=(1.0, 30.0), metavar=("LOW", "HIGH"), help="(default: 1 30)"
    )
    add("--beta", type=beta, nargs=2, default=(1.0, 1.0), metavar=("A", "B"), help="(default: 1 1, uniform)")
    add("--num-frames", type=number_in(int, 2), default=16, metavar="N", help="of a clip (default: 16)")
    add("--num-videos", type=count, default=200, metavar="N", help="to draw clips of (default: %(default)s)")
    add("--num-draws", type=count, default=50, metavar="N", help="clips of each (default: %(default)s)")
    add("--seed", type=seed, default=0, metavar="N", help="of the clips (default: 0)")


def _add_workers(parser: argparse.ArgumentParser) -> None:
    number, cores = number_in(int, 1, 1000), min(8, num_cores())
    help = "processes (default: %(default)s)"
    parser.add_argument("--workers", type=number, default=cores, metavar="N", help=help)


def _colour(text: str) -> tuple[int, ...]:
    from PIL import ImageColor

    try:
        colour = ImageColor.getrgb(text)
        if len(colour) == 3 and all(0 <= value <= 255 for value in colour):
            return colour
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(
        f"must be a colour's name or #rrggbb, got {shortened(text) or 'nothing'}"
    )


def _part(text: str) -> tuple[int, int]:
    number, _, total = text.partition("/")
    count = number_in(int, 1)
    try:
        part = count(number), count(total)
    except argparse.ArgumentTypeError:
        part = (1, 0)
    if part[0] > part[1]:
        raise argparse.ArgumentTypeError(
            f"must be I/N with I from 1 to N, got {shortened(text) or 'nothing'}"
        )
    return part
