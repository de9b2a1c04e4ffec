"""Encodes pixels of a world as PNG and MP4 files."""

import io
from collections.abc import Sequence
from fractions import Fraction

import av
from av.container import OutputContainer
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from PIL import Image
from torch import Tensor

from .x264 import x264_params

# Colour is stored at full resolution (yuv444p): at 64 px, halving it costs 15 dB.
VIDEO_OPTIONS = {"crf": "12", "preset": "ultrafast", "x264-params": x264_params()}
MS = Fraction(1, 1000)


def encode_png(pixels: Tensor) -> bytes:
    """Encodes an image of ``(H, W, 3)`` bytes."""
    data = io.BytesIO()
    Image.fromarray(pixels.numpy()).save(data, "PNG", compress_level=1)
    return data.getvalue()


def encode_mp4(frames: Tensor, fps: Fraction | int, times: Sequence[int] | None = None) -> bytes:
    """Encodes ``(F, H, W, 3)`` uint8 frames as H.264 with a key frame every second or so.

    Args:
        frames: Frames of one video.
        fps: Frames per second.
        times: When each frame is shown, in milliseconds; even steps of ``1 / fps`` if None.
    """
    data = io.BytesIO()
    with av.open(data, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options=VIDEO_OPTIONS)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv444p"
        stream.gop_size = 30
        write_frames(container, stream, frames, Fraction(fps), times)
    return data.getvalue()


def write_frames(
    container: OutputContainer,
    stream: VideoStream,
    frames: Tensor,
    fps: Fraction,
    times: Sequence[int] | None = None,
) -> None:
    """Encodes all frames of a stream, in its pixel format.

    Args:
        container: File to write to.
        stream: Its stream, with size and pixel format.
        frames: Bytes ``(F, H, W, 3)``.
        fps: Frames per second.
        times: See ``encode_mp4``.
    """
    stream.codec_context.thread_count = 1  # or the file would depend on the number of cores
    if times is not None:
        stream.codec_context.time_base = MS
    reformatter = VideoReformatter()
    for index, pixels in enumerate(frames.contiguous().numpy()):
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        frame = reformatter.reformat(frame, format=stream.pix_fmt)
        frame.pts, frame.time_base = (index, 1 / fps) if times is None else (times[index], MS)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
