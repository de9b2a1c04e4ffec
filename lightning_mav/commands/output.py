"""Folders and names that commands write to."""

import hashlib
import os
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import UsageError


@contextmanager
def output_folder(out: Path) -> Iterator[Path]:
    """Yields a folder in ``out`` for unfinished files; afterwards it goes, and ``out`` if new and empty."""
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=out))
    except OSError as error:
        _remove_empty(made)
        raise UsageError(
            f"--out {out}: cannot write there ({error.strerror}); choose another folder"
        ) from None
    try:
        yield unfinished
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        _remove_empty(made)


@contextmanager
def publishing(unfinished: Path, out: Path, what: str) -> Iterator[None]:
    """Moves the files written into ``unfinished``, folders and all, to ``out`` once all are there.

    Raises:
        UsageError: If something could not be written; ``what`` names it.
    """
    try:
        yield
        for path in sorted(path for path in unfinished.rglob("*") if path.is_file()):
            target = out / path.relative_to(unfinished)
            target.parent.mkdir(exist_ok=True, parents=True)
            os.replace(path, target)
    except OSError as error:
        raise UsageError(
            f"--out {out}: cannot write {what} ({error.strerror}); make room or choose another folder"
        ) from error


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return


def unique_names(prompts: list[str], seed: int) -> list[str]:
    """Names the files of each prompt; prompts that would share a name are numbered."""
    names: list[str] = []
    for prompt in prompts:
        ascii_text = unicodedata.normalize("NFKD", prompt).encode("ascii", "ignore").decode().lower()
        slug = re.sub(r"[^a-z0-9]+", "-", ascii_text).strip("-")[:60].strip("-")
        base = f"{slug or 'prompt-' + hashlib.sha256(prompt.encode()).hexdigest()[:8]}-{seed}"
        name, count = base, 1
        while name in names:
            count += 1
            name = f"{base}-{count}"
        names.append(name)
    return names
