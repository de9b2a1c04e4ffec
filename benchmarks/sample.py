"""Sampling: the demo against the first release of it, and how many steps each stage needs."""

import argparse
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning_mav.cascade import Cascade
from lightning_mav.evaluation import worlds as evaluation
from lightning_mav.evaluation.worlds import Prompts, baselines, choose_prompts
from lightning_mav.evaluation.worlds.sampling import CascadeSampler
from lightning_mav.stage_table import video_stages
from lightning_mav.training.runs import config_folder
from lightning_mav.utils.errors import UsageError

from .report import Section, Table
from .timing import generate, progress_bar, ratios, with_spread

TURNS = 3
FIRST_RELEASE = "0673596"  # the commit that shipped the first trained weights
STAGES = ["prior", *video_stages()]
STEPS = {
    "prior": (1, 2, 3, 5, 10, 20),
    "decoder": (2, 4, 6, 8, 10, 15, 20),
    "interpolation": (1, 2, 3, 4, 6, 8, 12),
    "sr_lt": (1, 2, 3, 4, 6),
    "sr_h": (1, 2, 3, 4),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this bench."""
    parser.add_argument("--prompts", type=int, default=4, help="of each shape and split, per row (4)")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES, help="for the table of steps")
    parser.add_argument("--no-release", action="store_true", help="leave the first release out")


def run(args: argparse.Namespace) -> Section:
    """Times the demo, then draws with more and more steps."""
    tables = [] if args.no_release else [compare_releases(args.turns)]
    tables.append(compare_steps(args.stages, args.prompts))
    text = "The number of steps of each stage is in its weights file; `--steps` overrides them."
    return Section("sample", "Sampling", [text], tables)


def compare_steps(stages: Sequence[str], num_per_class: int) -> Table:
    """Draws each stage's samples in more and more steps."""
    config = config_folder() / "eval" / "micro.yaml"
    settings = evaluation.load_micro_settings(config, num_per_class=num_per_class)
    cascade, prompts = Cascade.from_pretrained("micro"), choose_prompts(num_per_class)
    rows = []
    with progress_bar() as progress:
        task = progress.add_task("", total=sum(len(STEPS[stage]) for stage in stages))
        for stage in stages:
            for steps in STEPS[stage]:
                progress.update(task, description=f"{stage}, {steps} steps")
                figures = JUDGES[stage](CascadeSampler(cascade, replace(settings, steps=steps)), prompts)
                own = steps == getattr(cascade, stage).sampler.num_steps
                cells = [f"{figures[name]:.4g}" if name in figures else "" for name in COLUMNS]
                rows.append([stage, f"{steps}{' (its own)' if own else ''}", *cells])
                progress.advance(task)
    caption = (
        "Accuracy by number of steps, on the prompts and true clips of `BENCH=micro`. Each stage is measured "
        'alone: its input is true, or comes from the stages before it with their usual steps. "Right" is '
        "shape and colour, or for the prior the cosine to the true embedding."
    )
    return Table(["stage", "steps", *COLUMNS], rows, caption)


def compare_releases(turns: int) -> Table:
    """Times the first release and this one in turn."""
    seconds: dict[str, list[dict[str, float]]] = {"first release": [], "now": []}
    with tempfile.TemporaryDirectory() as folder, progress_bar() as progress:
        unpack(FIRST_RELEASE, Path(folder))
        roots = {"first release": Path(folder), "now": Path.cwd()}
        task = progress.add_task("releases", total=2 * turns)
        for _ in range(turns):
            for name, root in roots.items():
                progress.update(task, description=f"releases: {name}")
                stages, total = generate(root=root)
                seconds[name].append({**stages, "network": sum(stages.values()), "everything": total})
                progress.advance(task)
    rows = []
    for part in seconds["now"][0]:
        before, now = ([run[part] for run in seconds[name]] for name in seconds)
        rows.append([part, with_spread(before), with_spread(now), with_spread(ratios(before, now))])
    caption = (
        f"Seconds of `mav generate`, 76 frames of 192 px, in fresh processes that take turns ({turns} "
        f"turns). The first release is {FIRST_RELEASE}, with the weights and steps it shipped."
    )
    return Table(["stage", "first release, s", "now, s", "ratio"], rows, caption)


def unpack(revision: str, folder: Path) -> None:
    """Writes the files of a revision of this repository.

    Raises:
        UsageError: If there is no such revision.
    """
    archive = subprocess.run(["git", "archive", revision], capture_output=True, check=False)
    if archive.returncode:
        reason = archive.stderr.decode().strip()
        raise UsageError(f"no revision {revision} here ({reason}): pass --no-release, or clone it whole")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)


COLUMNS = ("right", "motion", "PSNR, dB", "flicker")
Figures = dict[str, float]
Judge = Callable[[CascadeSampler, Prompts], Figures]


def judge_prior(sampler: CascadeSampler, prompts: Prompts) -> Figures:
    """Returns the cosine to the true embedding, which serves as the share that is right."""
    embeds = sampler.embeds(prompts.texts)
    return {"right": baselines.compare_prior(sampler, prompts, embeds)[0]["value"]}


def judge_decoder(sampler: CascadeSampler, prompts: Prompts) -> Figures:
    """Shape and colour, and motion, read off the key frames."""
    video = sampler.key_frames(sampler.embeds(prompts.texts))
    read = evaluation.figures(prompts.appearances, evaluation.read(video))
    return {"right": read["appearance"]["value"], "motion": read["motion"]["value"]}


def judge_interpolation(sampler: CascadeSampler, prompts: Prompts) -> Figures:
    """Frames between true ones."""
    return {"PSNR, dB": baselines.compare_interpolation(sampler, prompts)[0]["value"]}


def judge_sr(compare: Callable[[CascadeSampler, Prompts], Any]) -> Judge:
    """Returns figures of enlarged true frames, and how much they flicker where nothing moves."""

    def judge(sampler: CascadeSampler, prompts: Prompts) -> Figures:
        (row, *_), flicker = compare(sampler, prompts)
        return {"PSNR, dB": row["value"], "flicker": flicker["generated"]}

    return judge


JUDGES: dict[str, Judge] = {
    "prior": judge_prior,
    "decoder": judge_decoder,
    "interpolation": judge_interpolation,
    "sr_lt": judge_sr(baselines.compare_sr_lt),
    "sr_h": judge_sr(baselines.compare_sr_h),
}
