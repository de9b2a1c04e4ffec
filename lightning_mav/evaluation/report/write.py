"""Writes a report's files into its folder, beside the videos and images that they show; prints tables."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ...utils.console import print_table
from ...utils.textfile import write_text
from .markdown import to_markdown
from .page import to_html
from .results import Report, Table


def write_report(report: Report, folder: Path) -> None:
    """Writes ``report.json``, ``report.md`` and ``index.html``; none is ever seen half written.

    Args:
        report: The report; its videos and images are in ``folder`` already.
        folder: Folder of the report; it is made if it is missing.

    Raises:
        ValueError: If a number is NaN or infinite, which JSON cannot hold.
        OSError: If the folder cannot be written.
    """
    texts = {
        "report.json": report.to_json(),
        "report.md": to_markdown(report),
        "index.html": to_html(report),
    }
    folder.mkdir(parents=True, exist_ok=True)
    # All are written before the first takes its place, so that a full disk leaves an older report whole.
    with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=folder) as unfinished:
        for name, text in texts.items():
            write_text(Path(unfinished, name), text)
        for name in texts:
            os.replace(Path(unfinished, name), folder / name)


def print_tables(tables: Sequence[Table]) -> None:
    """Prints tables on stdout."""
    for table in tables:
        print_table(table.header, table.rows, table.title)
