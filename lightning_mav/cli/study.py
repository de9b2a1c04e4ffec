"""``mav study``: raters choose between videos of two systems without knowing which is whose; counts votes."""

import argparse
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..utils.console import plain_warnings, track
from ..utils.errors import UsageError
from ..utils.textfile import read_prompts, write_json
from .arguments import CommandParser, number_in, seed
from .output import output_folder, publishing

OUT = Path("outputs/study")
EXAMPLE = """examples:
  mav study make outputs/ours outputs/theirs --prompts prompts.txt
  mav study count votes/*.json

make writes a folder with a page, and a key beside the folder. The page opens in any browser, from the disk
or from a web server. Give raters the folder, but not the key: it tells which system made which video."""


def main(argv: list[str]) -> None:
    """Runs ``make`` or ``count``."""
    args = _parser().parse_args(argv)
    with plain_warnings():
        {"make": _make, "count": _count}[args.command](args)


def _key_of(out: Path) -> Path:
    return out.with_name(f"{out.name}.key.json")


def _check_new(out: Path, key: Path, but: Path | None = None) -> None:
    """Refuses a study that is there already, so that no votes on it become useless.

    Raises:
        UsageError: If there is a file in ``out`` but ``but``, or the key.
    """
    if key.exists() or (out.exists() and (not out.is_dir() or any(path != but for path in out.iterdir()))):
        path = key if key.exists() else out
        raise UsageError(f"{path}: is there already; remove it, or choose another --out")


def _make(args: argparse.Namespace) -> None:
    out = Path(os.path.abspath(args.out))  # a name, also of "."
    if not out.name:
        raise UsageError(f"--out {args.out}: the page needs a folder of its own; choose another")
    key = _key_of(out)
    _check_new(out, key)
    from ..evaluation.study import find_pairs, make_study

    prompts = None if args.prompts is None else read_prompts(args.prompts)
    found = find_pairs(args.a, args.b, prompts)

    def progress(items: Iterable[Any], total: int) -> Iterable[Any]:
        return track(items, "Encoding pairs", total)

    number = secrets.randbelow(2**53) if args.seed is None else args.seed  # JSON keeps it exactly
    written = False
    try:
        with output_folder(out) as folder, publishing(folder, out, "the page"):
            _check_new(out, key, but=folder)  # another run may have written it meanwhile
            study = make_study(found, (args.a, args.b), number, folder, args.title, progress)
            written = True
            write_json(key, study.to_dict())
    except BaseException:
        if written:
            key.unlink(missing_ok=True)
        raise
    print(out / "index.html")
    print(key)
    print(f"{len(study.pairs)} pairs; give raters {out.name}/, and keep {key.name} from them")


def _count(args: argparse.Namespace) -> None:
    from ..evaluation.report import keep_other_report, print_tables, write_report
    from ..evaluation.study import count_votes, load_study, read_ballots, to_report

    study = load_study(args.key)
    ballots = read_ballots(args.votes, study)
    outcomes = count_votes(study, ballots, args.raters)
    report = to_report(study, ballots, outcomes, args.raters)
    print(report.title)
    print_tables(report.tables[:1])
    if args.out is None:
        return
    keep_other_report(args.out, report.title)
    with output_folder(args.out) as folder, publishing(folder, args.out, "the report"):
        write_report(report, folder)
    print(args.out / "index.html")


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="mav study", description="Let people choose between the videos of two systems.", epilog=EXAMPLE
    )
    commands = parser.add_subparsers(dest="command", metavar="make|count", required=True)
    make = commands.add_parser("make", help="write a page of pairs", description="Write a page of pairs.")
    add = make.add_argument
    add("a", type=Path, metavar="A", help="folder of videos, such as 'mav generate' writes")
    add("b", type=Path, metavar="B", help="folder of videos of the other system, with the same names")
    text = "text file with a prompt in each line: takes only these (default: all pairs of videos)"
    add("--prompts", type=Path, metavar="FILE", help=text)
    add("--out", type=Path, default=OUT, metavar="DIR", help="folder of the page (default: %(default)s)")
    add(
        "--title",
        default="Which video is better?",
        metavar="TEXT",
        help="title of the page (default: %(default)s)",
    )
    text = "seed of orders and names; do not tell raters (default: drawn at random)"
    add("--seed", type=seed, metavar="N", help=text)
    count = commands.add_parser("count", help="count votes", description="Count the votes of raters.")
    add = count.add_argument
    add(
        "votes", nargs="+", type=Path, metavar="VOTES", help="files that raters have sent, or folders of them"
    )
    add("--key", type=Path, default=_key_of(OUT), metavar="FILE", help="key (default: %(default)s)")
    text = "votes that a pair needs; pairs with fewer do not count (default: %(default)s)"
    add("--raters", type=number_in(int, 1, 1000), default=5, metavar="N", help=text)
    add("--out", type=Path, metavar="DIR", help="write a report with the votes on every pair")
    return parser
