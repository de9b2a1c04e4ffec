"""Opens a video file and chooses the stream that players show."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import BinaryIO, NoReturn

import av
from av.container import InputContainer
from av.stream import Disposition

from .containers import check_container, container_of
from .resize import MAX_PIXELS, check_size

# FFmpeg is told the container format: if it guessed, it would also follow playlists to other files.
VIDEO_FORMATS = {"mp4": "mp4", "mov": "mp4", "mkv": "matroska", "webm": "matroska", "avi": "avi"}
MAX_SECONDS = 3600.0  # of a video
MAX_FRAMES = 2**18  # of a video: an hour at 60 frames per second and more
ALLOWED = frozenset(VIDEO_FORMATS.values())
PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
# Without this, opening would decode frames to probe them, before their size is known and for a fifth of the
# time of a clip; the headers are enough here. External tracks of QuickTime are not opened.
OPTIONS = {"codec_whitelist": "none", "enable_drefs": "0"}
LOOK_INSIDE = {"max_pixels": str(MAX_PIXELS), "enable_drefs": "0"}


@contextmanager
def open_video(
    data: bytes, suffix: str, formats: Collection[str] = ALLOWED, *, file: BinaryIO | None = None
) -> Iterator[tuple[InputContainer, av.VideoStream]]:
    """Opens a video and finds the stream to read, see ``film_of``.

    Args:
        data: The video file. Its first bytes tell its format.
        suffix: Suffix of the file name, a key of ``VIDEO_FORMATS``: used if the first bytes tell no format.
        formats: Accepted container formats, by FFmpeg's names.
        file: The same file, open: it is then read from there, bit by bit.

    Raises:
        ValueError: If it is no video of these formats, or its headers say that it is too large or too long.
            FFmpeg's own errors in the with block pass through.
    """
    kind = container_of(data) or VIDEO_FORMATS.get(suffix)
    if kind is None or kind not in formats:
        raise ValueError(f"no video of its kind: {kind or 'unknown'}")
    check_container(data, kind)
    container, stream = _open(file or BytesIO(data), kind, OPTIONS)
    if not stream.width:  # for some codecs, only the packets tell the size
        container.close()
        container, stream = _open(file or BytesIO(data), kind, LOOK_INSIDE)
    with container:
        check_size(stream.width, stream.height)
        # The length of this stream: others may be longer. If it is not given, the packets will tell.
        check_length(float((stream.duration or 0) * (stream.time_base or 0)), stream.frames)
        # Threads cost more than they gain here, and can deadlock. Some decoders heed only thread_count.
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        if stream.codec_context.codec.canonical_name == "av1":
            # FFmpeg mistakes the maximum size in the container's sequence header, up to 16384 x 8704, for the
            # size of the pictures. The packets hold that header, too, and each picture's size is checked.
            stream.codec_context.extradata = None
        # max_pixels also applies when the size changes mid-stream, before memory is allocated. strict delays
        # frames as long as reordering may need, which loses none: the end of each span is drained.
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS), "strict": "strict"}
        yield container, stream


def _open(file: BinaryIO, kind: str, options: dict[str, str]) -> tuple[InputContainer, av.VideoStream]:
    file.seek(0)
    try:
        container = av.open(
            file,
            format=kind,
            options=options,
            metadata_errors="ignore",
            io_open=refuse,
        )
    except av.FFmpegError as error:
        raise ValueError(f"no video of its kind: {error.strerror}") from error
    assert isinstance(container, InputContainer)
    return container, film_of(container)


def film_of(container: InputContainer) -> av.VideoStream:
    """Returns the video stream that players show.

    Streams of several frames are preferred to single pictures, then the default stream to others, then more
    pixels to fewer, then the first. Cover images, thumbnails and streams without a decoder are ignored.

    Raises:
        ValueError: If there is no video stream, or no decoder for it.
    """
    streams = [stream for stream in container.streams.video if not stream.disposition & PICTURES]
    if not streams:
        raise ValueError("no video stream")
    streams = [stream for stream in streams if stream.codec_context is not None]
    if not streams:
        raise ValueError("no decoder for the video stream")

    def merit(stream: av.VideoStream) -> tuple[bool, bool, int]:
        is_default = bool(stream.disposition & Disposition.default)
        return stream.frames != 1, is_default, (stream.width or 0) * (stream.height or 0)

    return max(streams, key=merit)


def refuse(url: str, flags: int, options: dict[str, str]) -> NoReturn:
    """Raises ``ValueError`` instead of opening another file that a video refers to."""
    raise ValueError(f"refers to another file: {url}")


def check_length(seconds: float, num_frames: int) -> None:
    """Refuses videos that take too long to read.

    Raises:
        ValueError: If the video exceeds ``MAX_SECONDS`` or ``MAX_FRAMES``.
    """
    if seconds > MAX_SECONDS:
        raise ValueError(f"too long: {seconds:.0f} s")
    if num_frames > MAX_FRAMES:
        raise ValueError(f"too many frames: {num_frames}")
