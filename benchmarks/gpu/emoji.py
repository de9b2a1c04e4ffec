"""Trains the emoji decoder within a given time.

First ``python -m benchmarks.gpu.emoji image --seconds 180``, then ``... video --seconds 420``. Both may be
started at once: the second waits for the first, and with ``--compile`` compiles meanwhile. Other options are
passed on to ``mav train``.

Needs the emoji world in ``data/emoji`` and its CLIP in ``outputs/emoji/weights``. Figures are left in
``outputs/emoji/gpu_image.json`` and ``gpu_video.json``, logs beside them.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import torch

from benchmarks.gpu.timed import deadline_in, device_facts, last_step, until

DATA, RUNS = Path("data/emoji"), Path("outputs/emoji")


def main() -> None:
    """Checks what is needed, then trains a phase."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("phase", choices=["image", "video"])
    parser.add_argument("--seconds", type=float, required=True, help="time for all, start and end included")
    parser.add_argument("--images", type=int, default=256, help="images a step of the image phase")
    parser.add_argument("--clips", type=int, default=48, help="clips a step of the video phase, and images")
    parser.add_argument("--workers", type=int, default=6, help="reading processes for each kind of data")
    parser.add_argument("--compile", action="store_true", help="compile the network: minutes at the start")
    args, others = parser.parse_known_args()  # the others are passed on to ``mav train``
    deadline = deadline_in(args.seconds)
    for path in (DATA / f"{args.phase}s", RUNS / "weights" / "clip.safetensors"):
        if not path.exists():
            sys.exit(f"there is no {path}: write the world and train its CLIP first")
    options = [f"--compile={str(args.compile and torch.cuda.is_available()).lower()}"]
    sizes = {"batch_size": args.images, "num_workers": args.workers}
    if args.phase == "video":
        sizes["batch_size"] = args.clips
        options += [f"--data.init_args.video.init_args.{key}={value}" for key, value in sizes.items()]
        options += [f"--data.init_args.image.init_args.{key}={value}" for key, value in sizes.items()]
        if not any("init_from" in option for option in others):
            wait_for(RUNS / "weights" / "decoder_image.safetensors", options, deadline)
    else:
        options += [f"--data.init_args.{key}={value}" for key, value in sizes.items()]
    began = time.monotonic()
    log = RUNS / f"gpu_{args.phase}.log"
    code = start(args.phase, [*options, *until(deadline), *others], log).wait()
    if code:
        print(log.read_text(encoding="utf-8", errors="replace")[-3000:])
        sys.exit(f"the {args.phase} phase failed with code {code}")
    figures = {
        **vars(args),
        "steps": last_step(RUNS / ("decoder" if args.phase == "video" else "decoder_image")),
        "training_seconds": round(time.monotonic() - began),
        **device_facts(),
    }
    text = json.dumps(figures, indent=1)
    (RUNS / f"gpu_{args.phase}.json").write_text(text + "\n", encoding="utf-8")
    print(text)


def wait_for(weights: Path, options: list[str], deadline: float) -> None:
    """Waits for the weights of the image phase."""
    if "--compile=true" in options and not weights.exists():
        compile_ahead(options)
    while not weights.exists():
        if time.monotonic() > deadline:
            sys.exit(f"there is no {weights} yet, and the time is over")
        time.sleep(1)


def compile_ahead(options: list[str]) -> None:
    """Trains a few steps from scratch, so that the compiler's cache holds the network."""
    trial = str(RUNS / "trial")
    where = [f"--trainer.default_root_dir={trial}", f"--checkpoint.dirpath={trial}", "--trainer.max_steps=3"]
    start("video", [*options, *where, "--model.init_args.init_from=null"], RUNS / "gpu_trial.log").wait()
    (RUNS / "weights" / "decoder.safetensors").unlink(missing_ok=True)  # of the trial


def start(phase: str, options: list[str], log: Path) -> subprocess.Popen[bytes]:
    """Starts a training whose output goes to a file."""
    command = [sys.executable, "-m", "lightning_mav", "train", "decoder", f"--phase={phase}", "--scale=emoji"]
    with log.open("wb") as file:
        quiet = ["--trainer.enable_progress_bar=false", "--checkpoint.every_n_train_steps=500"]
        return subprocess.Popen([*command, *quiet, *options], stdout=file, stderr=subprocess.STDOUT)


if __name__ == "__main__":
    main()
