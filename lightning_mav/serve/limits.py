"""The limits of what clients may ask for, and how they are refused."""

from dataclasses import dataclass


class RefusedError(Exception):
    """A request of a client is not allowed; the message tells the user what is allowed."""


@dataclass(frozen=True)
class Limits:
    """The largest values that are allowed.

    Args:
        prompt: Characters of a prompt.
        upload_bytes: Bytes of a file.
        upload_pixels: Pixels of an image, or of a frame.
        decoded_pixels: Pixels of all frames of an uploaded video together; each takes three bytes.
        upload_frames: Frames of an uploaded video.
        upload_seconds: Seconds of an uploaded video.
        aspect: How many times the longer side of a video may be as long as the shorter one.
        frames: Frames of the result.
        kept_bytes: Bytes of all files that clients have sent; each is removed after about an hour.
    """

    prompt: int = 300
    upload_bytes: int = 20 * 2**20
    upload_pixels: int = 16_000_000
    decoded_pixels: int = 150_000_000
    upload_frames: int = 240
    upload_seconds: float = 20.0
    aspect: float = 2.5
    frames: int = 240
    kept_bytes: int = 2 * 2**30

    def text(self) -> str:
        """Returns the limits as a sentence."""
        return (
            f"Limits: {self.prompt} characters for a prompt, {self.upload_bytes // 2**20} MB for a file, "
            f"{self.upload_pixels / 1e6:g} million pixels for an image, {self.upload_seconds:g} seconds and "
            f"{self.upload_frames} frames for a video, and {self.frames} frames for a result."
        )
