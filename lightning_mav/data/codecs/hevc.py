"""Headers of HEVC packets: the display order of pictures, and where decoding can start."""

from typing import Any

from .nal import SLICE_HEADER, Bits, PictureOrder, configuration, framed, nal_units
from .structure import Structure, Unforeseen


def read_hevc(packets: list[Any], extradata: bytes | None) -> Structure:
    """Predicts the frames of an HEVC stream (ITU-T H.265, 7.3 and 8.1.3).

    Raises:
        Unforeseen: If some pictures are not shown, or the headers cannot be read.
    """
    length_size, units = configuration(extradata, "hevc")
    sets: dict[int, int] = {}
    pictures: dict[int, tuple[int, int]] = {}
    for unit in units:
        _read_hevc_set(unit, sets, pictures)
    order, keys, kinds, structure = PictureOrder(), [], [], Structure()
    leads_nowhere = False
    for place, packet in enumerate(packets):
        data = memoryview(packet) if length_size else bytes(packet)
        num_first = 0
        for start, end in nal_units(data, length_size):
            if end - start < 3 or data[start] & 1 or data[start + 1] >> 3:
                continue  # a unit of another layer, which FFmpeg skips
            kind, layer = data[start] >> 1 & 63, data[start + 1] & 7
            if kind in (32, 33, 34):
                unit = bytes(data[start:end])
                _read_hevc_set(unit, sets, pictures)
                structure.headers.append((place, framed(unit, length_size)))
            if kind in (16, 17, 18, 36, 37):
                raise Unforeseen  # a broken link, or an end within the stream: some pictures are not shown
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
            raise Unforeseen  # each picture may have a flag that it is not shown
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
