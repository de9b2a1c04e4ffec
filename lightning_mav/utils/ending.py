"""Ctrl-C, SIGTERM and SIGHUP end a command at once, with its clean-up."""

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from .errors import UsageError

Handler = Callable[[int, FrameType | None], None]
_received: list[int] = []  # signals of the block of ``ending_signals``


class TerminatedError(KeyboardInterrupt):
    """The process received SIGTERM or SIGHUP, whose number is the argument."""


@contextmanager
def handling(handler: Handler, signals: Iterable[int]) -> Iterator[None]:
    """Installs a handler for signals, except those that are ignored, as by nohup; only in the main thread."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        for signum in signals:
            if signal.getsignal(signum) is not signal.SIG_IGN:
                before[signum] = signal.signal(signum, handler)
    try:
        yield
    finally:
        for signum, old in before.items():
            signal.signal(signum, signal.SIG_DFL if old is None else old)


@contextmanager
def ending_signals() -> Iterator[None]:
    """Lets SIGTERM and SIGHUP end the block as Ctrl-C does, by an exception.

    Raises:
        KeyboardInterrupt: After a signal, a ``TerminatedError`` if it was not Ctrl-C.
    """
    _received.clear()
    try:
        with handling(_end, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)):
            yield
    except UsageError:
        raise
    except (Exception, SystemExit):
        check_ended()  # an import may have made another error of it, and Lightning exits with 1
        raise
    finally:
        _received.clear()


def check_ended() -> None:
    """Ends the command if it should have ended already: a destructor, for one, swallows all exceptions.

    Raises:
        KeyboardInterrupt: As ``ending_signals``.
    """
    if _received:
        _raise(_received[0])


def _end(signum: int, frame: FrameType | None) -> NoReturn:
    _received.append(signum)
    _raise(signum)


def _raise(signum: int) -> NoReturn:
    raise KeyboardInterrupt if signum == signal.SIGINT else TerminatedError(signum)
