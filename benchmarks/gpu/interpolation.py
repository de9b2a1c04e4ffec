"""Trains the interpolation within a given time, in both forms, several seeds side by side.

``python -m benchmarks.gpu.interpolation --seconds 420`` trains the form that starts from a blend of the
neighbours and the paper's form, at the micro scale, on all masks. Other options are passed on to ``mav
train``; ``--model.between_prob=1`` leaves out masks before, after and between two ends. Weights are left in
``outputs/gpu_interpolation/FORM_SEED/weights``, logs beside them and numbers of steps in ``figures.json``.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

from benchmarks.gpu.timed import deadline_in, device_facts, last_step, until
from lightning_mav.training.runs import config_folder

OUT = Path("outputs/gpu_interpolation")
ABLATION = "ablations/interpolation.yaml"  # says what the paper's form is


def main() -> None:
    """Starts all trainings and waits for them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, required=True, help="time for all, start and end included")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--clips", type=int, default=32, help="clips a step")
    args, others = parser.parse_known_args()  # the others are passed on to ``mav train``
    deadline = deadline_in(args.seconds)
    started = {}
    for name, form in {"blend": [], "paper": paper_form()}.items():
        for seed in args.seeds:
            settings = [f"--seed_everything={seed}", f"--data.batch_size={args.clips}", *form, *others]
            started[f"{name}_{seed}"] = start(OUT / f"{name}_{seed}", settings, deadline)
    failed = [name for name, process in started.items() if process.wait()]
    figures = {
        "clips": args.clips,
        "steps": {name: last_step(OUT / name / "interpolation") for name in started if name not in failed},
        **device_facts(),
    }
    text = json.dumps(figures, indent=1)
    (OUT / "figures.json").write_text(text + "\n", encoding="utf-8")
    print(text)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}; see {OUT}/{failed[0]}/log.txt")


def paper_form() -> list[str]:
    """Returns the options that make the interpolation the paper's; they say nothing of masks."""
    ablation = yaml.safe_load((config_folder() / ABLATION).read_text(encoding="utf-8"))
    overrides = ablation["variants"]["skip_2"]["runs"][0]["overrides"]
    return [option for option in overrides if "between_prob" not in option]


def start(folder: Path, settings: list[str], deadline: float) -> subprocess.Popen[bytes]:
    """Starts a training in a process of its own, with a log."""
    folder.mkdir(parents=True, exist_ok=True)
    options = [
        *until(deadline),
        "--trainer.enable_progress_bar=false",
        "--trainer.val_check_interval=100000",
        "--checkpoint.every_n_train_steps=1000",
    ]
    code = (
        "import sys; from pathlib import Path; from lightning_mav.training.runs import find_run; "
        "from lightning_mav.training.train import train; "
        "train(find_run('interpolation', None), 'micro', overrides=sys.argv[2:], outputs=Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", code, str(folder), *settings, *options]
    with (folder / "log.txt").open("wb") as file:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)


if __name__ == "__main__":
    main()
