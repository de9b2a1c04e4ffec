"""What an evaluation found, and how it is shown: JSON, Markdown and a page to look at."""

from .results import Figure, Report, Sample, Table, keep_other_report, load_report
from .terminal import print_tables
from .write import write_report

__all__ = [
    "Figure",
    "Report",
    "Sample",
    "Table",
    "keep_other_report",
    "load_report",
    "print_tables",
    "write_report",
]
