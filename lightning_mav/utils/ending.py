"""Ctrl-C, SIGTERM and SIGHUP end a command at once, with its clean-up."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from .errors import UsageError

_received: list[int] = []  # signals of the block of ``ending_signals``


class TerminatedError(KeyboardInterrupt):
    """The process received SIGTERM or SIGHUP, whose number is the argument."""


@contextmanager
def ending_signals() -> Iterator[None]:
    """Lets SIGTERM and SIGHUP end the block as Ctrl-C does, by an exception.

    A signal that is ignored, as by nohup, stays ignored, and another handler stays.

    Raises:
        KeyboardInterrupt: After a signal, a ``TerminatedError`` if it was not Ctrl-C.
    """
    in_main = threading.current_thread() is threading.main_thread()
    usual = {signal.SIGINT: signal.default_int_handler} | dict.fromkeys(
        (signal.SIGTERM, signal.SIGHUP), signal.SIG_DFL
    )
    former = {
        each: handler for each, handler in usual.items() if in_main and signal.getsignal(each) is handler
    }
    _received.clear()
    for each in former:
        signal.signal(each, _end)
    try:
        yield
    except UsageError:
        raise
    except Exception:
        check_ended()  # what was interrupted, such as an import, may have made another error of it
        raise
    finally:
        for each, handler in former.items():
            signal.signal(each, handler)
        _received.clear()


def check_ended() -> None:
    """Ends the command if it should have ended already: a destructor, for one, swallows all exceptions.

    Raises:
        KeyboardInterrupt: As ``ending_signals``.
    """
    if _received:
        _raise(_received[0])


def _end(signum: int, frame: Any) -> NoReturn:
    _received.append(signum)
    _raise(signum)


def _raise(signum: int) -> NoReturn:
    raise KeyboardInterrupt if signum == signal.SIGINT else TerminatedError(signum)
