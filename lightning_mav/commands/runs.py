"""The runs that make up a training, and the configuration layers of each."""

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from ..errors import UsageError

# What each stage can be trained on, in the order it is done.
PHASES = {
    "clip": ("image",),
    "prior": ("image",),
    "decoder": ("image", "video"),
    "interpolation": ("video",),
    "sr_lt": ("image", "video"),
    "sr_h": ("image",),
}


@dataclass(frozen=True)
class Run:
    """One stage trained on one kind of data; its name is also that of its folder and weights."""

    stage: str
    phase: str

    @property
    def is_second(self) -> bool:
        """Whether it starts from the run before it, of the same stage."""
        return self.phase != PHASES[self.stage][0]

    @property
    def name(self) -> str:
        """The stage's name, for the run that completes it."""
        return self.stage if self.phase == PHASES[self.stage][-1] else f"{self.stage}_{self.phase}"


RUNS = tuple(Run(stage, phase) for stage, phases in PHASES.items() for phase in phases)


def find_run(stage: str, phase: str | None) -> Run:
    """Returns the run of a stage and a phase; without a phase, the stage's first.

    Raises:
        UsageError: If there is no such stage or the stage has no such phase.
    """
    if stage not in PHASES:
        raise UsageError(f"no STAGE {stage!r}; stages are {', '.join(PHASES)}, or all")
    if phase is not None and phase not in PHASES[stage]:
        raise UsageError(f"no PHASE {phase!r} of stage {stage}; it has {', '.join(PHASES[stage])}")
    return Run(stage, phase or PHASES[stage][0])


def config_folder() -> Path:
    """Where the configuration layers are installed."""
    return Path(str(resources.files("lightning_mav.configs")))


def scales() -> list[str]:
    """Names of the scales that the configuration layers know."""
    return sorted(path.name for path in (config_folder() / "scale").iterdir() if path.is_dir())


def config_layers(run: Run, scale: str) -> list[Path]:
    """Files that configure a run, in order; later ones win.

    Raises:
        UsageError: If there is no such scale.
    """
    if scale not in scales():
        raise UsageError(f"no SCALE {scale!r}; scales are {', '.join(scales())}")
    names = [run.stage, f"{run.stage}_{run.phase}"] if run.is_second else [run.stage]
    places = ["stage", *(f"scale/{name}" for name in _lineage(scale))]
    layers = ["base"] + [f"{place}/{name}" for name in names for place in places]
    return [config_folder() / f"{layer}.yaml" for layer in layers]


def _lineage(scale: str) -> list[str]:
    """Names the scales whose layers make up a scale: those that it ``extends``, then itself."""
    note = config_folder() / "scale" / f"{scale}.yaml"
    if not note.exists():
        return [scale]
    from omegaconf import OmegaConf

    return [*_lineage(OmegaConf.load(note).extends), scale]
