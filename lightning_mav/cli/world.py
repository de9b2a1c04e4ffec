"""``mav world``: the micro-world as WebDataset shards."""

from pathlib import Path

from ..utils.errors import writing
from .arguments import CommandParser, seed


def main(argv: list[str]) -> None:
    """Writes captioned images and unlabelled videos below ``--out``."""
    parser = CommandParser(prog="mav world", description="Write the micro-world's shards: images and videos.")
    parser.add_argument("--out", type=Path, default=Path("data/micro"), help="folder (default: data/micro)")
    parser.add_argument("--seed", type=seed, default=0, help="seed of everything that is drawn (default: 0)")
    args = parser.parse_args(argv)

    from ..worlds.micro.shards import write_world

    with writing(args.out, "choose another --out"):
        args.out.mkdir(parents=True, exist_ok=True)
        write_world(args.out, seed=args.seed)
    print(f"wrote {args.out}")
