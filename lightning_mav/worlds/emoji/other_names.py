"""Names of the emoji by another package, ``emoji-datasource``: they test words that training never saw."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from ...utils.textfile import parse_json, write_json
from .names import code_of

PACKAGE = "emoji-datasource*"  # folder of the package


def read_other_names(packages: Path, codes: Collection[str]) -> list[dict[str, str]]:
    """Reads code and name of some emoji from the package, if it lies in a folder of unpacked packages.

    Names without a letter, such as "+1", are left out.

    Args:
        packages: That folder.
        codes: The emoji that are wanted.

    Raises:
        ValueError: If a file is not what the package publishes.
    """
    found = []
    for path in sorted(packages.glob(f"{PACKAGE}/emoji.json")):
        entries: Any = parse_json(path.read_bytes())
        for entry in entries:
            code = code_of(entry["unified"])
            names = [name.replace("_", " ").replace("-", " ").strip() for name in entry["short_names"]]
            found += [{"code": code, "name": name} for name in names if any(map(str.isalpha, name))]
    return [one for one in found if one["code"] in codes]


def write_other_names(root: Path, packages: Path, codes: Collection[str]) -> None:
    """Writes ``other_names.json``; without the package there is none.

    Raises:
        OSError: If it cannot be written.
    """
    path = root / "other_names.json"
    if names := read_other_names(packages, codes):
        write_json(path, names, indent=1)
    else:
        path.unlink(missing_ok=True)
