"""Folders of shards that a world renders: written only once for the same settings, and all at once."""

import fcntl
import glob
import json
import re
import shutil
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import webdataset as wds

from ..data.shards.index import load_index
from ..data.shards.parallel import map_in_order
from ..utils.console import track
from ..utils.errors import UsageError, writing
from ..utils.paths import remove_stale, visible
from ..utils.textfile import parse_json, write_text
from ..utils.threads import num_cores

STATS, OWN = "stats.json", re.compile(r"stats\.json|\d{6}\.(tar|index\.json)")  # files of such a folder
Encode = Callable[[int], dict[str, Any]]  # returns the members of a sample, given its number


def holds(folder: Path, settings: dict[str, Any]) -> bool:
    """Returns whether the folder was written with these settings, and its shards hold all samples."""
    try:
        if parse_json((folder / STATS).read_bytes()) != settings:
            return False
        num_samples = sum(len(load_index(shard)) for shard in visible(folder, "*.tar"))
        return bool(num_samples == settings["num_samples"])
    except (OSError, ValueError, UsageError):  # UsageError: a shard is damaged
        return False


def _refuse_others(folder: Path) -> None:
    """Refuses to replace files that ``write_folder`` did not write.

    Raises:
        UsageError: If the folder holds such files.
    """
    found = [path.name for path in visible(folder)]
    others = [name for name in found if not OWN.fullmatch(name)]
    try:
        others = others or ([] if "world_version" in json.loads((folder / STATS).read_bytes()) else [STATS])
    except (OSError, ValueError, TypeError):
        others = others or found
    if others:
        what = f"{folder} holds files that 'mav world' did not write, such as {others[0]}"
        raise UsageError(f"{what}: choose another folder")


def write_folder(
    folder: Path,
    settings: dict[str, Any],
    encode: Encode,
    per_shard: int,
    progress: bool,
) -> None:
    """Renders samples into shards and moves them to ``folder`` all at once: readers never see a part of them.

    Nothing is done if the folder was written with the same settings, and no shard is missing or cut.

    Args:
        folder: Where to put them; shards that this function wrote there before are replaced.
        settings: All that the samples depend on, with ``num_samples``; kept in ``stats.json``.
        encode: Returns the members of a sample, given its number; ``json`` as plain values. It is pickled.
        per_shard: Samples in a shard.
        progress: Whether to show a bar.

    Raises:
        UsageError: If the folder holds other files, or cannot be written.
    """
    remove_stale(folder.parent, f".{glob.escape(folder.name)}.{'[0-9a-f]' * 8}*")
    if holds(folder, settings):
        return
    _refuse_others(folder)
    new = folder.parent / f".{folder.name}.{uuid.uuid4().hex[:8]}"
    try:
        new.mkdir(parents=True)
        _write_shards(new, encode, settings["num_samples"], per_shard, f"{folder}", progress)
        write_text(new / STATS, json.dumps(settings, indent=2) + "\n")
        _move(new, folder, settings)
    except OSError:
        if not holds(folder, settings):
            with writing(folder, "make room there"):
                raise
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _move(new: Path, folder: Path, settings: dict[str, Any]) -> None:
    """Puts a folder in its place, unless another process was faster: what that one wrote may be in use."""
    try:
        new.rename(folder)  # fails if anything is there
        return
    except OSError:
        if not folder.exists():
            raise
    old = new.with_name(new.name + ".old")
    try:
        with (folder / STATS).open("ab") as stats:
            with suppress(OSError):  # some file systems have no locks
                fcntl.flock(stats, fcntl.LOCK_EX)
            if not holds(folder, settings):
                folder.rename(old)
                new.rename(folder)
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _write_shards(folder: Path, encode: Encode, num: int, per_shard: int, title: str, progress: bool) -> None:
    write = partial(_write_shard, folder, encode, per_shard)
    shards = [range(start, min(start + per_shard, num)) for start in range(0, num, per_shard)]
    written = map_in_order(write, shards, num_cores())
    for _ in track(written, f"Writing {title}", len(shards), show=progress):
        pass


def _write_shard(folder: Path, encode: Encode, per_shard: int, numbers: range) -> None:
    shard = numbers.start // per_shard
    with (folder / f"{shard:06d}.tar").open("wb") as file, wds.TarWriter(file, mtime=0) as tar:
        for number, index in enumerate(numbers):
            key = f"{shard:06d}{number:04d}"
            members = encode(index)
            meta = json.dumps({"url": None, "key": key, **members["json"]}, indent=4)
            tar.write({**members, "json": meta.encode(), "__key__": key})
