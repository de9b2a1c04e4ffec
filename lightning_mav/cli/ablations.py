"""``mav ablations``: tests the paper's claims, one variant against another, and records the results."""

import argparse
import importlib.util
from pathlib import Path

from ..training.runs import config_folder, scales
from ..utils.errors import UsageError
from ..utils.textfile import write_text
from .arguments import CommandParser, add_import, number_in
from .output import output_folder, publishing

EPILOG = """ablations: {names}, or YAML files like theirs.

Variants are kept in outputs/ablations/SCALE/NAME/VARIANT, what they train in outputs/ablations/SCALE/runs,
and the figures of the page as JSON beside its plots.
What is finished there is not run again; what several ablations need is trained and judged once."""


def main(argv: list[str]) -> None:
    """Runs ablations one after the other; each is recorded when it is done."""
    args = _parser().parse_args(argv)
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError("matplotlib is not installed; get what the plots need: pip install -e '.[bench]'")
    if args.scale not in scales():
        raise UsageError(f"no SCALE {args.scale!r}; scales are {', '.join(scales())}")
    from ..evaluation.ablations import page as claims
    from ..evaluation.ablations.design import load_ablation, shipped
    from ..evaluation.ablations.records import RECORDS, read_records, record, write_record
    from ..evaluation.ablations.runs import Bench

    # All are read first: a mistake in the last one must not cost the hours of those before it.
    ablations = {Path(name).stem: load_ablation(name) for name in args.names or shipped()}
    bench = Bench(args.scale, args.weights or args.scale, args.config)
    for name, ablation in ablations.items():
        ablation.seeds = ablation.seeds if args.seeds is None else list(range(args.seeds))
        bench.check(name, ablation)
    out = args.out or (Path("docs") if is_documented(args) else bench.folder)
    records = read_records(out)
    with output_folder(out) as folder:
        (folder / RECORDS).mkdir()
        for name, ablation in ablations.items():
            results = {variant: bench.run_all(name, ablation, variant) for variant in ablation.variants}
            records[name] = record(ablation, results, args.scale, bench.called(ablation))
            with publishing(folder, out, claims.PAGE):
                claims.plot(records[name], folder / RECORDS / f"{name}.png")
                write_record(folder, name, records[name])
                write_text(folder / claims.PAGE, claims.page(records))
            text = claims.section(name, records[name])
            print(f"\n{text}\n\n{out / claims.PAGE}\n{out / RECORDS / name}.png")


def is_documented(args: argparse.Namespace) -> bool:
    """Whether the documentation describes this: shipped weights, judged by shipped ablations alone."""
    from ..evaluation.ablations.design import shipped
    from ..weights import SHIPPED

    is_own = bool(args.weights or args.config or {*args.names} - {*shipped()})
    return (SHIPPED / args.scale).is_dir() and not is_own


def _parser() -> CommandParser:
    names = sorted(path.stem for path in (config_folder() / "ablations").glob("*.yaml"))
    parser = CommandParser(
        prog="mav ablations",
        description="Test the paper's claims: variants of training and sampling, judged alike.",
        epilog=EPILOG.format(names=", ".join(names)),
    )
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help="ablations to run (default: all)")
    add("--scale", default="micro", metavar="SCALE", help="what is trained (default: %(default)s)")
    weights = "scale, or folder of weights, of what is not trained (default: the scale's)"
    add("--weights", metavar="NAME_OR_DIR", help=weights)
    out = "receives claims.md and ablations/NAME.png (default: docs for what is shipped, else "
    add("--out", type=Path, metavar="DIR", help=out + "outputs/ablations/SCALE)")
    seeds = "trainings of each variant that trains, with seeds 0 to N - 1 (default: the ablation's seeds)"
    add("--seeds", type=number_in(int, 1, 100), metavar="N", help=seeds)
    add("--config", type=Path, metavar="YAML", help="settings of the instrument (default: eval/micro.yaml)")
    add_import(parser)
    return parser
