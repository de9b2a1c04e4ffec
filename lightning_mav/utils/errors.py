class UsageError(Exception):
    """A mistake of the user's: one line that names the thing, the place and the remedy.

    The command line prints it without a traceback and exits with code 2.
    """


def reason_of(error: Exception) -> str:
    """Names what is wrong with a sample in words that can be counted: what is said before the first colon."""
    text = str(error).partition(":")[0] if isinstance(error, ValueError) else ""
    return text or type(error).__name__


def first_line(error: Exception) -> str:
    """Returns the first line of what an error says, or its kind if it says nothing."""
    return (str(error).splitlines() or [""])[0] or type(error).__name__
