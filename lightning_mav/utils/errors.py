"""A user's mistake, and errors said in one line."""

from collections.abc import Iterator
from contextlib import contextmanager


class UsageError(Exception):
    """A user's mistake: one line that names the thing, the place and the remedy.

    The command line prints it without a traceback and exits with code 2.
    """


class BadValueError(ValueError):
    """A user's value is refused by the library; the message names it and says what is allowed."""


def reason_of(error: Exception) -> str:
    """Returns why a sample is refused, as a text to count by: the message up to its first colon."""
    text = str(error).partition(":")[0] if isinstance(error, ValueError) else ""
    return text or type(error).__name__


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message, or its type if there is no message."""
    if isinstance(error, KeyError):  # whose message is the key alone
        return f"{error} is missing"
    return (str(error).splitlines() or [""])[0] or type(error).__name__


@contextmanager
def refusals(place: object) -> Iterator[None]:
    """Reports a value that the library refuses as a user's mistake.

    Args:
        place: The command, for the message.

    Raises:
        UsageError: Instead of a ``BadValueError``.
    """
    try:
        yield
    except BadValueError as error:
        raise UsageError(f"{place}: {first_line(error)}; choose another value") from error


@contextmanager
def writing(place: object, remedy: str, *others: type[Exception]) -> Iterator[None]:
    """Says in one line what cannot be written.

    Args:
        place: What the block writes.
        remedy: What to do if it cannot.
        others: Errors that mean the same as an ``OSError``.

    Raises:
        UsageError: Instead of an ``OSError``, or one of ``others``.
    """
    try:
        yield
    except (OSError, *others) as error:  # type: ignore[misc]
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{place}: cannot be written ({reason}); {remedy}") from error
