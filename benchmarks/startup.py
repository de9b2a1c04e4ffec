"""Times whole commands, each in a fresh process: the time spent before and after the stages compute."""

import argparse
import functools
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable

from lightning_mav.stage_table import LAST, video_stages
from lightning_mav.utils.errors import UsageError

from .report import Section, Table
from .timing import PROMPT, generate, take_turns, with_spread

TURNS = 5
NUM_PACKAGES = 10
COMMANDS = {
    "mav --help": ("-m", "lightning_mav", "--help"),
    "python -c 'import torch'": ("-c", "import torch"),
    "python -c 'import open_clip'": ("-c", "import open_clip"),
    "python -c 'import lightning_mav.cascade'": ("-c", "import lightning_mav.cascade"),
}
IMPORT_TIME = "import time:"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this bench."""
    parser.add_argument("--until", choices=video_stages(), default=LAST, help="last stage to run (sr_h)")


def run(args: argparse.Namespace) -> Section:
    """Times the commands in turn, splits one up by stage, then says what its imports cost."""
    splits: list[dict[str, float]] = []
    calls: dict[str, Callable[[], object]] = {
        name: functools.partial(python, *arguments) for name, arguments in COMMANDS.items()
    }
    calls["mav generate"] = lambda: splits.append(generate("--until", args.until)[0])
    times = take_turns(calls, args.turns, title="startup")
    splits = splits[-args.turns :]  # without the warm-up

    rows = [[name, with_spread(seconds)] for name, seconds in times.items()]
    parts = {stage: [split[stage] for split in splits] for stage in splits[0]}
    parts["all else: imports, loading, writing"] = [
        whole - sum(split.values()) for whole, split in zip(times["mav generate"], splits, strict=True)
    ]
    split_rows = [[name, with_spread(seconds)] for name, seconds in parts.items()]
    return Section(
        "startup",
        "Start-up",
        [
            "Whole commands, each in a fresh process, in seconds. `import torch` is the floor: no command "
            "that computes starts sooner.",
            f"`mav generate` makes one video with the micro weights, up to `{args.until}`. It embeds its "
            "prompt without open_clip, whose import is timed for comparison.",
        ],
        [
            Table(["command", "seconds"], rows, f"{args.turns} turns:"),
            Table(["part of `mav generate`", "seconds"], split_rows, "One of these, by stage:"),
            import_table(args.turns),
        ],
    )


def python(*arguments: str) -> str:
    """Runs Python; returns what it wrote to stderr.

    Raises:
        UsageError: If it fails.
    """
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise UsageError(f"python {' '.join(arguments)} failed: {(done.stderr.splitlines() or ['?'])[-1]}")
    return done.stderr


def import_table(turns: int) -> Table:
    """A row per package, medians over turns; the stages after the decoder import nothing more."""
    own: dict[str, list[float]] = defaultdict(list)
    cumulative: dict[str, list[float]] = defaultdict(list)
    for _ in range(turns):
        with tempfile.TemporaryDirectory() as out:
            command = ("generate", PROMPT, "--out", out, "--until", "decoder", "--steps", "1")
            log = python("-X", "importtime", "-m", "lightning_mav", *command)
        for package, (itself, whole) in import_times(log).items():
            own[package].append(itself)
            cumulative[package].append(whole)
    dearest = sorted(own, key=lambda package: -statistics.median(own[package]))[:NUM_PACKAGES]
    rows = [[package, with_spread(own[package]), with_spread(cumulative[package])] for package in dearest]
    caption = (
        f"The {NUM_PACKAGES} most expensive packages that it imports, by `python -X importtime`, without "
        "and with what they import in turn:"
    )
    return Table(["package", "own modules, seconds", "with their imports, seconds"], rows, caption)


def import_times(log: str) -> dict[str, tuple[float, float]]:
    """Seconds of each package outside the standard library, from what ``-X importtime`` wrote.

    Returns:
        By package: seconds of its own modules, and seconds with all that was imported for the first time
        on their behalf.
    """
    own: dict[str, float] = defaultdict(float)
    cumulative: dict[str, float] = defaultdict(float)
    importers: list[tuple[int, str]] = []
    # A module is logged after the modules it imports; read from the end, importers come first.
    for line in reversed([line for line in log.splitlines() if line.startswith(IMPORT_TIME)]):
        itself, whole, name = line.removeprefix(IMPORT_TIME).split("|")
        if not itself.strip().isdigit():
            continue  # the heading
        depth, package = len(name) - len(name.lstrip()), name.strip().partition(".")[0]
        while importers and importers[-1][0] >= depth:
            importers.pop()
        if package not in (importer for _, importer in importers):
            cumulative[package] += int(whole) / 1e6
        importers.append((depth, package))
        own[package] += int(itself) / 1e6
    return {
        package: (own[package], cumulative[package])
        for package in own
        if package.removeprefix("_") not in sys.stdlib_module_names and package not in sys.stdlib_module_names
    }
