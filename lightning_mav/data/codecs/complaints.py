"""Collects the errors that FFmpeg's decoders log: they do not mark every damaged frame as corrupt."""

import logging
import re

import av
import av.logging

# Logged errors that do not affect the pixels.
HARMLESS = re.compile(
    "mmco: unref short failure"  # a frame to drop is missing: it came before a cut, or before a seek
    "|first frame is no keyframe"  # as after a cut; a key frame must follow
    "|SEI type"  # supplemental information beside the pictures is too short
    "|APP fields|EXIF"  # the same of a JPEG
    "|low_delay flag set incorrectly"  # a header says that there are no B-pictures, but there are
    "|ext header"  # an old encoder's padding
    "|AC EOB marker is absent"  # DV, as many recorders write it
)


def decode(codec: av.VideoCodecContext, packet: av.Packet | None) -> tuple[list[av.VideoFrame], str]:
    """Decodes a packet, and captures the errors that the decoder logs meanwhile.

    Args:
        codec: Decoder, which must not have threads of its own: their errors are not captured.
        packet: What to decode; None for the end.

    Returns:
        The frames, and the first error that the decoder logs; an empty string if it logs none.

    Raises:
        FFmpegError: If FFmpeg refuses the packet.
    """
    _listen()
    # A capture holds for one thread. One kept open between calls could end after the next one has begun.
    with av.logging.Capture() as logs:
        frames = codec.decode(packet)
    errors = [message for level, _, message in logs if level <= av.logging.ERROR]
    errors = [message for message in errors if not HARMLESS.search(message)]
    return frames, " ".join(errors[0].split()) if errors else ""


def _listen() -> None:
    """Makes FFmpeg log errors, in the whole process; errors outside a capture are still not printed."""
    level = av.logging.get_level()
    if level is not None and level >= av.logging.ERROR:
        return
    logger = logging.getLogger("libav")  # where PyAV sends what nobody captures
    if logger.level == logging.WARNING:  # as PyAV sets it
        logger.setLevel(logging.CRITICAL if level is not None else logging.CRITICAL + 1)
    av.logging.set_skip_repeated(False)  # else FFmpeg logs equal errors in a row only once
    av.logging.set_level(av.logging.ERROR)
