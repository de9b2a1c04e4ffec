"""Arguments of the commands that are not LightningCLI's."""

import argparse
from typing import Any, NoReturn

from ..errors import UsageError


class CommandParser(argparse.ArgumentParser):
    """An argument parser that raises ``UsageError``, one line, where argparse prints the usage and exits."""

    def error(self, message: str) -> NoReturn:
        """Raises what argparse would print."""
        raise UsageError(f"{message} (see {self.prog} --help)")


def given(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Returns those of the arguments that were given, by name."""
    return {name: value for name in names if (value := getattr(args, name, None)) is not None}
