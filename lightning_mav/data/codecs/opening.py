"""Opens a video file and chooses the stream that players show."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import NoReturn

import av
from av.container import InputContainer
from av.stream import Disposition

from .containers import check_container, container_of
from .resize import MAX_PIXELS, check_size

# FFmpeg is told the container: left to guess, it would also follow playlists to other files.
VIDEO_FORMATS = {"mp4": "mp4", "mov": "mp4", "mkv": "matroska", "webm": "matroska", "avi": "avi"}
MAX_SECONDS = 3600.0  # of a video
MAX_FRAMES = 2**18  # of a video: an hour at 60 frames per second and more
ALLOWED = frozenset(VIDEO_FORMATS.values())
PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
# Opening would decode frames to see what is inside, and we only need what the headers say: a fifth of the
# time of a clip, and before its size is known. External tracks of QuickTime stay closed.
OPTIONS = {"codec_whitelist": "none", "enable_drefs": "0"}
LOOK_INSIDE = {"max_pixels": str(MAX_PIXELS), "enable_drefs": "0"}


@contextmanager
def open_video(
    data: bytes, suffix: str, formats: Collection[str] = ALLOWED
) -> Iterator[tuple[InputContainer, av.VideoStream]]:
    """Opens a video and finds its stream, see ``film_of``.

    Args:
        data: The video file. Its first bytes tell its format.
        suffix: What the file is called, a key of ``VIDEO_FORMATS``: its format where the bytes do not tell.
        formats: What it may be, as FFmpeg calls it.

    Raises:
        ValueError: If it is no video of that kind, too large or too long by what its headers say; inside,
            if FFmpeg complains of anything.
    """
    kind = container_of(data) or VIDEO_FORMATS[suffix]
    if kind not in formats:
        raise ValueError(f"no video of its kind: {kind}")
    check_container(data, kind)
    container, stream = _open(data, kind, OPTIONS)
    if not stream.width:  # some codecs keep the size to themselves
        container.close()
        container, stream = _open(data, kind, LOOK_INSIDE)
    with container:
        check_size(stream.width, stream.height)
        # Of the stream itself: another may be longer. Where it does not say, the packets will.
        check_length(float((stream.duration or 0) * (stream.time_base or 0)), stream.frames)
        # Threads cost more than they gain here, and can deadlock. Some decoders obey only the number.
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        if stream.codec_context.codec.canonical_name == "av1":
            # FFmpeg takes the bounds in the sequence header beside the stream, which may be 16384 x 8704, for
            # the size of the pictures. The packets have that header, too, and each picture is measured.
            stream.codec_context.extradata = None
        # The first holds for sizes that change inside, before there is memory for them. The second delays
        # frames as long as their order may take, which costs nothing: the end of a span is drained.
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS), "strict": "strict"}
        yield container, stream


def _open(data: bytes, kind: str, options: dict[str, str]) -> tuple[InputContainer, av.VideoStream]:
    try:
        container = av.open(
            BytesIO(data),
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

    A film goes before a single picture, then the default stream before others, then more pixels before fewer,
    then the first. Covers and thumbnails do not count, nor does what FFmpeg cannot decode.

    Raises:
        ValueError: If there is none, or no decoder.
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
    """Opens no file that a video refers to."""
    raise ValueError(f"refers to another file: {url}")


def check_length(seconds: float, num_frames: int) -> None:
    """Refuses videos that take too long to read.

    Raises:
        ValueError: If it exceeds ``MAX_SECONDS`` or ``MAX_FRAMES``.
    """
    if seconds > MAX_SECONDS:
        raise ValueError(f"too long: {seconds:.0f} s")
    if num_frames > MAX_FRAMES:
        raise ValueError(f"too many frames: {num_frames}")
