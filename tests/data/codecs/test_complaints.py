"""Damage that decoders only log is noticed, by the thread that decodes; what is harmless is let through."""

import io
import logging
import re
from concurrent.futures import ThreadPoolExecutor

import av
import av.logging
import pytest
import torch

from helpers.coded import copied, encode, packets_of, whole
from lightning_mav.data.codecs import complaints
from lightning_mav.data.codecs.decode import decode_video

MPEG4 = {"g": "5", "flags": "qscale", "qscale": "2"}
NO_KEY = "warning: first frame is no keyframe"


@pytest.fixture(autouse=True)
def logging_as_it_was():
    level, repeated, logger = (
        av.logging.get_level(),
        av.logging.get_skip_repeated(),
        logging.getLogger("libav"),
    )
    before = logger.level
    av.logging.set_level(None)
    av.logging.set_skip_repeated(True)
    logger.setLevel(logging.WARNING)
    yield
    av.logging.set_level(level)
    av.logging.set_skip_repeated(repeated)
    logger.setLevel(before)


def packets_and_codec(first):
    """Some packets of MPEG-4, from the given one on, and a decoder for them."""
    with av.open(io.BytesIO(encode("avi", "mpeg4", num_frames=8, options=MPEG4))) as container:
        stream = container.streams.video[0]
        codec = av.CodecContext.create("mpeg4", "r")
        codec.thread_type, codec.thread_count = "NONE", 1
        codec.extradata = stream.codec_context.extradata
        packets = [av.Packet(bytes(packet)) for packet in container.demux(stream) if packet.size]
    header = bytes(packets[0])[: bytes(packets[0]).find(b"\0\0\1\xb6")]
    packets[first] = av.Packet(header + bytes(packets[first])[bytes(packets[first]).find(b"\0\0\1\xb6") :])
    return packets[first:], codec


def heard(first, num=2):
    """What a decoder complains of that starts at some packet."""
    packets, codec = packets_and_codec(first)
    return [complaints.decode(codec, packet)[1] for packet in packets[:num]]


def test_each_complaint_is_heard_and_none_is_shown(monkeypatch, caplog, capfd):
    monkeypatch.setattr(complaints, "HARMLESS", re.compile("(?!)"))
    with caplog.at_level(logging.DEBUG):
        for _ in range(3):  # the same one again and again
            assert heard(2)[0] == NO_KEY
            assert heard(0) == ["", ""]
        with pytest.raises(av.FFmpegError):
            av.open(io.BytesIO(b"no video"), format="mp4")
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


def test_what_a_user_wants_to_hear_is_shown(caplog):
    av.logging.set_level(av.logging.VERBOSE)
    heard(2)
    assert av.logging.get_level() == av.logging.VERBOSE
    assert logging.getLogger("libav").level == logging.WARNING
    with caplog.at_level(logging.DEBUG):
        av.logging.log(av.logging.ERROR, "h264", "something else")
    assert [record.message for record in caplog.records] == ["something else"]


def test_threads_hear_their_own_decoders(monkeypatch):
    monkeypatch.setattr(complaints, "HARMLESS", re.compile("(?!)"))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(heard, [2, 0] * 20))
    assert [first for first, _ in found] == [NO_KEY, ""] * 20
    assert found[1::2] == [["", ""]] * 20


def test_captures_of_others_go_on():
    with av.logging.Capture() as logs:
        heard(0)
        av.logging.log(av.logging.ERROR, "other", "mine")
    assert [message for _, _, message in logs] == ["mine"]


def with_short_remark(content):
    """An H.264 packet with a remark (SEI) that claims more bytes than it has, before the first picture."""
    return b"\0\0\0\6\x06\x05\x40\1\2\x80" + content


def with_odd_field(content):
    """A JPEG picture with a broken application field."""
    return content[:2] + b"\xff\xed\0\2" + b"\xff\xe1\0\x10Exif\0\0MM\0*\0\0\0\1" + content[2:]


X264 = {"x264-params": "no-asm=1:keyint=10"}
HARMLESS = {
    "a remark that is too short": (
        "mp4",
        "libx264",
        {"x264-params": "no-asm=1:keyint=10"},
        with_short_remark,
    ),
    "a broken field of a JPEG": ("avi", "mjpeg", {}, with_odd_field),
}


@pytest.mark.parametrize("kind", HARMLESS)
def test_harmless_complaints_refuse_nothing(kind, monkeypatch):
    suffix, codec, options, change = HARMLESS[kind]
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    data = encode(suffix, codec, num_frames=20, options=options, pix_fmt=pix_fmt)
    rows = [(change(content), *rest) for content, *rest in packets_of(data)]
    odd = copied(data, suffix, rows)
    every, _ = whole(data)
    for indices in ([3, 11, 15], list(range(20))):
        frames, _ = decode_video(odd, suffix, None, lambda times, i=indices: torch.tensor(i))
        assert torch.equal(frames, every[indices])
    monkeypatch.setattr(complaints, "HARMLESS", re.compile("(?!)"))
    with pytest.raises(ValueError, match="damaged video: "):
        decode_video(odd, suffix, None)
