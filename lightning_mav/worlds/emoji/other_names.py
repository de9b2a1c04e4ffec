"""Names of the emoji by another package, ``emoji-datasource``: they test words that training never saw."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from ...utils.errors import writing
from ...utils.textfile import parse_json, write_json
from .names import code_of
from .packages import find_files, usable

PACKAGE = "emoji-datasource*"  # folder of the package


def read_other_names(folders: Sequence[Path], codes: Collection[str]) -> list[dict[str, str]]:
    """Reads code and name of some emoji from the package, if it is one of those that were unpacked.

    Names without a letter, such as "+1", are left out.

    Args:
        folders: Folders of the packages.
        codes: The emoji that are wanted.

    Raises:
        UsageError: If a file is not what the package publishes.
    """
    found = []
    for path in find_files(folders, PACKAGE, "emoji.json"):
        with usable(path):
            entries: Any = parse_json(path.read_bytes())
            for entry in entries:
                code = code_of(entry["unified"])
                names = [name.replace("_", " ").replace("-", " ").strip() for name in entry["short_names"]]
                found += [{"code": code, "name": name} for name in names if any(map(str.isalpha, name))]
    return [one for one in found if one["code"] in codes]


def write_other_names(root: Path, names: list[dict[str, str]]) -> None:
    """Writes ``other_names.json``; without names there is none.

    Raises:
        UsageError: If it cannot be written.
    """
    path = root / "other_names.json"
    with writing(path, "move it away"):
        if names:
            write_json(path, names, indent=1)
        else:
            path.unlink(missing_ok=True)
