"""Parsing that H.264 and HEVC share: the NAL units of packets, and the counts that give the display order."""

from collections.abc import Iterator

from .structure import Unforeseen

SLICE_HEADER = 20  # bytes, of which the beginning is read


class Bits:
    """Reads numbers from bytes, bit by bit.

    Args:
        data: A NAL unit without its header.
    """

    def __init__(self, data: bytes) -> None:
        data = data.replace(b"\0\0\3", b"\0\0")
        self.value, self.left = int.from_bytes(data), 8 * len(data)

    def read(self, num: int) -> int:
        """Returns the next ``num`` bits.

        Raises:
            Unforeseen: If fewer bits are left.
        """
        self.left -= num
        if self.left < 0:
            raise Unforeseen
        return self.value >> self.left & (1 << num) - 1

    def golomb(self) -> int:
        """Returns the next unsigned Exp-Golomb number."""
        rest = self.value & (1 << self.left) - 1
        zeros = self.left - rest.bit_length()
        self.left -= 2 * zeros + 1
        if self.left < 0:
            raise Unforeseen
        return (rest >> self.left) - 1

    def skip(self, kinds: str) -> None:
        """Skips numbers: ``g`` for an Exp-Golomb number, a digit for that many bits."""
        for kind in kinds:
            if kind == "g":
                self.golomb()
            else:
                self.read(int(kind))


def nal_units(data: bytes | memoryview, length_size: int) -> Iterator[tuple[int, int]]:
    """Yields where each NAL unit of a packet starts and ends.

    Args:
        data: The packet.
        length_size: Bytes of the length before each unit; 0 if start codes separate the units.
    """
    position, end = 0, len(data)
    if length_size:
        while position + length_size < end:
            start = position + length_size
            position = start + int.from_bytes(data[position:start])
            yield start, min(position, end)
        return
    data = bytes(data)
    start = data.find(b"\0\0\1") + 3
    while 2 < start < end:
        following = data.find(b"\0\0\1", start)
        yield start, following if following >= 0 else end
        start = following + 3


def configuration(extradata: bytes | None, codec: str) -> tuple[int, list[bytes]]:
    """Returns ``length_size``, see ``nal_units``, and the parameter sets that the container stores."""
    data = extradata or b""
    if data[:1] != b"\1" or len(data) < 7:
        return 0, [data[start:end] for start, end in nal_units(data, 0)]
    units: list[bytes] = []
    if codec == "h264":
        position = _take(data, 6, data[5] & 31, units)
        _take(data, position + 1, int.from_bytes(data[position : position + 1]), units)
        return (data[4] & 3) + 1, units
    if len(data) < 23:
        return 0, []
    position = 23
    for _ in range(data[22]):
        position = _take(data, position + 3, int.from_bytes(data[position + 1 : position + 3]), units)
    return (data[21] & 3) + 1, units


def _take(data: bytes, position: int, count: int, units: list[bytes]) -> int:
    for _ in range(count):
        start = position + 2
        position = start + int.from_bytes(data[position:start])
        units.append(data[start:position])
    return position


def framed(unit: bytes, length_size: int) -> bytes:
    """Returns a NAL unit with its length or start code, as in packets, see ``nal_units``."""
    return (len(unit).to_bytes(length_size) if length_size else b"\0\0\1") + unit


class PictureOrder:
    """Derives the display order from the low bits of picture counts (H.264, 8.2.1.1; H.265, 8.3.1)."""

    def __init__(self) -> None:
        self.period = self.high = self.low = 0

    def restart(self) -> None:
        """Restarts the count: all later pictures are shown after all earlier ones."""
        self.period += 1
        self.high = self.low = 0

    def place(self, low: int, num_bits: int, *, refers: bool) -> tuple[int, int]:
        """Returns the sort key of a picture in display order.

        Args:
            low: Low bits of the count.
            num_bits: Number of these bits.
            refers: Whether the next count is derived from this one.
        """
        size = 1 << num_bits
        high = self.high
        if low < self.low and self.low - low >= size // 2:
            high += size
        elif low > self.low and low - self.low > size // 2:
            high -= size
        if refers:
            self.high, self.low = high, low
        return self.period, high + low
