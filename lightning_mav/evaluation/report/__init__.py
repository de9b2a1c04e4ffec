"""Reports of evaluations: their values, and JSON, Markdown, HTML and terminal tables made of them."""

from .results import Figure, Report, ShownVideo, Table, keep_other_report, load_report
from .write import print_tables, write_report

__all__ = [
    "Figure",
    "Report",
    "ShownVideo",
    "Table",
    "keep_other_report",
    "load_report",
    "print_tables",
    "write_report",
]
