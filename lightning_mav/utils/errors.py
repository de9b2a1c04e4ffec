class UsageError(Exception):
    """A user's mistake: one line that names the thing, the place and the remedy.

    The command line prints it without a traceback and exits with code 2.
    """


def reason_of(error: Exception) -> str:
    """Returns why a sample is refused, as a text to count by: the message up to its first colon."""
    text = str(error).partition(":")[0] if isinstance(error, ValueError) else ""
    return text or type(error).__name__


def first_line(error: Exception) -> str:
    """Returns the first line of an error's message, or its type if there is no message."""
    return (str(error).splitlines() or [""])[0] or type(error).__name__
