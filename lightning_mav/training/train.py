"""Trains one stage, or all of them in order, from the installed configuration layers."""

import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from ..stage_table import stages
from ..utils.console import print_table
from ..utils.errors import UsageError
from .runs import Run, all_runs, config_layers, scale_name
from .signals import Stopped, handled, say


def train(
    run: Run,
    scale: str,
    *,
    fresh: bool = False,
    overrides: list[str] | None = None,
    outputs: Path | None = None,
) -> Path:
    """Trains one run in ``outputs/SCALE/NAME`` and writes its weights.

    Args:
        run: Stage and phase.
        scale: Scale, which names a folder of configuration layers.
        fresh: Whether to start over.
        overrides: Arguments for LightningCLI, which win over the layers.
        outputs: Folder instead of ``outputs/SCALE``.

    Returns:
        The file of the weights.

    Raises:
        UsageError: If something in the configuration is wrong, or does not go with an unfinished run.
    """
    layers = config_layers(run, scale)
    stages()[run.stage].model_class()  # before hours of training, whose weights nothing could load
    from .trainer import AlreadyFinished, TrainCLI, are_started_side_by_side

    outputs = outputs or Path("outputs", scale_name(scale))
    folder = outputs / run.name
    weights = outputs / "weights" / f"{run.name}.safetensors"
    if fresh and are_started_side_by_side():
        raise UsageError(
            f"--fresh moves {folder} aside, which processes started side by side may still be reading: "
            "move it away yourself, and leave --fresh out"
        )
    arguments = ["fit", *(f"--config={layer}" for layer in layers)]
    arguments += [f"--trainer.default_root_dir={folder}", f"--trainer.logger.init_args.save_dir={folder}"]
    arguments += [f"--checkpoint.dirpath={folder / 'checkpoints'}"]  # whichever logger is used
    try:
        TrainCLI([*arguments, *(overrides or [])], run=run, weights=weights, fresh=fresh)
    except AlreadyFinished as message:
        print(message)
    return weights


def train_all(scale: str, arguments: list[str]) -> None:
    """Trains every run in order, each in a process of its own, and prints how long each took.

    Args:
        scale: Scale of all of them.
        arguments: Further arguments for each ``mav train``.

    Raises:
        UsageError: If one fails; runs that are done by then are kept.
        Stopped: If a signal has stopped one.
    """
    runs = all_runs(scale)
    for run in runs:
        config_layers(run, scale)
    minutes: dict[str, float] = {}
    for number, run in enumerate(runs, 1):
        print(f"run {number} of {len(runs)}: {run.name}", flush=True)
        start = time.monotonic()
        command = [sys.executable, "-m", "lightning_mav", "train", run.stage, "--phase", run.phase]
        status = _run([*command, "--scale", scale, *arguments])
        minutes[run.name] = (time.monotonic() - start) / 60
        if status > 128:
            _print_minutes(minutes, **{run.name: "stopped"})
            say(f"{run.name} was stopped (exit code {status}); 'mav train all' goes on from here")
            raise Stopped(status - 128)
        if status:
            _print_minutes(minutes, **{run.name: "failed"})
            raise UsageError(
                f"{run.name} failed with exit code {status}, see above; 'mav train all' goes on from here"
            )
    _print_minutes(minutes)


def _run(command: list[str]) -> int:
    """Runs a command, passes on signals that stop it, and returns its exit status as a shell would."""
    children: list[subprocess.Popen] = []
    received: list[int] = []

    def hand_on(signum: int, _: object) -> None:
        received.append(signum)
        for child in children:
            child.send_signal(signum)

    with handled(hand_on):
        children.append(subprocess.Popen(command))
        if received:  # a signal came before the child had started
            children[0].send_signal(received[0])
        status = None
        while status is None:
            with suppress(subprocess.TimeoutExpired):  # a signal just before a longer wait would not end it
                status = children[0].wait(timeout=1)
    if status < 0:
        status = 128 - status
    return Stopped(received[0]).status if received and not status else status


def _print_minutes(minutes: dict[str, float], **ends: str) -> None:
    rows = [[name, f"{value:.1f}", ends.get(name, "done")] for name, value in minutes.items()]
    print_table(["run", "minutes", ""], [*rows, ["all", f"{sum(minutes.values()):.1f}", ""]], "training")
