"""Predicts the frames of a video from the headers in its packets, for each codec.

Containers mark key frames and give times, but are often wrong. The decoder relies on the packets alone, and
so does this module.
"""

import re
from collections.abc import Callable
from typing import Any

import av

from .h264 import read_h264
from .hevc import read_hevc
from .nal import Bits
from .structure import Structure, Unforeseen

I, P, B = 1, 2, 3  # noqa: E741
SMALL_PICTURE = 20  # bytes; a smaller MPEG-4 picture may be "not coded": it repeats the one before
MPEG4_LAYER = re.compile(rb"\x00\x00\x01[\x20-\x2f]", re.DOTALL)
FFV1_HALF = 0x7F80  # the range coder's bound between the two values of the first bit


def foretell(codec: av.codec.Codec, packets: list[Any], extradata: bytes | None) -> Structure | None:
    """Predicts which frames come out of the packets of a stream.

    Args:
        codec: The decoder.
        packets: All packets of the stream, in order.
        extradata: The codec headers that the container stores beside the packets.

    Returns:
        None if only decoding can tell: for codecs without a reader here, and where a frame takes several
        packets or has none of its own.
    """
    try:
        if codec.intra_only or codec.name == "png":
            places = list(range(len(packets)))
            return Structure(places, places, set(places))
        reader = READERS.get(codec.canonical_name)
        structure = reader(packets, extradata) if reader and packets else None
    except (Unforeseen, IndexError):
        return None
    return structure if structure and structure.starts[:1] == [0] and structure.shown else None


def _read_mpeg4(packets: list[Any], extradata: bytes | None) -> Structure:
    """MPEG-4 part 2 (ISO/IEC 14496-2, 6.2.5): each packet must hold one picture that is coded."""
    kinds, structure = [], Structure()
    clock_bits, is_interlaced = _mpeg4_layer(extradata or b"") or (0, False)
    for place, packet in enumerate(packets):
        data = bytes(packet)
        start = data.find(b"\0\0\1\xb6")
        if start < 0 or data.find(b"\0\0\1\xb6", start + 4) >= 0:
            raise Unforeseen
        clock_bits, is_interlaced = _mpeg4_layer(data[:start]) or (clock_bits, is_interlaced)
        if len(data) - start < SMALL_PICTURE and not _is_coded(data[start + 4 :], clock_bits):
            raise Unforeseen
        kinds.append((I, P, B, P)[data[start + 4] >> 6])
        _keep_header(structure, place, data[:start], b"\0\0\1\xb3")
    _with_delayed_references(structure, kinds)
    structure.disposable = set()  # a damaged B-picture changes how FFmpeg decodes the pictures after it
    # FFmpeg scales all time distances by the first B-picture that it sees; a new header may change the scale.
    if is_interlaced or len({header for _, header in structure.headers}) > 1:
        structure.starts = structure.starts[:1]
    return structure


def _mpeg4_layer(header: bytes) -> tuple[int, bool] | None:
    """Returns how many bits a picture has for its time, and whether it is interlaced; None if no header."""
    layer = MPEG4_LAYER.search(header)
    if layer is None:
        return None
    bits = Bits(header[layer.end() :])
    bits.read(9)
    if bits.read(1):
        bits.read(7)
    if bits.read(4) == 15:
        bits.read(16)
    if bits.read(1):
        bits.read(3)
        if bits.read(1):
            bits.read(79)
    bits.read(3)  # shape: a rectangle
    clock_bits = max(1, (bits.read(16) - 1).bit_length())
    bits.read(1)
    bits.read(clock_bits if bits.read(1) else 0)
    bits.read(29)  # width and height
    return clock_bits, bool(bits.read(1))


def _is_coded(picture: bytes, clock_bits: int) -> bool:
    bits = Bits(picture)
    bits.read(2)
    while bits.read(1):
        pass
    bits.read(1 + clock_bits + 1)
    return clock_bits > 0 and bits.read(1) == 1


def _read_mpeg12(packets: list[Any], extradata: bytes | None) -> Structure:
    """MPEG-1 and MPEG-2 video (ISO/IEC 13818-2, 6.2): each packet must hold one whole picture."""
    kinds, structure = [], Structure()
    for place, packet in enumerate(packets):
        data = bytes(packet)
        start = data.find(b"\0\0\1\0")
        if start < 0 or data.find(b"\0\0\1\0", start + 4) >= 0:
            raise Unforeseen
        extension = data.find(b"\0\0\1\xb5", start)
        if extension >= 0 and data[extension + 4] >> 4 == 8 and data[extension + 6] & 3 != 3:
            raise Unforeseen  # a field
        if data.find(b"\0\0\1\xb7") >= 0 and place + 1 < len(packets):
            raise Unforeseen  # a sequence end code in the middle of the stream
        kinds.append(data[start + 5] >> 3 & 7)
        _keep_header(structure, place, data[:start], b"\0\0\1\xb8")
    return _with_delayed_references(structure, kinds)


def _keep_header(structure: Structure, place: int, header: bytes, time_code: bytes) -> None:
    # The time code of a group of pictures differs from group to group, and decoding does not need it.
    header = header.partition(time_code)[0]
    if header:
        structure.headers.append((place, header))


def _with_delayed_references(structure: Structure, kinds: list[int]) -> Structure:
    """Shows B-pictures at once, and each I- or P-picture when the next I- or P-picture is decoded."""
    if not set(kinds) <= {I, P, B} or kinds[1:2] == [B]:
        raise Unforeseen  # a B-picture that lacks one of its two reference pictures
    held: list[int] = []
    for place, kind in enumerate(kinds):
        if kind == B:
            structure.shown.append(place)
            structure.disposable.add(place)
        else:
            structure.shown += held
            held = [place]
            if kind == I:
                structure.starts.append(place)
    structure.shown += held
    return structure


def _in_order(shown: list[bool], starts: list[bool]) -> Structure:
    places = range(len(shown))
    return Structure([k for k in places if shown[k]], [k for k in places if starts[k]])


def _read_vp8(packets: list[Any], extradata: bytes | None) -> Structure:
    """VP8 (RFC 6386, 9.1): some frames are references only and are not shown."""
    first = [memoryview(packet)[0] for packet in packets]
    return _in_order([bool(byte & 16) for byte in first], [not byte & 1 for byte in first])


def _read_vp9(packets: list[Any], extradata: bytes | None) -> Structure:
    """VP9 (bitstream specification, 6.2 and annex B): a packet may hold several frames, one to show."""
    shown, starts = [], []
    for packet in packets:
        data = memoryview(packet)
        headers = [_vp9_header(data[start]) for start in _vp9_frames(data)]
        num = sum(is_shown for is_shown, _ in headers)
        if num > 1:
            raise Unforeseen
        shown.append(num == 1)
        starts.append(headers[0][1])
    return _in_order(shown, starts)


def _vp9_header(byte: int) -> tuple[bool, bool]:
    """Tells whether a frame is shown, and whether it is a key frame."""
    bits = byte << 1 if byte & 0x30 == 0x30 else byte  # profile 3 has one more bit
    again = bool(bits & 8)  # shows a frame that was decoded before
    return again or bool(bits & 2), not again and not bits & 4


def _vp9_frames(data: memoryview) -> list[int]:
    mark = data[-1]
    num, width = (mark & 7) + 1, (mark >> 3 & 3) + 1
    size = 2 + num * width
    if mark & 0xE0 != 0xC0 or len(data) < size or data[-size] != mark:
        return [0]
    starts, position = [], 0
    for index in range(num):
        entry = len(data) - size + 1 + index * width
        starts.append(position)
        position += int.from_bytes(data[entry : entry + width], "little")
    return starts


def _read_av1(packets: list[Any], extradata: bytes | None) -> Structure:
    """AV1 (bitstream specification, 5.3 and 5.9): each packet must hold one frame to show."""
    starts = []
    for packet in packets:
        data, position, headers = memoryview(packet), 0, []
        while position < len(data):
            kind, has_size = data[position] >> 3 & 15, data[position] & 2
            if data[position] & 4 and data[position + 1] >> 3 & 3:
                raise Unforeseen  # one of several layers
            position += 2 if data[position] & 4 else 1
            size, shift = 0 if has_size else len(data) - position, 0
            while has_size:
                byte = data[position]
                size |= (byte & 127) << shift
                position, shift, has_size = position + 1, shift + 7, byte & 128
            if kind in (3, 6):
                headers.append(data[position])
            position += size
        # First bit: show a frame decoded before; next two: frame type, 0 for a key frame; fourth: is shown.
        if sum(header >= 128 or bool(header & 16) for header in headers) != 1:
            raise Unforeseen
        starts.append(headers[0] & 0xF0 == 0x10)
    return _in_order([True] * len(packets), starts)


def _read_ffv1(packets: list[Any], extradata: bytes | None) -> Structure:
    """FFV1 (RFC 9043, 4.4): the first bit marks a key frame."""
    starts = [int.from_bytes(memoryview(packet)[:2]) >= FFV1_HALF for packet in packets]
    return _in_order([True] * len(packets), starts)


READERS: dict[str, Callable[[list[Any], bytes | None], Structure]] = {
    "h264": read_h264,
    "hevc": read_hevc,
    "mpeg4": _read_mpeg4,
    "mpeg1video": _read_mpeg12,
    "mpeg2video": _read_mpeg12,
    "vp8": _read_vp8,
    "vp9": _read_vp9,
    "av1": _read_av1,
    "ffv1": _read_ffv1,
}
