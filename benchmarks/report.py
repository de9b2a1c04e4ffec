"""A bench's result as a section: shown on the terminal, and put into docs/benchmarks.md."""

import datetime
import platform
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from rich.console import Console
from rich.text import Text

from lightning_mav.utils.console import print_table
from lightning_mav.utils.paths import replacing
from lightning_mav.utils.textfile import write_text

from . import BENCHES, machine

INTRODUCTION = f"""\
# Benchmarks

How fast this project is and how much memory it takes, next to open projects that do the same:
[make-a-video-pytorch] and the video networks of [diffusers]. Each section names its date, machine and
versions.

Other programs on a machine come and go, so nothing is timed alone. What is compared takes turns, A B A B,
after a warm-up of each. Ratios are computed within each turn. A table shows their median over the turns and,
in brackets, the smallest and the largest, which say how far to trust it. Times are medians with the same
spread. Networks of different sizes are compared by their operations per second (convolutions, matrix products
and attention, counted by PyTorch's `FlopCounterMode`), also as a fraction of the machine's peak. The peak is
the best speed of large matrix products that take turns in the same run. Before its first tensor each process
tells the C library to keep freed memory, as the commands of this project do; peers benefit in the same way.

To measure again, run `make bench BENCH=train`, or another of {", ".join(list(BENCHES)[1:])}.
It replaces the section of this name and nothing else. `ARGS=--no-docs` only prints the section; with
`ARGS="--turns 15"` it takes longer, and the medians are more reliable.

[make-a-video-pytorch]: https://github.com/lucidrains/make-a-video-pytorch
[diffusers]: https://github.com/huggingface/diffusers
"""


@dataclass
class Table:
    """A table of text; the first column names the row, the caption stands above if it is not empty."""

    header: list[str]
    rows: list[list[str]]
    caption: str = ""


@dataclass
class Section:
    """What a bench found.

    Args:
        name: The bench, one of ``BENCHES``; ``NAME-VARIANT`` if it has several sections.
        title: Heading, without number signs.
        paragraphs: Text before the tables, Markdown; each is one line, wrapped when shown.
        tables: Tables.
        images: Names of images in the folder of the documentation.
    """

    name: str
    title: str
    paragraphs: list[str]
    tables: list[Table] = field(default_factory=list)
    images: list[str] = field(default_factory=list)


def note(packages: Iterable[str]) -> str:
    """The line on date, machine and versions; ``packages`` are the peers."""
    versions = [f"python {platform.python_version()}"]
    names = dict.fromkeys(["torch", "lightning_mav", *packages])
    versions += [f"{name} {metadata.version(name)}" for name in names]
    return f"{datetime.date.today().isoformat()}; {machine.describe()}; {', '.join(versions)}."


def show(section: Section, note: str) -> None:
    """Prints a section on the terminal."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)  # a file has room for whole rows
    console.print(Text(f"\n{section.title}\n", style="bold"))
    for paragraph in section.paragraphs:
        console.print(Text(paragraph + "\n"))
    for table in section.tables:
        print_table(table.header, table.rows, table.caption, width=160)
    console.print(Text(note, style="dim"))


def write(section: Section, note: str, path: Path) -> None:
    """Puts a section into the file, in place of what the same bench wrote before; all else stays."""
    text = path.read_text() if path.exists() else INTRODUCTION
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        write_text(part, insert(text, section.name, markdown(section, note)))


def insert(text: str, name: str, content: str) -> str:
    """Replaces section ``name`` of the text, or adds it where the order of ``BENCHES`` wants it."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    block = f"{begin}\n{content}\n{end}"
    if begin in text and end in text:
        return text.partition(begin)[0] + block + text.partition(end)[2]
    names = list(BENCHES)
    for later in names[names.index(name.partition("-")[0]) + 1 :]:
        head, marker, tail = text.partition(f"<!-- {later}:begin -->")
        if marker:
            return f"{head}{block}\n\n{marker}{tail}"
    return f"{text.rstrip()}\n\n{block}\n"


def markdown(section: Section, note: str) -> str:
    """The section as Markdown."""
    parts = [f"## {section.title}", *section.paragraphs]
    for table in section.tables:
        parts += [table.caption] if table.caption else []
        ruler = ["---", *["---:"] * (len(table.header) - 1)]
        parts.append("\n".join(f"| {' | '.join(row)} |" for row in [table.header, ruler, *table.rows]))
    parts += [f"![{section.title}]({image})" for image in section.images]
    return "\n\n".join([*parts, f"*{note}*"])
