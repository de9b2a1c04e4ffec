"""Packets of H.264 and HEVC: which picture is shown when, and where decoding can start."""

from collections.abc import Iterator
from typing import Any

from .structure import Structure, Unforeseen

REMARKS = {6, 9, 12}  # of H.264: SEI, delimiter, filler
X264_REMARK = b"\5"  # user data: FFmpeg makes up for faults of old encoders that name themselves there
HIGH_PROFILES = {44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244}
SLICE_HEADER = 20  # bytes, of which the beginning is read
NO_OUTPUT_ORDER = 1  # an order of H.264 that is counted from frame numbers; nobody uses it


class Bits:
    """Reads numbers off bytes, bit by bit.

    Args:
        data: A part of a packet behind its header.
    """

    def __init__(self, data: bytes) -> None:
        data = data.replace(b"\0\0\3", b"\0\0")
        self.value, self.left = int.from_bytes(data), 8 * len(data)

    def read(self, num: int) -> int:
        """Returns the next ``num`` bits.

        Raises:
            Unforeseen: If there are not as many.
        """
        self.left -= num
        if self.left < 0:
            raise Unforeseen
        return self.value >> self.left & (1 << num) - 1

    def golomb(self) -> int:
        """Returns an unsigned number of Exp-Golomb code."""
        rest = self.value & (1 << self.left) - 1
        zeros = self.left - rest.bit_length()
        self.left -= 2 * zeros + 1
        if self.left < 0:
            raise Unforeseen
        return (rest >> self.left) - 1

    def skip(self, kinds: str) -> None:
        """Skips numbers: ``g`` for one of Exp-Golomb code, a digit for as many bits."""
        for kind in kinds:
            if kind == "g":
                self.golomb()
            else:
                self.read(int(kind))


def nal_units(data: bytes | memoryview, length_size: int) -> Iterator[tuple[int, int]]:
    """Yields where each part of a packet starts and ends.

    Args:
        data: The packet.
        length_size: In how many bytes the length of each part is written; 0 if start codes part them.
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
    """Returns the size of lengths in packets, see ``nal_units``, and the parameter sets beside the stream."""
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


class Order:
    """Tells when pictures are shown by the lower bits of their count (H.264, 8.2.1.1; H.265, 8.3.1)."""

    def __init__(self) -> None:
        self.period = self.high = self.low = 0

    def restart(self) -> None:
        """Begins to count anew: what follows is shown after all that was before."""
        self.period += 1
        self.high = self.low = 0

    def place(self, low: int, num_bits: int, *, refers: bool) -> tuple[int, int]:
        """Returns what pictures are sorted by.

        Args:
            low: Lower bits of the count.
            num_bits: How many there are of these.
            refers: Whether the next count is told from this one.
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


def read_h264(packets: list[Any], extradata: bytes | None) -> Structure:
    """Foretells the frames of H.264 (ITU-T H.264, 7.3).

    Raises:
        Unforeseen: If it does not begin with a picture that lets nothing refer to what was before it, a frame
            takes two packets, or the order is counted in a rare way.
    """
    length_size, units = configuration(extradata, "h264")
    sets: dict[int, tuple[Any, ...]] = {}
    pictures: dict[int, int] = {}
    for unit in units:
        _read_h264_set(unit, sets, pictures)
    order, keys, structure = Order(), [], Structure()
    for place, packet in enumerate(packets):
        data = memoryview(packet) if length_size else bytes(packet)
        num_first, disposable, low = 0, True, 0
        for start, end in nal_units(data, length_size):
            if start >= end:
                continue
            header, kind = data[start], data[start] & 31
            if 1 <= kind <= 5:
                disposable &= not header & 0x60
                if kind in (3, 4) or end - start < 2 or not data[start + 1] & 0x80:
                    continue  # a further part of the picture
                num_first += 1
                bits = Bits(bytes(data[start + 1 : min(end, start + 1 + SLICE_HEADER)]))
                bits.golomb()
                bits.golomb()
                number = pictures.get(bits.golomb(), -1)
                if number not in sets:
                    raise Unforeseen
                separate, frame_bits, kind_of_order, low_bits, frames_only = sets[number]
                bits.read(2 * separate + frame_bits)
                if not frames_only and bits.read(1):
                    raise Unforeseen  # a field: its frame may be in two packets
                if kind == 5:
                    bits.golomb()
                    order.restart()
                    structure.starts.append(place)
                low = bits.read(low_bits) if kind_of_order == 0 else place
                keys.append(
                    order.place(low, low_bits, refers=bool(header & 0x60))
                    if kind_of_order == 0
                    else (order.period, place)
                )
            else:
                disposable &= kind in REMARKS
                remark = kind == 6 and not place and data[start + 1 : start + 2] == X264_REMARK
                if remark or kind in (7, 8):
                    unit = bytes(data[start:end])
                    _read_h264_set(unit, sets, pictures)
                    structure.headers.append((place, _framed(unit, length_size)))
        if num_first != 1:
            raise Unforeseen
        if disposable:
            structure.disposable.add(place)
    structure.shown = sorted(range(len(packets)), key=keys.__getitem__)
    return structure


def _framed(unit: bytes, length_size: int) -> bytes:
    return (len(unit).to_bytes(length_size) if length_size else b"\0\0\1") + unit


def _read_h264_set(unit: bytes, sets: dict[int, Any], pictures: dict[int, Any]) -> None:
    kind, bits = unit[0] & 31, Bits(unit[1:])
    if kind == 8:
        number = bits.golomb()
        pictures[number] = bits.golomb()
    elif kind == 7:
        profile = bits.read(8)
        bits.read(16)
        number, separate = bits.golomb(), 0
        if profile in HIGH_PROFILES:
            chroma = bits.golomb()
            separate = bits.read(1) if chroma == 3 else 0
            bits.skip("gg1")
            if bits.read(1):
                for index in range(12 if chroma == 3 else 8):
                    if bits.read(1):
                        _skip_scaling_list(bits, 16 if index < 6 else 64)
        frame_bits, kind_of_order, low_bits = bits.golomb() + 4, bits.golomb(), 0
        if kind_of_order == 0:
            low_bits = bits.golomb() + 4
        elif kind_of_order == NO_OUTPUT_ORDER:
            raise Unforeseen
        bits.skip("g1gg")
        sets[number] = separate, frame_bits, kind_of_order, low_bits, bits.read(1)


def _skip_scaling_list(bits: Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            code = bits.golomb()
            following = (last + ((code + 1) // 2 if code % 2 else -(code // 2))) % 256
        last = following or last


def read_hevc(packets: list[Any], extradata: bytes | None) -> Structure:
    """Foretells the frames of HEVC (ITU-T H.265, 7.3 and 8.1.3).

    Raises:
        Unforeseen: If it does not begin with a picture that stands alone, or some pictures are not shown.
    """
    length_size, units = configuration(extradata, "hevc")
    sets: dict[int, int] = {}
    pictures: dict[int, tuple[int, int]] = {}
    for unit in units:
        _read_hevc_set(unit, sets, pictures)
    order, keys, kinds, structure = Order(), [], [], Structure()
    leads_nowhere = False
    for place, packet in enumerate(packets):
        data = memoryview(packet) if length_size else bytes(packet)
        num_first = 0
        for start, end in nal_units(data, length_size):
            if end - start < 3 or data[start] & 1 or data[start + 1] >> 3:
                continue  # of another layer, which FFmpeg leaves out
            kind, layer = data[start] >> 1 & 63, data[start + 1] & 7
            if kind in (32, 33, 34):
                unit = bytes(data[start:end])
                _read_hevc_set(unit, sets, pictures)
                structure.headers.append((place, _framed(unit, length_size)))
            if kind in (16, 17, 18, 36, 37):
                raise Unforeseen  # a broken link or an end inside: some pictures are not shown
            if kind >= 32 or not data[start + 2] & 0x80:
                continue
            num_first += 1
            bits = Bits(bytes(data[start + 2 : min(end, start + 2 + SLICE_HEADER)]))
            bits.read(1)
            if 16 <= kind <= 23:
                if bits.read(1) and place:
                    raise Unforeseen  # pictures before it are not shown
                structure.starts.append(place)
                leads_nowhere = kind == 21 and not place
            elif kind in (8, 9) and leads_nowhere:
                raise Unforeseen  # leading pictures of the first key frame are not shown
            number, extra = pictures.get(bits.golomb(), (-1, 0))
            if number not in sets:
                raise Unforeseen
            low, low_bits = 0, sets[number]
            if kind in (19, 20):
                order.restart()
            else:
                bits.read(extra)
                bits.golomb()
                low = bits.read(low_bits)
            counts = layer == 1 and not (6 <= kind <= 9) and (kind >= 16 or bool(kind % 2))
            keys.append(order.place(low, low_bits, refers=counts))
            kinds.append((layer, kind))
        if num_first != 1:
            raise Unforeseen
    highest = max(layer for layer, _ in kinds)
    structure.disposable = {
        place for place, (layer, kind) in enumerate(kinds) if layer == highest and kind < 16 and kind % 2 == 0
    }
    structure.shown = sorted(range(len(packets)), key=keys.__getitem__)
    return structure


def _read_hevc_set(unit: bytes, sets: dict[int, int], pictures: dict[int, tuple[int, int]]) -> None:
    kind, bits = unit[0] >> 1 & 63, Bits(unit[2:])
    if kind == 34:
        number, of = bits.golomb(), bits.golomb()
        bits.read(1)
        if bits.read(1):
            raise Unforeseen  # pictures may say that they are not shown
        pictures[number] = of, bits.read(3)
    elif kind == 33:
        bits.read(4)
        num_layers = bits.read(3)
        bits.read(1 + 96)
        flags = [(bits.read(1), bits.read(1)) for _ in range(num_layers)]
        bits.read(2 * (8 - num_layers) if num_layers else 0)
        bits.read(sum(88 * profile + 8 * level for profile, level in flags))
        number = bits.golomb()
        if bits.golomb() == 3 and bits.read(1):
            raise Unforeseen
        bits.skip("gg")
        if bits.read(1):
            bits.skip("gggg")
        bits.skip("gg")
        sets[number] = bits.golomb() + 4
