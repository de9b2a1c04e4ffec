"""Prints the tables of a report."""

from collections.abc import Sequence

from ...utils.textfile import printable
from .results import Table


def print_tables(tables: Sequence[Table]) -> None:
    """Prints tables on stdout: in colours on a terminal, 140 columns wide elsewhere."""
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
