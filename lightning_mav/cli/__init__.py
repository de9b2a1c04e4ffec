"""The command ``mav``: one module for each command, imported when it is called, so that help is fast."""

import errno
import importlib
import os
import signal
import sys
from contextlib import nullcontext
from importlib import metadata
from typing import NoReturn

from ..utils.console import drop_output, open_streams
from ..utils.ending import TerminatedError, ending_signals
from ..utils.errors import UsageError
from ..utils.memory import keep_freed_memory
from ..utils.textfile import printable

COMMANDS = {
    "generate": "turn prompts into videos",
    "blend": "show what lies between two sentences",
    "animate": "make an image move",
    "morph": "lead from one image to another",
    "vary": "make a similar video",
    "extend": "go on with a video",
    "loop": "close a video to a loop",
    "interpolate": "make a video smoother",
    "upscale": "make a video larger",
    "serve": "make videos in a browser",
    "train": "train a stage, or all of them in order",
    "plan": "tell what a training will need, before it starts",
    "evaluate": "measure what the weights can do",
    "compare": "put two evaluations side by side",
    "study": "let people choose between the videos of two systems",
    "ablations": "test the paper's claims, one variant against another",
    "world": "write a world's shards",
    "data": "pack, check, index and show shards",
    "weights": "list, check and find weights and feature networks",
    "fit": "train as LightningCLI does, from any --config files",
    "validate": "compute the validation loss of a checkpoint",
}
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)  # writing fails without a path
LIGHTNING_COMMANDS = ("fit", "validate")
APPLICATIONS = ("animate", "morph", "vary", "extend", "loop", "interpolate")
TRAINING = ("fit", "train")  # only the files that they write matter, not what they print


def main(argv: list[str] | None = None) -> None:
    """Runs one command; a user's mistake is reported in one line on stderr, with exit code 2.

    Ctrl-C, SIGTERM and SIGHUP end it with 130, 143 and 129, as a shell expects. Nothing unfinished stays
    behind.

    Args:
        argv: The command and its arguments; by default those the program was started with.
    """
    if argv is None and sys.getfilesystemencoding() == "ascii":
        _restart_in_utf8()
    open_streams()
    try:
        run(sys.argv[1:] if argv is None else argv)
        if sys.stdout is not None:
            sys.stdout.flush()  # here, where a full disk can still be reported
    except UsageError as error:
        raise _exit(str(error)) from None
    except TerminatedError as error:
        print("mav: terminated", file=sys.stderr)
        raise SystemExit(128 + error.args[0]) from None
    except KeyboardInterrupt:
        print("mav: interrupted", file=sys.stderr)
        raise SystemExit(128 + signal.SIGINT) from None
    except BrokenPipeError:  # the reader of our output has closed it, as `mav --help | head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except OSError as error:
        if (reason := _outside(error)) is None:
            raise
        raise _exit(reason) from None


def _restart_in_utf8() -> NoReturn:
    """Starts the program again in Python's UTF-8 mode: ASCII cannot hold all paths and prompts.

    Python does so itself where the locale is C, unless ``PYTHONUTF8=0`` forbids it.
    """
    os.environ["PYTHONUTF8"] = "1"  # for the processes that this one will start
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def _exit(message: str) -> SystemExit:
    """Prints one line and returns the exception that ends the program."""
    print(f"mav: error: {printable(message)}", file=sys.stderr, flush=True)
    return SystemExit(2)


def _outside(error: OSError) -> str | None:
    """Describes in one line what the system refused; None if the error may be a bug of the program."""
    if error.filename is not None and error.strerror:
        return f"{os.fsdecode(error.filename)}: {error.strerror}; choose another path, or correct that one"
    if error.errno in FULL:
        return f"{error.strerror}; make room, or choose another folder"
    return None


def run(argv: list[str]) -> None:
    """Dispatches to ``lightning_mav.cli``; raises what the command raises."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())
    elif argv[0] in ("-V", "--version"):
        print(f"mav {metadata.version('lightning-mav')}")
    elif argv[0] in COMMANDS:
        if argv[0] in TRAINING:
            drop_output()
        keep_freed_memory()
        with nullcontext() if argv[0] in TRAINING else ending_signals():  # training has handlers of its own
            if argv[0] in LIGHTNING_COMMANDS:
                importlib.import_module("lightning_mav.cli.fit").main(argv)
            elif argv[0] in APPLICATIONS:
                importlib.import_module("lightning_mav.cli.applications").main(argv)
            else:
                importlib.import_module(f"lightning_mav.cli.{argv[0]}").main(argv[1:])
    else:
        raise UsageError(f"no command {argv[0]!r}; commands are {', '.join(COMMANDS)} (see mav --help)")


def usage() -> str:
    """The text of ``mav --help``."""
    commands = "\n".join(f"  {name:<12}{text}" for name, text in COMMANDS.items())
    return (
        "usage: mav COMMAND [ARGUMENTS]   (mav COMMAND --help says more)\n\n"
        "Make-A-Video, whole: text to video learnt without one text-video pair.\n\n"
        f"commands:\n{commands}\n\n"
        'example: mav generate "a red car" --out outputs/demo'
    )
