"""Reports in a terminal."""

from collections.abc import Sequence

from ...utils.console import print_table
from .results import Table


def print_tables(tables: Sequence[Table]) -> None:
    """Prints tables on stdout."""
    for table in tables:
        print_table(table.header, table.rows, table.title)
