"""Headers of H.264 packets: the display order of pictures, and where decoding can start."""

from typing import Any

from .nal import SLICE_HEADER, Bits, PictureOrder, configuration, framed, nal_units
from .structure import Structure, Unforeseen

REMARKS = {6, 9, 12}  # SEI, delimiter, filler
X264_REMARK = b"\5"  # user data, which names the encoder: FFmpeg works around faults of old ones
HIGH_PROFILES = {44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244}
NO_OUTPUT_ORDER = 1  # pic_order_cnt_type 1, an order derived from frame numbers, which nobody uses


def read_h264(packets: list[Any], extradata: bytes | None) -> Structure:
    """Predicts the frames of an H.264 stream (ITU-T H.264, 7.3).

    Raises:
        Unforeseen: If a packet does not hold exactly one frame, the headers cannot be read, or the display
            order is coded in a rare way.
    """
    length_size, units = configuration(extradata, "h264")
    sets: dict[int, tuple[Any, ...]] = {}
    pictures: dict[int, int] = {}
    for unit in units:
        _read_h264_set(unit, sets, pictures)
    order, keys, structure = PictureOrder(), [], Structure()
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
                    continue  # not the first slice of the picture
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
                    structure.headers.append((place, framed(unit, length_size)))
        if num_first != 1:
            raise Unforeseen
        if disposable:
            structure.disposable.add(place)
    structure.shown = sorted(range(len(packets)), key=keys.__getitem__)
    return structure


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
