class UsageError(Exception):
    """A mistake of the user's: one line that names the thing, the place and the remedy.

    The command line prints it without a traceback and exits with code 2.
    """
