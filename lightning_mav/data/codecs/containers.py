"""Checks the sizes and counts that a video file claims, before FFmpeg relies on them."""

from collections.abc import Iterator
from dataclasses import dataclass

from .kinds import kind_of

PARENTS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf", b"mvex"}
MAX_DEPTH = 8
SIZES, RUN = b"stsz", b"trun"  # codespell:ignore
SOUND, SOUND_GROUP = b"soun", 160  # FFmpeg puts at least this many samples of sound into one index entry
ONE = (1).to_bytes(4)
# Kinds of files as FFmpeg calls them.
CONTAINERS = {"MP4": "mp4", "Matroska": "matroska", "WebM": "matroska", "AVI": "avi", "MPEG-TS": "mpegts"}
EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


@dataclass
class Track:
    """A track of an MP4 file, and how many samples of equal size it claims to have."""

    is_sound: bool = False
    is_even: bool = False  # each sample lasts one tick
    num_samples: int = 0

    @property
    def num_entries(self) -> int:
        """Number of index entries that FFmpeg will make."""
        return self.num_samples // (SOUND_GROUP if self.is_sound and self.is_even else 1)


def container_of(data: bytes) -> str | None:
    """Tells the format of a file by its first bytes.

    Returns:
        FFmpeg's name for video containers, ours for other known formats; None if the format is unknown.
    """
    kind = kind_of(data)
    return CONTAINERS.get(kind, kind) or None


def check_container(data: bytes, container: str) -> None:
    """Refuses a file that ends too early, or whose index lists more than can be in it.

    Args:
        data: The file.
        container: Its format, as FFmpeg calls it.

    Raises:
        ValueError: If the file is empty or truncated, or its index is false or compressed.
    """
    if not data:
        raise ValueError("empty file")
    if container == "mp4":
        _check_mp4(data)
    elif container == "matroska":
        _check_matroska(data)


def _check_mp4(data: bytes) -> None:
    # With two kinds of atoms, a few bytes of the file can make FFmpeg allocate gigabytes: a count of samples
    # of equal size, and runs of default samples. FFmpeg lists sound of a constant rate in groups.
    tracks, num_runs, has_index = [Track()], 0, False
    for kind, start, size in _atoms(memoryview(data), 0, len(data)):
        if start + size > len(data) and kind in (b"moov", b"mdat", b"moof"):
            raise ValueError(f"truncated video: {start + size - len(data)} bytes are missing")
        has_index |= kind == b"moov"
        if kind == b"cmov":
            raise ValueError("compressed index")
        if kind == b"trak":
            tracks.append(Track())
        elif kind == b"hdlr":
            tracks[-1].is_sound |= data[start + 8 : start + 12] == SOUND
        elif kind == b"stts":
            tracks[-1].is_even = data[start + 4 : start + 8] == data[start + 12 : start + 16] == ONE
        elif kind == SIZES and any(data[start + 4 : start + 8]):
            tracks[-1].num_samples += int.from_bytes(data[start + 8 : start + 12])
        elif kind == RUN:
            num_runs += int.from_bytes(data[start + 4 : start + 8])
    num_samples = num_runs + sum(track.num_entries for track in tracks)
    if num_samples > len(data):
        raise ValueError(f"false index: {num_samples} samples in {len(data)} bytes")
    if not has_index and data[4:8] == b"ftyp":
        raise ValueError("truncated video: there is no moov atom")


def _atoms(data: memoryview, start: int, end: int, depth: int = 0) -> Iterator[tuple[bytes, int, int]]:
    """Yields the kind of each atom, where its content starts, and how long the content claims to be."""
    while start + 8 <= end:
        size, kind = int.from_bytes(data[start : start + 4]), bytes(data[start + 4 : start + 8])
        content = start + 8
        if size == 1:
            size, content = int.from_bytes(data[content : content + 8]), content + 8
        stop = start + size if size else end  # zero means up to the end
        if stop < content:
            return  # FFmpeg reports this error itself
        yield kind, content, stop - content
        if kind in PARENTS and depth < MAX_DEPTH:
            yield from _atoms(data, content, min(stop, end), depth + 1)
        start = stop


def _check_matroska(data: bytes) -> None:
    # Files that were written as a live stream state no size: they count as complete.
    if data[:4] != EBML:
        return
    size, start = _vint(data, 4)
    if data[start + size : start + size + 4] != SEGMENT:
        return
    length, content = _vint(data, start + size + 4)
    if length >= 0 and content + length > len(data):
        raise ValueError(f"truncated video: {content + length - len(data)} bytes are missing")


def _vint(data: bytes, start: int) -> tuple[int, int]:
    """Returns a variable-length number of Matroska, -1 if it means unknown, and where it ends."""
    num_bytes = 9 - data[start].bit_length() if start < len(data) else 9
    bits = 7 * num_bytes
    value = int.from_bytes(data[start : start + num_bytes]) & (1 << bits) - 1
    return (-1 if value == (1 << bits) - 1 else value), start + num_bytes
