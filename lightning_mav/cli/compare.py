"""``mav compare``: two reports of ``mav evaluate`` side by side."""

import os
import sys
from pathlib import Path

from ..utils.errors import UsageError
from ..utils.textfile import write_text
from .arguments import CommandParser
from .output import output_folder, publishing

MARK = b'<meta name="generator" content="mav compare">'  # in report/pages/compare.html
EXAMPLE = """example:
  mav compare outputs/evaluate/before outputs/evaluate/after --out outputs/compare.html

The page links to the videos of both reports where they lie: it is to be kept beside them."""


def main(argv: list[str]) -> None:
    """Prints the differences and writes a page, if asked to."""
    args = _parser().parse_args(argv)
    from ..evaluation.report import load_report, print_tables
    from ..evaluation.report.compare import compare_figures, incomparable, tables, to_html

    paths = (args.a, args.b)
    a, b = (load_report(path) for path in paths)
    rows = compare_figures(a, b)
    for which, path, report in zip("AB", paths, (a, b), strict=True):
        print(f"{which}: {path}, {report.title}")
    if warning := incomparable(a, b, rows):
        print(f"mav: warning: {warning}", file=sys.stderr)
    print_tables(tables(a, b, rows))
    if args.out is None:
        return
    # Symbolic links stay unresolved: a browser resolves links relative to the address of the page.
    out = Path(os.path.abspath(args.out))
    if out.exists() and MARK not in _start(out):
        raise UsageError(f"--out {args.out}: is there, and no page of 'mav compare'; choose another name")
    with output_folder(out.parent) as folder, publishing(folder, out.parent, f"{out.name}"):
        homes = [Path(os.path.abspath(path if path.is_dir() else path.parent)) for path in paths]
        one, other = (Path(os.path.relpath(home, out.parent)).as_posix() for home in homes)
        page = to_html(a, b, (one, other), (str(args.a), str(args.b)))
        write_text(folder / out.name, page)
    print(args.out)


def _start(path: Path) -> bytes:
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        return file.read(2000)


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="mav compare",
        description="Put two reports of 'mav evaluate' side by side.",
        epilog=EXAMPLE,
    )
    add = parser.add_argument
    add("a", type=Path, metavar="A", help="folder of a report, or its report.json")
    add("b", type=Path, metavar="B", help="the other")
    add("--out", type=Path, metavar="FILE.html", help="write a page with the samples of both side by side")
    return parser
