"""Ablations: a claim, and variants that differ in how they are trained, sampled or judged."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...training.runs import Run, config_folder, config_layers, find_run
from ...utils.errors import UsageError
from ...utils.settings import read_settings, read_yaml

CHANCE = "chance"  # stands for a variant in a comparison with what guessing gives


@dataclass
class Training:
    """A training run of a variant; a second phase starts from the variant's run before it.

    Args:
        stage: Stage.
        phase: Phase.
        steps: Optimizer steps, by scale.
        overrides: Arguments for LightningCLI.
        by_scale: Further arguments, by scale.
    """

    stage: str
    phase: str
    steps: dict[str, int]
    overrides: list[str] = field(default_factory=list)
    by_scale: dict[str, list[str]] = field(default_factory=dict)

    @property
    def run(self) -> Run:
        """The run."""
        return find_run(self.stage, self.phase)

    def arguments(self, scale: str, seed: int) -> list[str]:
        """Arguments for LightningCLI at a scale; the seed also sets the order of the data."""
        from omegaconf import OmegaConf

        layers = [read_yaml(path) for path in config_layers(self.run, scale) if path.is_file()]
        is_mixed = OmegaConf.select(OmegaConf.merge(*layers), "data.init_args.video") is not None
        data = ["--data.video.seed", "--data.image.seed"] if is_mixed else ["--data.seed"]
        return [
            f"--trainer.max_steps={self.steps[scale]}",
            *self.overrides,
            *self.by_scale.get(scale, []),
            *(f"{key}={seed}" for key in ("--seed_everything", *data)),
        ]


@dataclass
class Variant:
    """One variant of an ablation.

    Args:
        runs: Training runs, in order; if there are none, the given weights are judged.
        cascade: Attributes of the cascade, such as ``prior.num_candidates``.
        settings: Settings of the evaluation, as in ``configs/eval/micro.yaml``.
        how: Arguments of the judge.
    """

    runs: list[Training] = field(default_factory=list)
    cascade: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    how: dict[str, Any] = field(default_factory=dict)


@dataclass
class Comparison:
    """What the claim says of two variants.

    Args:
        better: The variant that should be better, or as good.
        than: The other one; ``chance`` for what guessing gives.
        metric: Metric by which they are compared.
        margin: If given, the two should be as good as each other within this, instead of one better.
    """

    better: str
    than: str
    metric: str
    margin: float | None = None


@dataclass
class Ablation:
    """A claim of the paper, and what it takes to test it.

    Args:
        title: Heading.
        claim: What the paper says, with its section.
        judge: One of ``lightning_mav.evaluation.ablations.judges.JUDGES``.
        metrics: Those of the judge's figures to show.
        compare: Comparisons; the claim holds if all of them do.
        variants: By name.
        smallest: Smallest effect that counts, for each metric by which one variant should be better: in units
            of the metric (shares from 0 to 1); where lower is better, as a fraction of the other's figure.
        seeds: Each variant that trains is trained once with each of these.
        chance: What guessing gives, by metric.
        settings: Settings of the evaluation, for all variants.
        note: What else a reader must know.
    """

    title: str
    claim: str
    judge: str
    metrics: list[str]
    compare: list[Comparison]
    variants: dict[str, Variant]
    smallest: dict[str, float] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=lambda: [0])
    chance: dict[str, float] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    note: str = ""


def shipped() -> list[str]:
    """Names of the ablations that come with the project, the quick ones first."""
    names = sorted(path.stem for path in (config_folder() / "ablations").glob("*.yaml"))
    return sorted(names, key=lambda name: needs_training(load_ablation(name)))


def needs_training(ablation: Ablation) -> bool:
    """Whether any variant is trained."""
    return any(variant.runs for variant in ablation.variants.values())


def load_ablation(name: str) -> Ablation:
    """Reads an ablation: one that is shipped, by its name, or a YAML file.

    Raises:
        UsageError: If there is none, or something in it is wrong.
    """
    folder = config_folder() / "ablations"
    path = Path(name) if name.endswith((".yaml", ".yml")) else folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
        raise UsageError(f"no ablation {name!r}; there are {known}, or name a YAML file")
    ablation = read_settings(Ablation, path)
    if problems := _problems(ablation):
        raise UsageError(f"{path}: {problems[0]}")
    return ablation


def _problems(ablation: Ablation) -> list[str]:
    """Lists names of things that do not exist, and values that are not allowed."""
    from .judges import JUDGES, options

    if ablation.judge not in JUDGES:
        return [f"no judge {ablation.judge!r}; judges are {', '.join(JUDGES)}"]
    found, known = [], options(ablation.judge)
    for name, variant in ablation.variants.items():
        for training in variant.runs:
            find_run(training.stage, training.phase)
        found += [
            f"variants.{name}.how: judge {ablation.judge} has no {key!r}; it has {', '.join(known) or 'none'}"
            for key in variant.how
            if key not in known
        ]
    for pair in ablation.compare:
        than = () if pair.than == CHANCE and pair.metric in ablation.chance else (pair.than,)
        found += [f"compare: no variant {x!r}" for x in (pair.better, *than) if x not in ablation.variants]
        if pair.metric not in ablation.metrics:
            found.append(f"compare: {pair.metric!r} is not among metrics, {', '.join(ablation.metrics)}")
        if pair.margin is None and pair.metric not in ablation.smallest:
            found.append(f"smallest: says nothing of {pair.metric!r}, by which variants are compared")
        if pair.margin is not None and not pair.margin > 0:
            found.append(f"compare: margin must be above 0, got {pair.margin:g}")
    found += [
        f"smallest: must be 0 or more, got {value:g} for {key!r}"
        for key, value in ablation.smallest.items()
        if not value >= 0
    ]
    if not ablation.compare:
        found.append("compare: nothing is claimed")
    if not ablation.seeds or len({*ablation.seeds}) < len(ablation.seeds) or min(ablation.seeds) < 0:
        found.append(f"seeds: must be different numbers from 0 up, got {ablation.seeds}")
    return found
