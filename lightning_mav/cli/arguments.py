"""Arguments of the commands that are not LightningCLI's."""

import argparse
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ..utils.configured import IMPORT
from ..utils.errors import UsageError
from ..utils.numbers import MAX_COUNT, MAX_SEED, in_range
from ..utils.paths import expanded
from ..utils.textfile import decode_text, has_surrogates, is_blank, shortened


class CommandParser(argparse.ArgumentParser):
    """An argument parser that raises a one-line ``UsageError`` where argparse prints the usage and exits.

    In arguments of type ``Path``, ``~`` and variables are expanded, as by a shell. Help keeps the lines
    of its texts.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **kwargs)
        self.register("type", Path, _path)

    def error(self, message: str) -> NoReturn:
        """Raises the message that argparse would print."""
        raise UsageError(f"{message} (see {self.prog} --help)")


def _path(text: str) -> Path:
    if not text:  # an unset shell variable gives this; Path would take it for the current folder
        raise argparse.ArgumentTypeError("is empty: name a path, such as . for the current folder")
    return Path(expanded(text))


def number_in(kind: Callable[[str], Any], low: float, high: float = MAX_COUNT) -> Callable[[str], Any]:
    """Returns an argparse type: a finite ``kind`` from ``low`` to ``high``."""
    rule = f"from {low} to {high}" if high <= 1000 else f"of {low} or more, at most {high}"

    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not in_range(value, low, high):
            noun = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"must be {noun} {rule}, got {shortened(text) or 'nothing'}")
        return value

    return parse


seed = number_in(int, 0, MAX_SEED)


def colour(text: str) -> list[int]:
    """Parses a colour, such as ``white`` or ``#00ff80``, into three bytes."""
    from ..data.matte import parse_colour

    try:
        return [*parse_colour(text)]
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def prompt_of(argument: str, number: int) -> str:
    """Returns the prompt that an argument holds.

    Args:
        argument: The argument, as the interpreter decoded it.
        number: Its place among the prompts, from 1.

    Raises:
        UsageError: If it is blank, or is not UTF-8.
    """
    if has_surrogates(argument):  # bytes that the locale could not decode
        try:
            argument = decode_text(os.fsencode(argument))
        except UnicodeEncodeError:
            raise UsageError(f"prompt {number} is not UTF-8: it holds half a character") from None
        except ValueError as error:
            raise UsageError(f"prompt {number} is {error}; set the terminal to UTF-8") from None
    if is_blank(argument):
        raise UsageError(f'prompt {number} is empty; say what to show, such as "a red car"')
    return argument


class _Import(argparse.Action):
    """Names a module in the environment, where this process and those that it starts will find it."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        os.environ[IMPORT] = ",".join(filter(None, [os.environ.get(IMPORT), str(values)]))


def add_import(parser: argparse.ArgumentParser) -> None:
    """Adds ``--import``, for commands that load weights."""
    parser.add_argument(
        "--import",
        action=_Import,
        metavar="MODULE",
        help="module of your own, whose classes weights files may name; may be given several times",
    )


def given(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Returns those of the arguments that were given, by name."""
    return {name: value for name in names if (value := getattr(args, name, None)) is not None}


def add_evaluation(parser: argparse.ArgumentParser, weights: str | None = None) -> None:
    """Adds the options that all benches of ``mav evaluate`` have.

    ``weights`` are judged by default; None says in the help that those named as the bench are.
    """
    add = parser.add_argument
    text = f"scale, or folder of weights (default: {weights or 'BENCH'})"
    add("--weights", "--scale", default=weights, metavar="NAME_OR_DIR", help=text)
    add("--out", type=Path, metavar="DIR", help="folder (default: outputs/evaluate/BENCH)")
    add("--seed", type=seed, metavar="N", help="0 or more (default: the bench's)")
    steps = "denoising steps of every stage (default: each stage's own)"
    add("--steps", type=number_in(int, 1, 1000), metavar="N", help=steps)
    add("--config", type=Path, metavar="YAML", help="settings instead of the bench's own")
    add_import(parser)
