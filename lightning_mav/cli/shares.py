"""Divides the prompts of ``mav generate`` among processes, one for each device."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import IO

from ..utils.errors import UsageError
from ..utils.threads import share_threads

ERROR = "mav: error: "


def share_of(prompts: Sequence[str], names: Sequence[str], share: tuple[int, int]) -> list[str]:
    """Returns the prompts of one process.

    Prompts whose files would have the same name stay together, in order, so that they are numbered as one
    process would number them.

    Args:
        prompts: All prompts.
        names: What the names of their files begin with.
        share: Number of the process, from 0, and how many there are.
    """
    place = {name: i for i, name in enumerate(dict.fromkeys(names))}
    number, count = share
    return [prompt for prompt, name in zip(prompts, names, strict=True) if place[name] % count == number]


def run_shares(argv: Sequence[str], count: int, device: str | None) -> None:
    """Runs ``mav generate`` in several processes, each with its share of the prompts; waits for all of them.

    The processes print their results themselves. If one fails, the others finish their shares first.

    Args:
        argv: Arguments of the command.
        count: How many processes.
        device: Device that the user has named, if any.

    Raises:
        UsageError: If there are too few devices, or a process fails; the first error is told.
    """
    _check_devices(count, device)
    share_threads(count)
    command = [sys.executable, "-m", "lightning_mav", "generate"]
    processes = [
        subprocess.Popen(
            [*command, f"--share={i}/{count}", *argv],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            process_group=0,  # a terminal's Ctrl-C reaches this process alone, which ends the others
        )
        for i in range(count)
    ]
    try:
        errors = _relay(processes)
        codes = [process.wait() for process in processes]
    except KeyboardInterrupt:
        _end(processes)
        raise
    if errors:
        raise UsageError(errors[0])
    for i, code in enumerate(codes, 1):
        if code < 0:
            raise UsageError(
                f"process {i} of {count} was ended by {signal.Signals(-code).name}, as when memory runs out; "
                "take fewer --devices, and --skip-existing to go on"
            )
        if code:
            raise SystemExit(code)


def _check_devices(count: int, device: str | None) -> None:
    if device not in (None, "cpu", "cuda"):
        raise UsageError(f"--devices {count}: --device {device} is one device; leave one of the two out")
    if device != "cpu":
        import torch

        found = torch.cuda.device_count()
        if found < count and (found or device):
            raise UsageError(f"--devices {count}: there are {found} GPUs; take fewer, or --device cpu")


def _relay(processes: Sequence[subprocess.Popen[bytes]]) -> list[str]:
    """Copies what the processes say on stderr, line by line; returns their errors instead."""
    from concurrent.futures import ThreadPoolExecutor

    errors: list[str] = []

    def copy(stream: IO[bytes]) -> None:
        for data in stream:
            line = data.decode("utf-8", "backslashreplace").rstrip("\n")
            if line.startswith(ERROR):
                errors.append(line.removeprefix(ERROR))
            elif line != "mav: terminated":
                print(line, file=sys.stderr)

    with ThreadPoolExecutor(len(processes)) as pool:
        for process in processes:
            assert process.stderr is not None
            pool.submit(copy, process.stderr)
    return errors


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ends the processes: at once if the user tells us a second time."""
    try:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()
    except KeyboardInterrupt:
        for process in processes:
            process.kill()
        raise
