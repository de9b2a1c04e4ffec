"""Writes the shards of a folder, each of them whole or not at all, and finds those that are finished."""

import hashlib
import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...utils.errors import UsageError, writing
from ...utils.paths import replacing, visible
from ...utils.textfile import parse_json, write_json
from .index import index_path, read_index, scan_shard, write_index

VERSION = 1
MARK, STATS = "pack.json", "stats.json"
MAX_NAMED = 10_000  # files


@dataclass(frozen=True)
class Packed:
    """A source file as a sample, or the reason why it is left out.

    Args:
        name: The file.
        members: Bytes by suffix, but for ``json``, which is made from ``meta``.
        meta: Facts about the file.
        reason: Why it is left out, in few words that can be counted; empty if it is not.
        problem: The same in full.
        key: Name of the sample; by default that of the shard, followed by the sample's place in it.
        note: What is odd about a file that is taken, in few words that can be counted.
    """

    name: str
    members: dict[str, bytes]
    meta: dict[str, Any]
    reason: str = ""
    problem: str = ""
    key: str = ""
    note: str = ""


def claim_folder(folder: Path, mark: dict[str, Any]) -> None:
    """Marks a new or empty folder as that of these shards; refuses it if it holds anything else.

    Args:
        folder: Where shards are to be written.
        mark: Their source files and settings.
    """
    path = folder / MARK
    with writing(folder, "choose another folder"):
        folder.mkdir(parents=True, exist_ok=True)
        others = [entry.name for entry in visible(folder)]
        if not others:
            write_json(path, mark)
        elif not path.exists():
            problem = f"{folder} holds files that 'mav data pack' did not write, such as {min(others)}"
            raise UsageError(f"{problem}: choose another folder")
        # Read last: another part that started at the same time may have written it first.
        data = path.read_bytes()
    try:
        found = parse_json(data)
    except ValueError:
        raise UsageError(f"{path} is damaged: choose another folder, or remove this one") from None
    if found != mark:
        names = [name for name in mark if not isinstance(found, dict) or found.get(name) != mark[name]]
        which = f"{folder} holds shards of other files or settings"
        raise UsageError(f"{which} ({', '.join(names)} differ): choose another folder")


def write_notes(folder: Path, passed_over: dict[str, str]) -> None:
    """Writes which files are in no shard, and why; removes the file ``stats.json`` if there are none.

    Args:
        folder: The folder of the shards.
        passed_over: Reasons by file.
    """
    path = folder / STATS
    with writing(path, "make room there"):
        if not passed_over:
            path.unlink(missing_ok=True)
            return
        counts = dict(sorted(Counter(passed_over.values()).items()))
        named = dict(sorted(passed_over.items())[:MAX_NAMED])
        write_json(path, {"version": VERSION, "passed_over": counts, "problems": named})


def finished_shard(path: Path, digest: str) -> dict[str, Any] | None:
    """Returns the counts of a finished shard; None unless it is whole and was written with this digest."""
    try:
        stats = parse_json(path.with_suffix(".stats.json").read_bytes())
        index = read_index(index_path(path), path)
    except (OSError, ValueError, UsageError):
        return None
    if not isinstance(stats, dict):
        return None
    same = stats.get("digest") == digest and stats.get("num_samples") == len(index)
    return stats if same else None


def write_shard(path: Path, digest: str, samples: Iterable[Packed], num_digits: int) -> dict[str, Any]:
    """Writes a shard, then its index, then the file of counts, which marks the shard as finished.

    Args:
        path: The shard, named by its number.
        digest: Digest of everything that its bytes depend on.
        samples: Its samples, and the files that are left out.
        num_digits: Digits of a sample's number in its key, behind the number of the shard.
    """
    stats_path = path.with_suffix(".stats.json")
    num, problems, reasons, notes = 0, dict[str, str](), Counter[str](), Counter[str]()
    with replacing(path) as part:
        with tarfile.open(part, "w", format=tarfile.USTAR_FORMAT) as tar:
            for place, packed in enumerate(samples):
                if packed.reason:
                    problems[packed.name] = packed.problem
                    reasons[packed.reason] += 1
                    continue
                notes.update([packed.note] if packed.note else [])
                key, num = packed.key or f"{path.stem}{place:0{num_digits}d}", num + 1
                meta = json.dumps({"key": key, **packed.meta}).encode()
                for suffix, data in {**packed.members, "json": meta}.items():
                    info = tarfile.TarInfo(f"{key}.{suffix}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
        index = scan_shard(part, checksums=True)
        index.name = path.name
    write_index(index, index_path(path))
    stats = {
        "version": VERSION,
        "digest": digest,
        "num_samples": num,
        "num_bytes": index.num_bytes,
        "left_out": dict(sorted(reasons.items())),
        "problems": problems,
        "misnamed": dict(sorted(notes.items())),
    }
    write_json(stats_path, stats)
    return stats


def digest_of(parts: Iterable[Any]) -> str:
    """Returns the SHA-256 of values that can be written as JSON, in hex digits."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(json.dumps(part, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()
