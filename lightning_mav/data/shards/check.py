"""Checks whole shards: structure, index, checksums and, if wanted, every picture."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ...utils.errors import reason_of
from ..codecs.probe import check_sample
from .index import (
    Member,
    ShardError,
    ShardIndex,
    index_path,
    read_index,
    read_member,
    scan_shard,
    write_index,
)
from .parallel import map_in_order

INDEX_START = b'{"version":'
Progress = Callable[[Iterable[Any], int], Iterable[Any]]


@dataclass
class CheckReport:
    """The size of shards, and the errors found in them.

    Args:
        num_samples: Samples found.
        num_bytes: Size of the shards.
        shards: Error of each damaged shard, by its path; its samples are not checked.
        samples: Error of each damaged sample, by its name.
        num_without_index: Shards without an index, or with one that holds no checksums.
    """

    num_samples: int = 0
    num_bytes: int = 0
    shards: dict[str, str] = field(default_factory=dict)
    samples: dict[str, str] = field(default_factory=dict)
    num_without_index: int = 0

    def add(self, other: "CheckReport") -> None:
        """Adds what was found in other shards."""
        self.num_samples += other.num_samples
        self.num_bytes += other.num_bytes
        self.num_without_index += other.num_without_index
        self.shards |= other.shards
        self.samples |= other.samples


def check_shards(
    paths: list[str],
    *,
    decode: bool = False,
    num_workers: int = 1,
    progress: Progress = lambda items, total: items,
) -> CheckReport:
    """Checks shards in parallel, each in one process.

    Args:
        paths: The shards.
        decode: Whether to decode all samples.
        num_workers: Processes.
        progress: Wraps the shards, of which there are ``total``.
    """
    report = CheckReport()
    for one in progress(map_in_order(partial(check_shard, decode=decode), paths, num_workers), len(paths)):
        report.add(one)
    return report


def check_shard(path: str, *, decode: bool = False) -> CheckReport:
    """Checks one shard."""
    shard, report = Path(path), CheckReport()
    try:
        found = scan_shard(shard, checksums=True)
        report.num_samples, report.num_bytes = len(found), found.num_bytes
        index = read_index(index_path(shard), shard) if index_path(shard).exists() else None
        if index is not None and _places(index) != _places(found):
            problem = "its members lie elsewhere than in the shard"
            raise ShardError(f"{index_path(shard)}: {problem}; write it anew with 'mav data index'")
    except ShardError as error:
        report.shards[path] = str(error)
        return report
    report.num_without_index = int(index is None or not has_checksums(index))
    for number, key in enumerate(found.keys):
        members = found.members[number]
        try:
            for suffix, member in (index or found).members[number].items():
                if member.crc32 not in (None, members[suffix].crc32):
                    raise ValueError("crc32 mismatch")
            if decode:
                check_sample({suffix: read_member(shard, member) for suffix, member in members.items()})
        except ShardError as error:  # the shard was changed meanwhile
            report.shards[path] = str(error)
            return report
        except Exception as error:  # codecs raise errors of any type
            report.samples[f"{key} in {path}"] = reason_of(error)
    return report


def write_missing_index(path: str) -> bool:
    """Writes the index of a shard, unless it has a matching one with checksums.

    Raises:
        ShardError: If the shard is damaged, or another file has the name of its index.
    """
    shard = Path(path)
    refuse_others(index_path(shard))
    try:
        if has_checksums(read_index(index_path(shard), shard)):
            return False
    except ShardError:
        pass  # there is no index, or it is damaged or of another shard
    write_index(scan_shard(shard, checksums=True), index_path(shard))
    return True


def refuse_others(path: Path) -> None:
    """Refuses to overwrite a file that is no index, by its first bytes.

    Raises:
        ShardError: If ``path`` is such a file.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(INDEX_START))
    except FileNotFoundError:
        return
    except OSError as error:
        raise ShardError(f"{path}: cannot be read ({error.strerror}); move it away") from None
    nothing = start.strip(b"\0 \t\r\n") in (b"", b"{}")  # zeros are what a loss of power leaves
    if not nothing and not INDEX_START.startswith(start):  # an unfinished index may hold less than this
        raise ShardError(f"{path}: is no index of a shard, and has the name of one; move it away")


def has_checksums(index: ShardIndex) -> bool:
    """Tells whether an index holds the checksum of each member."""
    return all(member.crc32 is not None for members in index.members for member in members.values())


def _places(index: ShardIndex) -> list[tuple[str, list[tuple[str, int, int]]]]:
    def place(suffix: str, member: Member) -> tuple[str, int, int]:
        return suffix, member.offset, member.size

    rows = (sorted(place(*item) for item in members.items()) for members in index.members)
    return list(zip(index.keys, rows, strict=True))
