"""Lossless video files, so that a feature network sees exactly the pixels that the cascade made.

A lossy codec removes noise and fine texture, to which distances between distributions are sensitive, and
makes generated videos resemble real ones that were once compressed. FFV1 (RFC 9043) in RGB restores every
byte, takes a quarter to a twelfth of the space, and its frames carry checksums. Browsers cannot play it: the
report uses separate copies.
"""

from collections.abc import Sequence
from fractions import Fraction
from io import BytesIO

import av
import torch
from torch import Tensor

from .decode import decode_video
from .encode import write_frames

SUFFIX = "mkv"


def encode_lossless(video: Tensor, fps: float, times: Sequence[int] | None = None) -> bytes:
    """Encodes bytes ``(3, F, H, W)`` as FFV1 in Matroska.

    Args:
        video: uint8, of any size.
        fps: Frames per second.
        times: When each frame is shown, in milliseconds; even steps of ``1 / fps`` if None.
    """
    if video.dtype != torch.uint8 or video.ndim != 4 or video.shape[0] != 3:
        raise ValueError(f"a video must be bytes (3, F, H, W), got {video.dtype} {tuple(video.shape)}")
    output, rate = BytesIO(), Fraction(fps).limit_denominator(1001)
    # Without bitexact, Matroska puts a random number into each file.
    with av.open(output, "w", format="matroska", options={"fflags": "bitexact"}) as container:
        stream = container.add_stream("ffv1", rate=rate, options={"level": "3"})
        stream.height, stream.width, stream.pix_fmt = video.shape[2], video.shape[3], "bgr0"
        write_frames(container, stream, video.permute(1, 2, 3, 0), rate, times)
    return output.getvalue()


def decode_lossless(data: bytes) -> Tensor:
    """Returns the bytes ``(3, F, H, W)`` that were encoded.

    Raises:
        ValueError: If the file is damaged.
    """
    frames, _ = decode_video(data, SUFFIX, None)
    return frames.movedim(0, 1)
