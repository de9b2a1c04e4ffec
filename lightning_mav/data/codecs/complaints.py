"""What FFmpeg's decoders complain of: some damage they only log, and mark on no frame."""

import logging
import re

import av
import av.logging

# Complaints that say nothing of the pixels.
HARMLESS = re.compile(
    "mmco: unref short failure"  # a frame to forget is not there: it was before a cut, or before a seek
    "|first frame is no keyframe"  # as after a cut; one must come
    "|SEI type"  # a remark beside the pictures is too short
    "|APP fields|EXIF"  # the same of a JPEG
    "|low_delay flag set incorrectly"  # a header denies B-pictures, and there are some
    "|ext header"  # an old encoder's padding
    "|AC EOB marker is absent"  # DV, as many recorders write it
)


def decode(codec: av.VideoCodecContext, packet: av.Packet | None) -> tuple[list[av.VideoFrame], str]:
    """Decodes a packet, and hears what the decoder complains of meanwhile.

    Args:
        codec: Decoder, which must not have threads of its own: what these complain of is not heard.
        packet: What to decode; None for the end.

    Returns:
        The frames, and the first error that the decoder logs; nothing if it logs none.

    Raises:
        FFmpegError: If FFmpeg refuses the packet.
    """
    _listen()
    # Captures hold for one thread. One that took longer than a call could end after the next one begins.
    with av.logging.Capture() as logs:
        frames = codec.decode(packet)
    errors = [message for level, _, message in logs if level <= av.logging.ERROR]
    errors = [message for message in errors if not HARMLESS.search(message)]
    return frames, " ".join(errors[0].split()) if errors else ""


def _listen() -> None:
    """Has FFmpeg report errors, for the whole process; those that nobody listens to are still not shown."""
    level = av.logging.get_level()
    if level is not None and level >= av.logging.ERROR:
        return
    logger = logging.getLogger("libav")  # where PyAV sends what nobody captures
    if logger.level == logging.WARNING:  # as PyAV sets it
        logger.setLevel(logging.CRITICAL if level is not None else logging.CRITICAL + 1)
    av.logging.set_skip_repeated(False)  # else a process hears of each kind of error but once in a row
    av.logging.set_level(av.logging.ERROR)
