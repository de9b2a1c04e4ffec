"""Arguments of the commands that are not LightningCLI's."""

import argparse
from typing import NoReturn

from ..errors import UsageError


class CommandParser(argparse.ArgumentParser):
    """An argument parser that raises ``UsageError``, one line, where argparse prints the usage and exits."""

    def error(self, message: str) -> NoReturn:
        """Raises what argparse would print."""
        raise UsageError(f"{message} (see {self.prog} --help)")
