"""Members of the samples of a shard, in columns: objects would take ten times the memory and time to load."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

UNKNOWN = -1  # in place of a checksum that was not computed


@dataclass(frozen=True)
class Member:
    """One file of a sample.

    Args:
        offset: Byte of the shard at which it starts.
        size: Its number of bytes.
        crc32: Its checksum; None if it was not computed.
    """

    offset: int
    size: int
    crc32: int | None


class Members(Sequence[dict[str, Member]]):
    """Members of each sample by their suffix; reads like a list of dictionaries."""

    def __init__(self) -> None:
        self.suffixes: list[str] = []
        self.numbers: dict[str, int] = {}  # index of each suffix
        self.ends = array("q")  # where each sample ends in the columns below
        self.suffix = array("q")
        self.offset = array("q")
        self.size = array("q")
        self.crc32 = array("q")

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, sample: Any) -> Any:
        if isinstance(sample, slice):
            return [self[number] for number in range(*sample.indices(len(self)))]
        if not -len(self) <= sample < len(self):
            raise IndexError(f"there are {len(self)} samples, got {sample}")
        sample %= len(self)
        rows = range(self.ends[sample - 1] if sample else 0, self.ends[sample])
        return {self.suffixes[self.suffix[row]]: self._member(row) for row in rows}

    def __iter__(self) -> Iterator[dict[str, Member]]:
        return (self[number] for number in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def _member(self, row: int) -> Member:
        crc32 = self.crc32[row]
        return Member(self.offset[row], self.size[row], None if crc32 == UNKNOWN else crc32)

    def append(self, sample: dict[str, Member]) -> None:
        """Adds a sample; its members must lie behind those of the earlier samples."""
        for suffix, member in sample.items():
            number = self.numbers.setdefault(suffix, len(self.numbers))
            if number == len(self.suffixes):
                self.suffixes.append(suffix)
            self.suffix.append(number)
            self.offset.append(member.offset)
            self.size.append(member.size)
            self.crc32.append(UNKNOWN if member.crc32 is None else member.crc32)
        self.ends.append(len(self.suffix))

    def columns(self) -> dict[str, Any]:
        """Returns everything as lists, ready for JSON."""
        return {
            "suffixes": self.suffixes,
            "num_members": [end - start for start, end in pairwise([0, *self.ends])],
            "suffix": self.suffix.tolist(),
            "offset": self.offset.tolist(),
            "size": self.size.tolist(),
            "crc32": None if UNKNOWN in self.crc32 else self.crc32.tolist(),
        }

    @classmethod
    def from_columns(cls, columns: dict[str, Any], num_bytes: int, max_size: int) -> "Members":
        """Restores members from what ``columns`` returns.

        Args:
            columns: The lists.
            num_bytes: Size of the shard that all members lie in, one behind the other.
            max_size: Maximal size of a member.

        Raises:
            ValueError: If members overlap or are out of bounds, or the columns do not match.
            KeyError: If a column is missing; ``TypeError`` or ``OverflowError`` if it holds wrong values.
        """
        made, crc32 = cls(), columns["crc32"]
        made.suffixes = columns["suffixes"]
        made.ends = array("q", accumulate(columns["num_members"]))
        made.suffix, made.offset = array("q", columns["suffix"]), array("q", columns["offset"])
        made.size = array("q", columns["size"])
        made.crc32 = array("q", [UNKNOWN] * len(made.size) if crc32 is None else crc32)
        made.numbers = {suffix: number for number, suffix in enumerate(made.suffixes)}
        if not isinstance(made.suffixes, list) or not all(isinstance(name, str) for name in made.suffixes):
            raise TypeError("suffixes are text")
        num = len(made.suffix)
        if {num} != {len(made.offset), len(made.size), len(made.crc32), made.ends[-1] if made.ends else 0}:
            raise ValueError("columns of different lengths")
        if min(columns["num_members"], default=1) < 1 or max(made.size, default=0) > max_size:
            raise ValueError("an empty sample, or too large a member")
        bounds = ((made.suffix, len(made.suffixes)), (made.size, num_bytes + 1), (made.crc32, 2**32))
        lowest = (0, 0, UNKNOWN if crc32 is None else 0)
        for (column, end), low in zip(bounds, lowest, strict=True):
            if min(column, default=low) < low or max(column, default=end - 1) >= end:
                raise ValueError("a number out of bounds")
        ends = [*map(int.__add__, made.offset, made.size)]
        starts = [*made.offset[1:], num_bytes]
        if any(map(int.__gt__, ends, starts)) or min(made.offset, default=0) < 0:
            raise ValueError("members overlap, or lie outside of the shard")
        return made
