"""Small videos of every codec and container that FFmpeg can write, and what decoding all of one gives."""

import io
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
import torch
from torch import Tensor

RATE = 25
X265 = "log-level=none:pools=1:frame-threads=1"
FORMATS = {"mkv": "matroska", "mov": "mov"}


def moving(num_frames: int, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Frames ``(H, W, 3)`` of a pattern that moves, with grain, so that no two are alike."""
    rng = np.random.default_rng(0)
    ground = np.kron(rng.integers(0, 256, (40, 60, 3)), np.ones((6, 6, 1)))
    for k in range(num_frames):
        part = ground[k : k + size[0], 2 * k : 2 * k + size[1]]
        yield (part + rng.integers(-4, 5, part.shape)).clip(0, 255).astype(np.uint8)


def encode(
    suffix: str,
    codec: str,
    *,
    num_frames: int = 40,
    size: tuple[int, int] = (48, 64),
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    aspect: Fraction | None = None,
    frames: list[np.ndarray] | None = None,
) -> bytes:
    """Encodes a video, deterministically; ``frames`` are those of ``moving`` if None."""
    data = io.BytesIO()
    with av.open(data, "w", format=FORMATS.get(suffix, suffix)) as container:
        stream = container.add_stream(codec, rate=RATE, options=options or {})
        stream.height, stream.width, stream.pix_fmt = *size, pix_fmt
        stream.codec_context.thread_count = 1
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        for index, pixels in enumerate(moving(num_frames, size) if frames is None else frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return data.getvalue()


def whole(data: bytes, index: int = 0) -> tuple[Tensor, list[float]]:
    """What plain PyAV decodes, ``(F, 3, H, W)`` in the decoder's order, and sorted times from the first."""
    with av.open(io.BytesIO(data)) as container:
        decoded = list(container.decode(container.streams[index]))
    frames = np.stack([frame.to_ndarray(format="rgb24") for frame in decoded])
    times = sorted(frame.time or 0.0 for frame in decoded)
    return torch.from_numpy(frames).movedim(-1, 1), [time - times[0] for time in times]


def packets_of(data: bytes) -> list[tuple[bytes, int | None, int | None, bool]]:
    """Bytes, both time stamps and the key frame's mark of each packet."""
    with av.open(io.BytesIO(data)) as container:
        return [(bytes(p), p.pts, p.dts, p.is_keyframe) for p in container.demux(video=0) if p.size]


def copied(data: bytes, suffix: str, packets: list, *, tag: str | None = None, stamp=None) -> bytes:
    """The same stream with other packets, each shifted to begin at zero.

    Args:
        data: Where the stream's header comes from.
        suffix: Container wanted.
        packets: See ``packets_of``.
        tag: Codec tag.
        stamp: Maps the place of a packet and its time stamp to another time stamp.
    """
    output = io.BytesIO()
    with (
        av.open(io.BytesIO(data)) as source,
        av.open(output, "w", format=FORMATS.get(suffix, suffix)) as target,
    ):
        template = source.streams.video[0]
        stream = target.add_stream_from_template(template)
        if tag:
            stream.codec_context.codec_tag = tag
        for place, (content, pts, dts, is_key) in enumerate(packets):
            packet = av.Packet(content)
            packet.pts = stamp(place, pts) if stamp else pts
            packet.dts = min(dts, packet.pts) if dts is not None and packet.pts is not None else dts
            packet.time_base, packet.stream, packet.is_keyframe = template.time_base, stream, is_key
            target.mux(packet)
    return output.getvalue()
