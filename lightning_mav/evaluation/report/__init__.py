"""Reports of evaluations: their values, and JSON, Markdown, HTML and terminal tables made of them."""

from .results import Figure, Report, ShownVideo, Table, keep_other_report, load_report
from .section import check_section, replace_section
from .write import print_tables, write_report

__all__ = [
    "Figure",
    "Report",
    "ShownVideo",
    "Table",
    "check_section",
    "keep_other_report",
    "load_report",
    "print_tables",
    "replace_section",
    "write_report",
]
