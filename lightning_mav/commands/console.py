"""What commands show on stderr while they work."""

import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..textfile import printable, shortened

if TYPE_CHECKING:
    from ..report import Table


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
    """Yields ``progress(stage, done, total)``, which draws a bar per stage.

    Without a terminal it prints one line when a stage is done.
    """
    title = shortened(title, 100)
    if not sys.stderr.isatty():
        start = time.perf_counter()

        def report(stage: str, done: int, total: int) -> None:
            nonlocal start
            if done == total:
                now = time.perf_counter()
                print(f"{title}: {stage}, {total} steps, {now - start:.1f} s", file=sys.stderr)
                start = now

        yield report
        return
    from rich import progress as bars
    from rich.console import Console

    columns = (
        bars.TextColumn("{task.description:<13}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TimeElapsedColumn(),
        bars.TextColumn("eta"),
        bars.TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    console.print(title, style="bold", markup=False, emoji=False, highlight=False)
    with bars.Progress(*columns, console=console) as live:
        tasks: dict[str, bars.TaskID] = {}

        def draw(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = live.add_task(stage)
            live.update(tasks[stage], completed=done, total=total)

        yield draw


def print_tables(tables: Sequence["Table"]) -> None:
    """Prints tables on stdout."""
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console.width = 140  # in a file nothing need be cut to 80 columns
    for table in tables:
        # Text, because rich reads square brackets in a str as its markup.
        drawn = RichTable(title=Text(table.title), title_justify="left")
        for name in table.header:
            drawn.add_column(Text(name))
        for row in table.rows:
            drawn.add_row(*(Text(printable(cell)) for cell in row))
        console.print(drawn)
