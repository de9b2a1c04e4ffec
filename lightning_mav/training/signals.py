"""Signals that stop a training, and the exit status that tells which signal it was."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from types import FrameType

from ..utils.ending import Handler, handling
from ..utils.errors import UsageError

PREEMPTING = (signal.SIGTERM, signal.SIGUSR1)  # what clusters send before they take the machine away
STOPPING = (signal.SIGINT, signal.SIGHUP, *PREEMPTING)
PARENT_SECONDS = 10.0  # how long a process waits for its parent to fail as well
SAME_SECONDS = 1.0  # a signal within this time of the first counts as its echo


class Stopped(SystemExit):
    """A signal has ended the command. The exit status is 128 plus its number, as in a shell.

    It is 143 for both ``PREEMPTING`` signals, so that launch files have one status to look for.

    Args:
        signum: The signal.
    """

    def __init__(self, signum: int) -> None:
        self.signum = signum
        self.status = 128 + (signal.SIGTERM if signum in PREEMPTING else signum)
        super().__init__(self.status)


class Echoes:
    """Tells a second signal from an echo of the first.

    One signal often arrives twice at once: sent to the whole process group, and passed on by the parent.
    """

    def __init__(self) -> None:
        self.first: float | None = None

    def is_echo(self) -> bool:
        """Notes that a signal has arrived, and returns whether it is an echo."""
        now = time.monotonic()
        if self.first is None:
            self.first = now
            return False
        return now - self.first <= SAME_SECONDS


def say(line: str) -> None:
    """Writes a line to stderr; unlike ``print``, this is safe in a signal handler."""
    with suppress(OSError):  # stderr may be a terminal that is gone, or a file on a disk that is full
        os.write(2, f"mav: {line}\n".encode())


def handled(handler: Handler) -> AbstractContextManager[None]:
    """Installs a handler for the signals that stop a training, except those that are ignored (``nohup``)."""
    return handling(handler, STOPPING)


@contextmanager
def training_process() -> Iterator[None]:
    """Wraps a command that trains: a signal ends it cleanly, and only one of several processes prints.

    With ``ddp`` the first process starts the others. Lightning kills all of them when one exits with an
    error. If all processes fail for the same reason, the first prints the error and the others exit silently.
    """
    parent = os.getppid()
    try:
        with handled(_stop_at_once(parent, Echoes())):
            yield
    except (UsageError, Stopped):
        if _is_started_by_lightning():
            end = time.monotonic() + PARENT_SECONDS
            while time.monotonic() < end:
                if os.getppid() != parent:
                    raise SystemExit(0) from None
                time.sleep(0.1)
        raise


def _stop_at_once(parent: int, echoes: Echoes) -> Handler:
    """Returns the handler for the time before the first step, when there is nothing to save."""

    def stop(signum: int, frame: FrameType | None) -> None:
        if echoes.is_echo():
            return
        if not _is_started_by_lightning():
            name = signal.Signals(signum).name
            say(f"stopped by {name}; the same command goes on from the newest checkpoint")
        elif os.getppid() == parent:
            os.kill(parent, signum)  # otherwise the parent would wait for this process
        sys.stderr.flush()
        raise Stopped(signum)

    return stop


def _is_started_by_lightning() -> bool:
    launchers = ("TORCHELASTIC_RUN_ID", "SLURM_NTASKS")
    return os.environ.get("LOCAL_RANK", "0") != "0" and not any(name in os.environ for name in launchers)
