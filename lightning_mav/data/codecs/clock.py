"""How long the decoding of one video may take."""

import time


class Clock:
    """Limits the computing time spent on one video.

    It measures the CPU time of this thread, not wall time: which samples are used must not depend on the load
    of the machine, or else a resumed run would give another result.

    Args:
        max_seconds: Limit in seconds of CPU time.
    """

    def __init__(self, max_seconds: float) -> None:
        self.max_seconds = max_seconds
        self.start = time.thread_time()

    def check(self) -> None:
        """Raises ``ValueError`` if the time is up."""
        if time.thread_time() - self.start > self.max_seconds:
            raise ValueError(f"too slow: decoding takes more than {self.max_seconds:g} s")
