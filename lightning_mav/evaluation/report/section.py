"""A section of a page of the documentation: the first table of a report, and what it was measured with."""

import datetime
import re
from pathlib import Path

from ...utils.errors import UsageError
from ...utils.paths import replacing
from ...utils.textfile import read_text, write_text
from .markdown import to_table
from .results import Report


def check_section(page: Path, bench: str) -> re.Match[str]:
    """Returns the section of a bench in a page, with its marks, which are lines of their own.

    Raises:
        UsageError: If the page cannot be read, or has no such section.
    """
    begin, end = _marks(bench)
    section = re.compile(rf"^{begin}$.*?^{end}$", re.MULTILINE | re.DOTALL)
    if (found := section.search(read_text(page, "name a Markdown page"))) is None:
        raise UsageError(f"{page}: has no section of {bench}: put lines {begin} and {end} there")
    return found


def replace_section(page: Path, report: Report) -> None:
    """Puts the first table of a report into its section of a page; all else stays.

    Raises:
        UsageError: As ``check_section``.
    """
    found, (begin, end) = check_section(page, report.bench), _marks(report.bench)
    weights = ", ".join(f"{name} {one['sha256'][:8]}" for name, one in report.weights.items())
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    note = f"{datetime.date.today().isoformat()}; {report.device}; {versions}; weights {weights}."
    content = f"{begin}\n\n{to_table(report.tables[0])}\n\n{note}\n\n{end}"
    with replacing(page) as part:
        write_text(part, found.string[: found.start()] + content + found.string[found.end() :])


def _marks(bench: str) -> tuple[str, str]:
    return f"<!-- {bench}:begin -->", f"<!-- {bench}:end -->"
