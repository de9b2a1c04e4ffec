"""Indexes: where each member of each sample lies in a shard, found by a strict scan and kept in a file."""

import os
import re
import stat
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ...utils.errors import first_line, writing
from ...utils.paths import is_hidden
from ...utils.textfile import parse_json, write_json
from .members import Member, Members
from .tar import CHUNK, Entry, ShardError, damaged, read_entries, read_exactly

__all__ = [
    "Member",
    "ShardError",
    "ShardIndex",
    "count_samples",
    "index_path",
    "load_index",
    "read_index",
    "read_member",
    "scan_shard",
    "write_index",
]

VERSION = 1
MAX_MEMBERS = 1_000_000
MAX_MEMBER_BYTES = 2**31
MAX_INDEX_BYTES = 2**28  # a million members take a fifth of it
INDEX_AGAIN = "write it anew with 'mav data index'"
HEAD = re.compile(rb'\{"version":1,"shard":"(?:[^"\\]|\\.)*","num_bytes":(\d+),"num_samples":(\d+),')
HEAD_BYTES = 1024


@dataclass
class ShardIndex:
    """What a shard holds.

    Args:
        name: File name of the shard.
        num_bytes: Its size.
        keys: Name of each sample, ``(N,)``: the path of its members up to the first dot of the file name.
        members: Members of each sample, ``(N,)``, by what comes after that dot, in lower case.
    """

    name: str
    num_bytes: int
    keys: list[str]
    members: Sequence[dict[str, Member]]

    def __len__(self) -> int:
        return len(self.keys)


def index_path(shard: Path) -> Path:
    """Names the index of a shard: ``00000.index.json`` beside ``00000.tar``."""
    return shard.with_name(shard.name.removesuffix(".tar") + ".index.json")


def load_index(shard: Path) -> ShardIndex:
    """Reads the index beside a shard, or the headers of the shard if there is no index."""
    path = index_path(shard)
    return read_index(path, shard) if path.exists() else scan_shard(shard, checksums=False)


def scan_shard(path: Path, *, checksums: bool) -> ShardIndex:
    """Finds all members of a shard.

    Args:
        path: The shard.
        checksums: Whether to read all data and compute its checksums.

    Raises:
        ShardError: If the shard is damaged or not a tar file, or if its members do not form samples.
    """
    keys, members, sample, seen = list[str](), Members(), dict[str, Member](), set[str]()
    with _opened(path) as (file, num_bytes):
        for count, entry in enumerate(read_entries(path, file, num_bytes)):
            if count == MAX_MEMBERS:
                raise damaged(path, entry.header, f"more than {MAX_MEMBERS} members", "make smaller shards")
            if entry.size > MAX_MEMBER_BYTES:
                problem = f"{entry.name!r} has {entry.size} bytes, {MAX_MEMBER_BYTES} are allowed"
                raise damaged(path, entry.header, problem, "leave it out")
            key, suffix = split_name(entry.name)
            if not suffix or is_hidden(entry.name):
                continue  # belongs to no sample
            if not keys or keys[-1] != key:
                if key in seen:
                    problem = f"members of {key!r} with members of others between them"
                    raise damaged(path, entry.header, problem, "pack it anew, sorted by name")
                if keys:
                    members.append(sample)
                seen.add(key)
                keys.append(key)
                sample = {}
            if suffix in sample:
                raise damaged(path, entry.header, f"a second {entry.name!r}", "pack it anew")
            crc32 = _checksum(path, file, entry) if checksums else None
            sample[suffix] = Member(entry.offset, entry.size, crc32)
    if keys:
        members.append(sample)
    return ShardIndex(path.name, num_bytes, keys, members)


def split_name(name: str) -> tuple[str, str]:
    """Splits the name of a member into its sample's key and its suffix, as webdataset does.

    The suffix is empty if the member belongs to no sample.
    """
    folder, slash, base = name.rpartition("/")
    stem, _, suffix = base.partition(".")
    return folder + slash + stem, suffix.lower() if stem else ""


def read_member(shard: Path, member: Member, max_bytes: int | None = None) -> bytes:
    """Reads a member of a sample.

    Raises:
        ValueError: If it has more than ``max_bytes``, or its checksum differs from that in the index.
        ShardError: If the shard is missing, or ends before the member does.
    """
    if max_bytes is not None and member.size > max_bytes:
        raise ValueError(f"too large: {member.size} bytes of at most {max_bytes}")
    with _opened(shard) as (file, _):
        data = read_exactly(shard, file, member.size, member.offset)
    if member.crc32 is not None and zlib.crc32(data) != member.crc32:
        raise ValueError(f"crc32 mismatch: {zlib.crc32(data):08x}, the index says {member.crc32:08x}")
    return data


def write_index(index: ShardIndex, path: Path) -> None:
    """Writes an index, in columns that take few bytes and load fast; readers never see a part of it."""
    members = index.members
    if not isinstance(members, Members):
        members = Members()
        for sample in index.members:
            members.append(sample)
    content = {
        "version": VERSION,
        "shard": index.name,
        "num_bytes": index.num_bytes,
        "num_samples": len(index),
        "keys": index.keys,
        **members.columns(),
    }
    with writing(path, "make room there"):
        write_json(path, content, indent=None)


def count_samples(path: Path, num_bytes: int) -> int | None:
    """Reads the number of samples from the first bytes of an index.

    Returns:
        Their number. None if the index does not begin with it, or is not of a shard of ``num_bytes``: then
        the whole index must be read.
    """
    try:
        with path.open("rb") as file:
            head = HEAD.match(file.read(HEAD_BYTES))
    except OSError:
        return None
    return int(head[2]) if head and int(head[1]) == num_bytes else None


def read_index(path: Path, shard: Path, num_bytes: int | None = None) -> ShardIndex:
    """Reads the index of a shard.

    Args:
        path: The index.
        shard: The shard.
        num_bytes: Size of the shard; if None, the file is asked for it.

    Raises:
        ShardError: If the index is damaged, or belongs to a shard of another size.
    """
    try:
        if path.stat().st_size > MAX_INDEX_BYTES:
            raise ValueError(f"more than {MAX_INDEX_BYTES} bytes")
        content = parse_json(path.read_bytes())
        num_bytes = shard.stat().st_size if num_bytes is None else num_bytes
    except (OSError, ValueError) as error:
        raise damaged(path, None, f"it cannot be read ({_reason(error)})", INDEX_AGAIN) from None
    if not isinstance(content, dict) or content.get("version") != VERSION:
        raise damaged(path, None, f"it is no index of version {VERSION}", INDEX_AGAIN)
    if content.get("num_bytes") != num_bytes:
        problem = f"it is for {content.get('num_bytes')} bytes of a shard, but {shard.name} has {num_bytes}"
        raise damaged(path, None, problem, INDEX_AGAIN)
    try:
        keys, members = content["keys"], Members.from_columns(content, num_bytes, MAX_MEMBER_BYTES)
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise TypeError("keys are text")
        if not len({*keys}) == len(keys) == len(members) == content.get("num_samples", len(keys)):
            raise ValueError("keys are too few or too many, or not all different")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise damaged(path, None, f"its columns do not fit ({_reason(error)})", INDEX_AGAIN) from None
    return ShardIndex(shard.name, num_bytes, keys, members)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[int, int]]:
    """Yields the descriptor and the size of a shard."""
    file = None
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise damaged(path, None, "it is no file", "name a tar file")
        file = os.open(path, os.O_RDONLY)
        yield file, os.fstat(file).st_size
    except OSError as error:
        problem = f"it cannot be read ({_reason(error)})"
        raise damaged(path, None, problem, "fetch it, or correct the name") from None
    finally:
        if file is not None:
            os.close(file)


def _checksum(path: Path, file: int, entry: Entry) -> int:
    crc32, end = 0, entry.offset + entry.size
    for start in range(entry.offset, end, CHUNK):
        crc32 = zlib.crc32(read_exactly(path, file, min(CHUNK, end - start), start), crc32)
    return crc32


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or first_line(error)
