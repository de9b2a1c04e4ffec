"""``mav data``: shards made of a folder, checked, indexed and shown."""

import argparse
from collections import Counter
from collections.abc import Iterable
from typing import Any

from ..utils.console import plain_warnings, print_table, track
from ..utils.errors import UsageError
from ..utils.numbers import subsample
from .data_arguments import make_parser
from .output import output_folder, publishing

REMEDY = "make some with 'mav data pack', img2dataset or video2dataset"


def main(argv: list[str]) -> None:
    """Runs ``pack``, ``check``, ``index`` or ``show``."""
    runs = {"pack": _pack, "check": _check, "index": _index, "show": _show}
    args = make_parser().parse_args(argv)
    with plain_warnings():
        runs[args.command](args)


def _pack(args: argparse.Namespace) -> None:
    from ..data.shards.pack import PackSettings, pack
    from ..data.shards.sources import find_sources, is_animated

    if not args.source.exists():
        raise UsageError(f"there is no {args.source}: name a folder, or a text file of paths")
    passed_over = dict[str, str]()
    kind, sources = find_sources(args.source, args.kind, passed_over, args.folder)
    if kind == "image" and (args.gop or args.size):
        raise UsageError("--gop and --size are for videos, and these are images: leave them out")
    names = ("gop", "size", "min_frames", "samples_per_shard", "max_bytes_per_shard", "ground")
    settings = PackSettings(kind, **{name: getattr(args, name) for name in names})

    def progress(items: Iterable[Any], total: int) -> Iterable[Any]:
        return track(items, f"Packing {args.folder}", total) if total else items

    done = pack(
        sources,
        args.folder,
        settings,
        part=args.part,
        num_workers=args.workers,
        progress=progress,
        passed_over=passed_over,
    )
    num_shards = done.num_written + done.num_finished
    for counts, title in (
        (Counter(passed_over.values()), "passed over"),
        (done.left_out, "left out"),
        (done.misnamed, "taken, though misnamed"),
    ):
        if counts:
            _print_counts(counts, title)
    held = f"{_number(done.num_samples, 'sample')} in {_number(num_shards, 'shard')}"
    if not done.num_written:
        print(f"nothing to do: {args.folder} holds {held}")
    else:
        resumed = f", {done.num_finished} of which were there" if done.num_finished else ""
        print(f"{args.folder} holds {held}{resumed}")
    if num_shards and not done.num_samples:
        (reason, count), *more = done.left_out.most_common()
        why = "the stats.json of each shard say why" if more else f"{_number(count, 'file')}, {reason}"
        if kind != args.kind and any(map(is_animated, sources)):
            why += "; add --kind video to pack animated pictures as videos"
        raise UsageError(f"nothing in {args.source} could be used: {why}")


def _check(args: argparse.Namespace) -> None:
    from ..data.shards.check import check_shards

    paths = _local_shards(args.shards)
    report = check_shards(
        paths,
        decode=args.decode,
        num_workers=args.workers,
        progress=lambda items, total: track(items, "Checking", total),
    )
    for problem in report.shards.values():
        print(problem)
    if report.samples:
        _print_counts(Counter(report.samples.values()), "broken samples", report.samples)
    found = f"{_number(report.num_samples, 'sample')} in {_number(len(paths), 'shard')}"
    found += f" of {report.num_bytes / 1e6:.1f} MB"
    if report.num_without_index:
        without = f"{_number(report.num_without_index, 'shard')} without an index that holds checksums"
        print(f"{without}: damaged bytes cannot be found there; run 'mav data index'")
    if report.shards or report.samples:
        broken = f"{_number(len(report.shards), 'shard')} and {_number(len(report.samples), 'sample')}"
        raise UsageError(f"{broken} broken, of {found}: fetch or pack them again")
    print(f"{found}: all whole" + ("" if args.decode else ", not decoded (add --decode)"))


def _index(args: argparse.Namespace) -> None:
    from ..data.shards.check import write_missing_index
    from ..data.shards.index import ShardError

    paths, num_written, num_broken = _local_shards(args.shards), 0, 0
    for path in track(paths, "Indexing", len(paths)):
        try:
            num_written += write_missing_index(path)
        except ShardError as error:
            print(error)
            num_broken += 1
    if num_broken:
        raise UsageError(
            f"{num_broken} of {_number(len(paths), 'shard')} broken, and without an index: fetch them again"
        )
    had = f"; {_number(len(paths) - num_written, 'shard')} had one" if num_written < len(paths) else ""
    print(f"wrote {num_written} of {len(paths)} indexes{had}")


def _show(args: argparse.Namespace) -> None:
    from ..data.codecs.decode import IMAGE_FORMATS, VIDEO_FORMATS
    from ..data.shards.contact import plot_samples
    from ..data.shards.reader import Shards
    from ..datamodules.clips import ClipSampler
    from ..datamodules.fps_histogram import Histogram, sample_rates
    from ..evaluation.report import keep_other_report

    try:
        choose = ClipSampler(args.num_frames, fps_range=tuple(args.fps_range), beta=tuple(args.beta))
    except ValueError as error:
        raise UsageError(f"no clips can be drawn: {error}") from None
    shards = Shards(_shards(args.shards), [*IMAGE_FORMATS, *VIDEO_FORMATS, "txt"])
    problems, histogram = Counter[str](), None
    keep_other_report(args.out, "contact sheet")
    with output_folder(args.out) as folder:
        sheet = plot_samples(shards, args.num, problems)
        if sheet is None:
            _print_counts(problems, "not usable")
            raise UsageError(f"there is nothing to show in {args.shards}: {REMEDY}")
        numbers = subsample(range(len(shards)), args.num_videos)
        bar = track(numbers, "Drawing clips", len(numbers))
        rates = sample_rates(shards, bar, choose, args.num_draws, args.seed, problems)
        with publishing(folder, args.out, "the sheet"):
            sheet.save(folder / "contact_sheet.png")
            if rates:
                (low, high), (a, b) = args.fps_range, args.beta
                title = f"{len(rates)} clips of {args.num_frames} frames, beta({a:g}, {b:g})"
                title += f" over {low:g} to {high:g} fps"
                histogram = Histogram.of(rates, low, high)
                histogram.image(title).save(folder / "fps.png")
    if problems:
        _print_counts(problems, "not usable")
    print(args.out / "contact_sheet.png")
    if histogram is not None:
        print(args.out / "fps.png", f"{title}, {sum(rates) / len(rates):.2f} fps on average", sep="\n")
        print(*histogram.lines(), sep="\n")


def _shards(urls: str) -> list[str]:
    from ..data.shards.urls import expand_shards

    try:
        return expand_shards(urls, REMEDY)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _local_shards(urls: str) -> list[str]:
    """Lists local shards, which are read in place."""
    from ..data.shards.remote import is_remote, redact_url

    paths = _shards(urls)
    for path in filter(is_remote, paths):
        problem = f"{redact_url(path)} is on no disk of this machine"
        raise UsageError(f"{problem}: run this where the shards are, and put their indexes beside them")
    return paths


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("s" if count != 1 else "")


def _print_counts(reasons: Counter[str], title: str, examples: dict[str, str] | None = None) -> None:
    """Prints a table of reasons, with the first of each if these are given by name."""
    names = {reason: name for name, reason in reversed((examples or {}).items())}
    header = [title, "number", *(["first"] if names else [])]
    rows = [[reason, str(n), *([names[reason]] if names else [])] for reason, n in reasons.most_common()]
    print_table(header, rows)
