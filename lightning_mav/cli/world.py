"""``mav world``: a world to learn from, as WebDataset shards."""

import argparse
import signal
from pathlib import Path
from types import FrameType

from ..training.signals import Stopped, handled, say
from ..utils.errors import UsageError, writing
from .arguments import CommandParser, seed

WORLDS = {
    "micro": "shapes that this program draws",
    "emoji": "emoji that Microsoft drew and animated, named by Unicode; fetched with npm",
}


def main(argv: list[str]) -> None:
    """Writes captioned images and unlabelled videos below ``--out``."""
    worlds = "\n".join(f"  {name:12}{what}" for name, what in WORLDS.items())
    parser = CommandParser(
        prog="mav world",
        description="Write a world's shards: images and videos.",
        epilog=f"worlds:\n{worlds}",
    )
    parser.add_argument("world", nargs="?", choices=WORLDS, default="micro", help="world (default: micro)")
    parser.add_argument("--out", type=Path, help="folder (default: data/WORLD)")
    parser.add_argument("--seed", type=seed, default=0, help="seed of everything that is drawn (default: 0)")
    emoji = parser.add_argument_group("emoji")
    emoji.add_argument(
        "--from", dest="archives", type=Path, metavar="FOLDER", help="packages fetched by hand"
    )
    emoji.add_argument(
        "--config", type=Path, help="YAML of sources and sizes (default: configs/world/emoji.yaml)"
    )
    emoji.add_argument(
        "--phrases", action="store_true", help="also write phrases to learn words from; needs [teacher]"
    )
    args = parser.parse_args(argv)
    args.out = args.out or Path("data", args.world)
    if args.world == "micro" and (args.archives or args.config or args.phrases):
        raise UsageError("--from, --config and --phrases are for the emoji world: leave them out")
    with handled(_stop), writing(args.out, "choose another --out"):
        args.out.mkdir(parents=True, exist_ok=True)
        {"micro": _write_micro, "emoji": _write_emoji}[args.world](args)
    print(f"wrote {args.out}")


def _stop(signum: int, frame: FrameType | None) -> None:
    say(f"stopped by {signal.Signals(signum).name}; the same command goes on")
    raise Stopped(signum)


def _write_micro(args: argparse.Namespace) -> None:
    from ..worlds.micro.shards import write_world

    write_world(args.out, seed=args.seed)


def _write_emoji(args: argparse.Namespace) -> None:
    from ..training.runs import config_folder
    from ..utils.console import plain_warnings, print_table
    from ..utils.settings import read_settings
    from ..worlds.emoji.packages import unpack_all
    from ..worlds.emoji.phrases import FILE, write_phrases
    from ..worlds.emoji.shards import EmojiSettings, count_kinds, write_world
    from ..worlds.emoji.teacher import MiniLM

    config = args.config or config_folder() / "world" / "emoji.yaml"
    settings = read_settings(EmojiSettings, config, seed=args.seed)
    teacher = MiniLM() if args.phrases else None  # first, since it may not be installed
    unpack_all(settings.packages, args.out / "packages", archives=args.archives)
    with plain_warnings():
        world = write_world(args.out, args.out / "packages", settings)
    print_table(["animations", "number"], [[kind, str(num)] for kind, num in count_kinds(world).items()])
    left_out = {
        "pictures without a name": world.without_name,
        "names without a picture": world.without_picture,
    }
    for what, codes in left_out.items():
        if codes:
            first = ", ".join(codes[:5]) + (", ..." if len(codes) > 5 else "")
            print(f"{len(codes)} {what}: {first}; {args.out / 'left_out.json'} lists them")
    if teacher is not None:
        path = args.out / FILE
        emoji = [*world.emoji.values()]
        write_phrases(path, emoji, teacher, num_mixed=settings.mixed_phrases, seed=settings.seed)
