"""``python -m benchmarks BENCH``: runs a bench, prints its section and writes it to docs/benchmarks.md."""

import argparse
import importlib
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path

from lightning_mav.utils.errors import UsageError
from lightning_mav.utils.memory import keep_freed_memory

from . import BENCHES

INSTALL = "pip install -e '.[bench]'"


def main(argv: list[str] | None = None) -> None:
    """Runs one bench; a mistake of the user's is one line on stderr and exit code 2."""
    try:
        run(sys.argv[1:] if argv is None else argv)
    except UsageError as error:
        print(f"benchmarks: error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("benchmarks: interrupted; nothing was written", file=sys.stderr)
        raise SystemExit(130) from None


def run(argv: list[str]) -> None:
    """Runs the bench that the first argument names; raises what it raises."""
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: python -m benchmarks BENCH [ARGUMENTS]   (BENCH --help says more)\n")
        print("\n".join(f"  {name:<10}{text}" for name, text in BENCHES.items()))
        return
    name = argv[0]
    if name not in BENCHES:
        raise UsageError(f"no bench {name!r}; BENCH is one of {', '.join(BENCHES)}")
    require(["rich"])
    keep_freed_memory()  # before the first tensor, and for all models alike
    # Imported only now, so that one bench does not need what another does.
    module = importlib.import_module(f"benchmarks.{name}")
    packages = getattr(module, "PACKAGES", ())

    parser = argparse.ArgumentParser(prog=f"python -m benchmarks {name}", description=module.__doc__)
    parser.add_argument("--turns", type=positive, default=getattr(module, "TURNS", 5))
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--docs", type=Path, default=Path("docs"), help="where benchmarks.md is (docs)")
    where.add_argument("--no-docs", dest="docs", action="store_const", const=None, help="only print")
    if hasattr(module, "add_arguments"):
        module.add_arguments(parser)
    args = parser.parse_args(argv[1:])

    require(packages)
    if args.docs is not None and not args.docs.is_dir():
        raise UsageError(f"--docs {args.docs}: no such folder; run this from the repository root")
    from . import report

    section = module.run(args)
    note = report.note(packages)
    report.show(section, note)
    if args.docs is not None:
        report.write(section, note, args.docs / "benchmarks.md")


def positive(text: str) -> int:
    """A positive integer, as argparse's types are."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be positive, got {number}")
    return number


def require(packages: Iterable[str]) -> None:
    """Raises ``UsageError`` unless all packages are installed; imports none, since that takes seconds."""
    for package in packages:
        if importlib.util.find_spec(package.replace("-", "_")) is None:
            raise UsageError(f"{package} is not installed; get what the benches compare with: {INSTALL}")


if __name__ == "__main__":
    main()
