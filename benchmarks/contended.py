"""Times generating, training and testing beside other programs, and how waiting threads matter."""

import argparse
import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from lightning_mav.utils.errors import UsageError
from lightning_mav.utils.threads import BLOCKTIME, SPINS, THREADS, WAITING, num_cores

from .report import Section, Table
from .timing import PROMPT, progress_bar, with_spread

TURNS = 3
STEPS = 50
# A part of the suite that computes, so that a turn is short.
TESTS = [
    "tests/nn/test_unet.py",
    "tests/diffusion/test_diffusion.py",
    "tests/models/test_models.py",
    "tests/stages/test_stages.py",
]
ROOT = Path(__file__).parents[1]
MAV = [sys.executable, "-m", "lightning_mav"]
LOADS = ("idle", "one busy loop", "two busy loops")
# Ends when the bench ends, even if it is killed.
LOOP = """
import os
parent = os.getppid()
while os.getppid() == parent:
    for _ in range(10**6):
        pass
"""
# The defaults of the libraries when nothing is set.
BEFORE = {"GOMP_SPINCOUNT": "300000", "KMP_BLOCKTIME": "200"}
ARGUMENTS_BEFORE = {"train": ["--num_threads=null"]}  # threads on all cores


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this bench."""
    parser.add_argument("--tasks", choices=["generate", "train", "test"], nargs="+", help="default: all")
    parser.add_argument(
        "--spins", type=int, nargs="+", default=[], metavar="N", help="values of GOMP_SPINCOUNT to try, too"
    )
    parser.add_argument(
        "--limit", type=float, default=45, metavar="S", help="seconds after which a command is stopped (45)"
    )


def run(args: argparse.Namespace) -> Section:
    """Times all commands at each load, with each setting in turn."""
    settings = {"before": BEFORE, "now": {"GOMP_SPINCOUNT": SPINS, "KMP_BLOCKTIME": BLOCKTIME}}
    settings |= {f"GOMP_SPINCOUNT={number}": {"GOMP_SPINCOUNT": str(number)} for number in args.spins}
    with tempfile.TemporaryDirectory() as folder:
        tasks = commands(Path(folder))
        chosen = {name: command for name, command in tasks.items() if not args.tasks or name in args.tasks}
        for command in chosen.values():  # writes the data, and brings the files into memory
            seconds(command, {}, limit=600)
        times = measure(chosen, settings, args.turns, args.limit)
    return Section(
        "contended",
        "Beside other work",
        [
            f"Seconds of whole commands on {num_cores()} cores, alone and beside one or two programs that "
            f"count in an endless loop; {args.turns} turns. In brackets: how many times as long as the same "
            "setting takes alone. Before, OpenMP's threads waited for each other as long as its library does "
            f"by default; now they wait for {SPINS} turns of its loop (`GOMP_SPINCOUNT`), unless the user "
            "has set something else.",
            f"`generate` makes one video with the micro weights. `train` makes {STEPS} steps of the nano "
            "decoder, from the start of the program to its weights; before with a thread on each core, now "
            "with one (`num_threads`). `test` runs a part of the test suite in two processes "
            f"({', '.join(f'`{test}`' for test in TESTS)}); tests compute with one thread "
            f"each, before and now. A command is stopped after {args.limit:g} s, and counts as that long.",
        ],
        [table(times)],
    )


Times = dict[tuple[str, str, str], list[float]]  # seconds by task, setting and load


def measure(
    tasks: Mapping[str, list[str]], settings: Mapping[str, Mapping[str, str]], turns: int, limit: float
) -> Times:
    """Times each task with each setting at each load; the loads take turns too."""
    times: Times = {}
    with progress_bar() as progress:
        bar = progress.add_task("contended", total=turns * len(LOADS) * len(tasks) * len(settings))
        for _ in range(turns):
            for number, load in enumerate(LOADS):
                with busy_loops(number):
                    for task, command in tasks.items():
                        for setting, variables in settings.items():
                            progress.update(bar, description=f"{task}, {setting}, {load}")
                            more = ARGUMENTS_BEFORE.get(task, []) if setting == "before" else []
                            took = seconds([*command, *more], variables, limit)
                            times.setdefault((task, setting, load), []).append(took)
                            progress.advance(bar)
    return times


def commands(data: Path) -> dict[str, list[str]]:
    """The command of each task; ``data`` is where the micro-world to train on is, or will be."""
    train = ["train", "decoder", "--scale", "nano", f"--trainer.max_steps={STEPS}"]
    train += [f"--data.root={data}", "--model.clip=micro/clip", "--trainer.enable_progress_bar=false"]
    return {
        "generate": [*MAV, "generate", PROMPT, "--weights", "micro"],
        "train": [*MAV, *train],
        "test": [sys.executable, "-m", "pytest", "-q", "-n", "2", *(str(ROOT / test) for test in TESTS)],
    }


@contextlib.contextmanager
def busy_loops(number: int) -> Iterator[None]:
    """Keeps processors busy meanwhile, each loop in a process of its own."""
    loops = [subprocess.Popen([sys.executable, "-c", LOOP]) for _ in range(number)]
    try:
        time.sleep(0.5 * bool(loops))  # until they have started
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def seconds(command: list[str], variables: Mapping[str, str], limit: float) -> float:
    """Runs a command in a folder of its own; returns how long it took, or ``limit`` if it took longer.

    Raises:
        UsageError: If it fails.
    """
    # Without the variables that importing the package has set in this process.
    clean = {name: value for name, value in os.environ.items() if name not in (*WAITING, *THREADS)}
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as log:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, env=clean | variables, stdout=log, stderr=log, start_new_session=True
        )
        try:
            failed = process.wait(timeout=limit)
            took = time.perf_counter() - start
        except subprocess.TimeoutExpired:
            return limit
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its workers as well
            process.wait()
        if failed:
            log.seek(0)
            raise UsageError(f"{' '.join(command)} failed: {(log.read().splitlines() or ['?'])[-1]}")
    return took


def table(times: Times) -> Table:
    """A row for each task and setting."""
    rows = []
    for task, setting in dict.fromkeys((task, setting) for task, setting, _ in times):
        cells = [times[task, setting, load] for load in LOADS]
        alone = statistics.median(cells[0])
        shown = [
            f"{with_spread(cell, digits=1)}" + f" [{statistics.median(cell) / alone:.1f}x]" * (place > 0)
            for place, cell in enumerate(cells)
        ]
        first = statistics.median(times[task, "before", LOADS[0]])
        rows.append([task, setting, *shown, f"{alone / first:.2f}"])
    return Table(["task", "setting", *LOADS, "alone, of before"], rows)
