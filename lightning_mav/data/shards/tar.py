"""Reads the headers of tar files strictly: damage is an error that names the byte, never a shorter shard.

Usual readers are lenient: if a bit of a header is flipped, or the file is cut off between two members, they
end early without a word. Here every checksum, every size and the end marker must be right.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...utils.errors import UsageError

BLOCK = 512
MAX_NAME_BYTES = 2**20  # largest record that holds a long name
FETCH_AGAIN = "fetch it again"
CHUNK = 2**20

# Six digits and one of the two usual endings: if others were allowed, a flipped bit could go unnoticed.
CHECKSUM = re.compile(rb"[0-7]{6}(\0 | \0)")
NUMBER = re.compile(rb" *([0-7]+)[ \0]*")
PAX_RECORD = re.compile(rb"([1-9][0-9]{0,6}) ")
FILES, FOLDER, LINKS = b"0\0" + b"7", b"5", b"12"
PAX, PAX_GLOBAL, LONG_NAME, LONG_LINK = b"x", b"g", b"L", b"K"
STARTS = {
    b"\x1f\x8b": "it is compressed with gzip",
    b"\x28\xb5\x2f\xfd": "it is compressed with zstd",
    b"\xfd7zXZ\0": "it is compressed with xz",
    b"BZh": "it is compressed with bzip2",
    b"PK\x03\x04": "it is a zip file",
}


class ShardError(UsageError):
    """A shard, or its index, that cannot be read; the message names it, the byte and the remedy."""


def damaged(path: Path, offset: int | None, problem: str, remedy: str = FETCH_AGAIN) -> ShardError:
    """Makes the error for a problem at a byte of a shard."""
    place = "" if offset is None else f", byte {offset}"
    return ShardError(f"{path}{place}: {problem}; {remedy}")


@dataclass(frozen=True)
class Entry:
    """A file in a tar file.

    Args:
        name: Its path within the tar file.
        header: Byte at which its header starts.
        offset: Byte at which its data starts.
        size: Bytes of data.
    """

    name: str
    header: int
    offset: int
    size: int


def read_exactly(path: Path, file: int, size: int, offset: int) -> bytes:
    """Reads bytes of an open shard.

    Raises:
        ShardError: If the file ends before they do.
    """
    parts = []
    while size:
        part = os.pread(file, size, offset)
        if not part:
            raise damaged(path, offset, f"the file ends here, {size} bytes too early")
        parts.append(part)
        size, offset = size - len(part), offset + len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def read_entries(path: Path, file: int, num_bytes: int) -> Iterator[Entry]:
    """Yields the files in an open tar file of ``num_bytes``, without reading their data.

    Folders are left out. Long names may be written in the way of GNU or of pax.

    Raises:
        ShardError: If anything is wrong, up to the last byte of the file.
    """
    at, long_name, pax = 0, None, dict[str, str]()
    while True:
        header = _read_header(path, file, at)
        if header is None:
            break
        kind, size = header[156:157], _size(path, header, at)
        if kind in FILES and "size" in pax:
            size = int(pax["size"])
        data = at + BLOCK
        if size > num_bytes - data:
            problem = f"a member claims {size} bytes, but {max(0, num_bytes - data)} are left"
            raise damaged(path, at, problem)
        if kind in (PAX, PAX_GLOBAL, LONG_NAME, LONG_LINK):
            if size > MAX_NAME_BYTES:
                raise damaged(path, at, f"a name of {size} bytes")
            record = read_exactly(path, file, size, data)
            if kind == PAX:
                pax = _pax(path, record, data)
            elif kind == LONG_NAME:
                long_name = _text(record)
        elif kind in FILES:
            name = pax.get("path") or long_name or _name(header)
            if not name.endswith("/"):  # this is how the oldest writers mark a folder
                yield Entry(name, at, data, size)
            long_name, pax = None, {}
        elif kind == FOLDER:
            long_name, pax = None, {}
        else:
            what = "a link" if kind in LINKS else f"a member of kind {kind.decode('latin-1')!r}"
            remedy = "pack only files, with 'tar --dereference --hard-dereference'"
            raise damaged(path, at, f"{what} where a file is wanted", remedy)
        at = data + -(-size // BLOCK) * BLOCK
    if long_name is not None or pax:
        raise damaged(path, at, "a name without a member")
    _check_end(path, file, at, num_bytes)


def _read_header(path: Path, file: int, at: int) -> bytes | None:
    """Returns the header at a byte; None if the end marker starts there."""
    header = os.pread(file, BLOCK, at)
    whole = len(header) == BLOCK
    if whole and not any(header):
        return None
    stored = CHECKSUM.fullmatch(header[148:156])
    if whole and stored and int(header[148:154], 8) == sum(header) - sum(header[148:156]) + 8 * ord(" "):
        return header
    if at == 0:
        _check_start(path, header)
    if whole:
        raise damaged(path, at, "bad header checksum")
    raise damaged(path, at, "a header is cut off" if header else "the file ends here, without an end marker")


def _check_start(path: Path, start: bytes) -> None:
    """Raises an error that says what the file is, if its start shows that it is no plain tar file."""
    if not start:
        raise damaged(path, 0, "it is empty")
    for magic, problem in STARTS.items():
        if start.startswith(magic):
            raise damaged(path, 0, problem, "decompress it")
    if start.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<"):
        raise damaged(path, 0, "it is a web page, not a tar file", "download the shard itself")


def _size(path: Path, header: bytes, at: int) -> int:
    field = header[124:136]
    if field[0] == 0x80:  # how GNU writes sizes of more than eleven octal digits
        return int.from_bytes(field[1:], "big")
    number = NUMBER.fullmatch(field)
    if number is None:
        raise damaged(path, at, f"bad size {field!r}")
    return int(number[1], 8)


def _name(header: bytes) -> str:
    name, prefix = _text(header[:100]), _text(header[345:500])
    return f"{prefix}/{name}" if prefix and header[257:263] == b"ustar\0" else name


def _text(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")


def _pax(path: Path, data: bytes, at: int) -> dict[str, str]:
    """Reads the records ``LENGTH KEY=VALUE`` that belong to the member that follows."""
    records, place = dict[str, str](), 0
    while place < len(data):
        length = PAX_RECORD.match(data, place)
        end = place + int(length[1]) if length else 0
        if length is None or not length.end() < end <= len(data) or data[end - 1 : end] != b"\n":
            raise damaged(path, at + place, "bad pax record")
        key, _, value = data[length.end() : end - 1].partition(b"=")
        records[_text(key)] = _text(value)
        place = end
    if any(key.startswith("GNU.sparse") for key in records):
        raise damaged(path, at, "a sparse file", "pack it without --sparse")
    if not re.fullmatch("[0-9]{1,18}", records.get("size", "0")):
        raise damaged(path, at, f"bad size {records['size']!r}")
    return records


def _check_end(path: Path, file: int, at: int, num_bytes: int) -> None:
    """Checks that the file ends with two blocks of zeros or more, and nothing else."""
    if num_bytes - at < 2 * BLOCK:
        raise damaged(path, at, "the end marker is cut off")
    for start in range(at, num_bytes, CHUNK):
        data = read_exactly(path, file, min(CHUNK, num_bytes - start), start)
        rest = data.lstrip(b"\0")
        if rest:
            where = start + len(data) - len(rest)
            problem = "half an end marker" if where < at + 2 * BLOCK else "data after the end marker"
            raise damaged(path, where, problem)
