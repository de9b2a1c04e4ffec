"""What trainings share that must end within a time: options of ``mav train``, and figures of the result."""

import time
from pathlib import Path
from typing import Any

import torch

BUDGET = "lightning_mav.training.budget.TimeBudget"
STARTING = 25  # seconds that a training takes to start
WRITING = 20  # seconds that are left for the last checkpoint and the weights


def deadline_in(seconds: float) -> float:
    """Returns the monotonic time at which a training must stop, to have written all after ``seconds``."""
    return time.monotonic() + seconds - WRITING


def until(deadline: float) -> list[str]:
    """Returns options for a training that is started now and stops at the ``deadline``, not at a step."""
    seconds = max(5.0, deadline - time.monotonic() - STARTING)
    return [
        f"--trainer.callbacks+={BUDGET}",
        f"--trainer.callbacks.seconds={seconds:.0f}",
        "--trainer.max_steps=100000",
    ]


def last_step(run: Path) -> int:
    """Returns the step of the newest checkpoint in the folder of a run."""
    return max(int(path.stem.partition("=")[2]) for path in (run / "checkpoints").glob("step=*.ckpt"))


def device_facts() -> dict[str, Any]:
    """Returns the device and the version of torch."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {"device": device, "torch": torch.__version__}
