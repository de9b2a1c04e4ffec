"""Output of the commands: streams, warnings, progress bars and tables."""

import io
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

from .ending import check_ended
from .textfile import printable, shortened

T = TypeVar("T")

LINE_SECONDS = 30.0  # between two lines on a stage, if there is no terminal


class _Dropping(io.FileIO):
    """A stream that drops its output if the reader is gone or the disk is full."""

    def write(self, data: Any) -> int:
        """Writes as much as possible, and reports that everything was written."""
        with suppress(OSError):
            super().write(data)
        return len(data)


def open_streams() -> None:
    """Makes the standard streams usable in any state; call it first.

    Output to stderr that cannot be written is dropped. Closed streams become the null device: otherwise the
    next file that is opened, such as a checkpoint, would get their number and receive their output.
    A character that the terminal does not have is shown as an escape.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this one
            if getattr(sys, name) is None:
                mode = "w" if number else "r"
                setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    if sys.stderr is sys.__stderr__:
        sys.stderr = _dropping(sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def drop_output() -> None:
    """Drops output that stdout cannot take, too, for a command that only prints progress there."""
    if sys.stdout is sys.__stdout__:
        sys.stdout = _dropping(sys.stdout)


def _dropping(stream: Any) -> Any:
    """Returns a stream that writes where another does, in the same encoding."""
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.flush()
    raw = io.BufferedWriter(_Dropping(stream.fileno(), "w", closefd=False))
    by_line = stream.line_buffering or stream.write_through  # the latter with PYTHONUNBUFFERED
    return io.TextIOWrapper(raw, stream.encoding, errors="backslashreplace", line_buffering=by_line)


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Shows warnings meant for users as one line on stderr, without their place in the code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = lambda message, *_, **__: print(
            f"mav: warning: {printable(str(message))}", file=sys.stderr
        )
        yield


@contextmanager
def stage_progress(title: str) -> Iterator[Callable[[str, int, int], None]]:
    """Yields ``progress(stage, done, total)``, which draws a bar per stage, with its pace and the time left.

    Without a terminal it prints a line when a stage is done, and now and then before. What the first call
    for a stage says to be done does not count for its pace. A call ends a command that was told to end.
    """
    with _stage_bars(title) as report:

        def progress(stage: str, done: int, total: int) -> None:
            check_ended()
            report(stage, done, total)

        yield progress


@contextmanager
def _stage_bars(title: str) -> Iterator[Callable[[str, int, int], None]]:
    title = shortened(title, 100)
    start = last = time.perf_counter()
    first: dict[str, tuple[float, int]] = {}  # when each stage was first heard of, and what was done then

    def pace_of(stage: str, done: int) -> float:
        """Returns the seconds that a step of a stage takes; 0 as long as that is not known."""
        begin, before = first.setdefault(stage, (time.perf_counter(), done))
        return (time.perf_counter() - begin) / (done - before) if done > before else 0.0

    if not sys.stderr.isatty():

        def report(stage: str, done: int, total: int) -> None:
            nonlocal start, last
            now, pace = time.perf_counter(), pace_of(stage, done)
            if done == total:
                print(f"{title}: {stage}, {total} steps, {now - start:.1f} s", file=sys.stderr)
                start = last = now
            elif pace and now - last >= LINE_SECONDS:
                left = timedelta(seconds=round(pace * (total - done)))
                print(f"{title}: {stage}, {done} of {total}, {_text(pace)}, {left} left", file=sys.stderr)
                last = now

        yield report
        return
    from rich import progress as bars
    from rich.console import Console

    columns = (
        bars.TextColumn("{task.description:<13}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TextColumn("{task.fields[pace]}"),
        bars.TimeElapsedColumn(),
        bars.TextColumn("eta"),
        bars.TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    console.print(title, style="bold", markup=False, emoji=False, highlight=False)
    with bars.Progress(*columns, console=console, speed_estimate_period=600) as live:
        tasks: dict[str, bars.TaskID] = {}

        def update(stage: str, done: int, total: int) -> None:
            pace = _text(pace_of(stage, done))
            if stage not in tasks:
                tasks[stage] = live.add_task(stage, pace=pace)
            live.update(tasks[stage], completed=done, total=total, pace=pace)

        yield update


def _text(pace: float) -> str:
    return f"{pace:.1f} s each" if pace > 1 else f"{1 / pace:.2f} per s" if pace else ""


def track(
    items: Iterable[T], title: str, total: int, *, transient: bool = False, show: bool = True
) -> Iterable[T]:
    """Yields items and draws a bar on stderr; a transient one goes away at the end.

    Without a terminal it prints a line now and then.
    """
    if not (show and total):
        return items
    title = printable(title)
    if not sys.stderr.isatty():
        return _report(items, title, total)
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import track

    return track(items, escape(title), total=total, console=Console(stderr=True), transient=transient)


def _report(items: Iterable[T], title: str, total: int) -> Iterator[T]:
    start = last = time.perf_counter()
    for done, item in enumerate(items):
        now = time.perf_counter()
        if done and now - last >= LINE_SECONDS:
            left = timedelta(seconds=round((now - start) / done * (total - done)))
            print(f"{title}: {done} of {total}, {left} left", file=sys.stderr)
            last = now
        yield item


def print_table(
    header: Sequence[str], rows: Iterable[Sequence[str]], title: str = "", *, width: int = 140
) -> None:
    """Prints a table on stdout; in a file it may be ``width`` columns wide, so that nothing is cut."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console.width = width
    # Text, because rich reads square brackets in a str as its markup.
    table = Table(title=Text(title) if title else None, title_justify="left")
    for name in header:
        table.add_column(Text(name))
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console.print(table)
