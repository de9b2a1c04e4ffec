"""How long the decoding of one video may take."""

import time


class Clock:
    """Bounds the work on a video.

    What counts is the time that this thread computes, not that on the wall: which samples are of use must not
    depend on what else the machine does, or an interrupted run would end otherwise.

    Args:
        max_seconds: Seconds of work.
    """

    def __init__(self, max_seconds: float) -> None:
        self.max_seconds = max_seconds
        self.start = time.thread_time()

    def check(self) -> None:
        """Raises ``ValueError`` if the time is up."""
        if time.thread_time() - self.start > self.max_seconds:
            raise ValueError(f"too slow: decoding takes more than {self.max_seconds:g} s")
