"""``mav fit`` and ``mav validate``: LightningCLI, from any ``--config`` files."""

from ..training.fit import MavCLI
from ..training.signals import training_process
from ..utils.console import plain_warnings
from .arguments import CommandParser, add_import


def main(argv: list[str]) -> None:
    """Runs a LightningCLI subcommand; ``argv`` begins with its name."""
    parser = CommandParser(add_help=False, allow_abbrev=False)
    add_import(parser)
    arguments = parser.parse_known_args(argv)[1]
    with training_process(), plain_warnings():
        MavCLI(arguments)
