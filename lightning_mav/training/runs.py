"""The runs that make up a training, and the configuration layers of each."""

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from ..stage_table import stages
from ..utils.errors import UsageError


@dataclass(frozen=True)
class Run:
    """One stage trained on one kind of data; its name is also that of its folder and weights.

    Args:
        stage: Stage.
        phase: Phase.
        extra: Phases that its scale adds to those of the stage.
    """

    stage: str
    phase: str
    extra: tuple[str, ...] = ()

    @property
    def is_second(self) -> bool:
        """Whether it starts from the run before it, of the same stage."""
        return self.phase != self._phases[0]

    @property
    def name(self) -> str:
        """The stage's name, for the run that completes it."""
        return self.stage if self.phase == self._phases[-1] else f"{self.stage}_{self.phase}"

    @property
    def names_after(self) -> list[str]:
        """Names of the runs of the same stage that come after it."""
        later = self._phases[self._phases.index(self.phase) + 1 :]
        return [Run(self.stage, phase, self.extra).name for phase in later]

    @property
    def _phases(self) -> tuple[str, ...]:
        return stages()[self.stage].phases + self.extra


def all_runs(scale: str | None = None) -> list[Run]:
    """Returns the runs of all stages, in order; with a scale, also those that it adds."""
    runs = []
    for spec in stages().values():
        extra = () if scale is None else _extra_phases(spec.name, scale)
        runs += [Run(spec.name, phase, extra) for phase in spec.phases + extra]
    return runs


def find_run(stage: str, phase: str | None, scale: str | None = None) -> Run:
    """Returns the run of a stage and a phase; without a phase, the stage's first.

    Args:
        stage: Stage.
        phase: Phase.
        scale: Scale, which may add phases.

    Raises:
        UsageError: If there is no such stage or the stage has no such phase.
    """
    if stage not in stages():
        raise UsageError(f"no STAGE {stage!r}; stages are {', '.join(stages())}, or all")
    extra = () if scale is None else _extra_phases(stage, scale)
    phases = stages()[stage].phases + extra
    if phase is not None and phase not in phases:
        raise UsageError(f"no PHASE {phase!r} of stage {stage}; it has {', '.join(phases)}")
    return Run(stage, phase or phases[0], extra)


def _extra_phases(stage: str, scale: str) -> tuple[str, ...]:
    """Phases of a stage that a scale has a layer for, beyond those that every scale has."""
    phases, folders = stages()[stage].extra_phases, _lineage(scale) if stages()[stage].extra_phases else []
    return tuple(name for name in phases if any((at / f"{stage}_{name}.yaml").is_file() for at in folders))


def config_folder() -> Path:
    """Where the configuration layers are installed."""
    return Path(str(resources.files("lightning_mav.configs")))


def scales() -> list[str]:
    """Names of the scales that the configuration layers know."""
    return sorted(path.name for path in (config_folder() / "scale").iterdir() if path.is_dir())


def scale_name(scale: str) -> str:
    """Returns the name of a scale, which may be given as the path of a folder of one's own."""
    return Path(scale).resolve().name if _is_own(scale) else scale


def config_layers(run: Run, scale: str) -> list[Path]:
    """Files that configure a run, in order; later ones win.

    Args:
        run: Stage and phase.
        scale: Scale that is installed, or the path of a folder that holds layers (``all.yaml`` for all
            stages, ``clip.yaml`` and so on) like those of the package, with ``FOLDER.yaml`` beside it if it
            extends another scale. It is read as a path if it has a slash or such a folder exists.

    Raises:
        UsageError: If there is no such scale, or it has no layer for the run.
    """
    places = [config_folder() / "stage", *_lineage(scale)]
    layers = [place / f"{name}.yaml" for place in places for name in ("all", run.stage)]
    if run.is_second:
        layers += [place / f"{run.stage}_{run.phase}.yaml" for place in places]
    # A scale need not have all.yaml. If it extends another, it needs only the layers that differ.
    found = [path for path in layers if path.is_file()]
    if not any(path.parent in places[1:] and path.stem != "all" for path in found):
        raise UsageError(f"no {layers[-1].name} in {places[-1]}: write it, or let the scale extend another")
    return [config_folder() / "base.yaml", *found]


def model_settings(run: Run, scale: str) -> dict[str, Any]:
    """Returns the arguments of a run's stage as its configuration layers have them; builds nothing.

    Raises:
        UsageError: As ``config_layers``, or if a layer is no YAML.
    """
    from omegaconf import OmegaConf

    from ..utils.settings import read_yaml

    layers = [read_yaml(path) for path in config_layers(run, scale)]
    merged: Any = OmegaConf.merge(*layers)
    return OmegaConf.to_container(merged.model.init_args, resolve=True)  # type: ignore[return-value]


def _is_own(scale: str) -> bool:
    """Whether a scale is given by its path."""
    return "/" in scale or any(Path(scale, f"{run.name}.yaml").is_file() for run in all_runs())


def _lineage(scale: str) -> list[Path]:
    """Folders of the layers that make up a scale: those of the scales that it ``extends``, then its own."""
    chain: list[Path] = []
    while scale:
        if not _is_own(scale) and scale not in scales():
            raise UsageError(f"no SCALE {scale!r}; scales are {', '.join(scales())}, or name a folder")
        folder = Path(scale).resolve() if _is_own(scale) else config_folder() / "scale" / scale
        if not folder.is_dir():
            raise UsageError(f"no SCALE {scale!r}: there is no such folder")
        if folder in chain:
            raise UsageError(f"{folder.with_suffix('.yaml')}: the scale extends itself")
        chain.insert(0, folder)
        scale = _extended(folder.with_name(f"{folder.name}.yaml"))
    return chain


def _extended(note: Path) -> str:
    """Reads from a note which scale is extended; a path in it is relative to the note."""
    if not note.is_file():
        return ""
    from omegaconf import OmegaConf

    from ..utils.settings import read_yaml

    found: Any = OmegaConf.to_container(read_yaml(note, "write 'extends: micro', say"))
    if not isinstance(found, dict) or set(found) != {"extends"} or not isinstance(found["extends"], str):
        raise UsageError(f"{note}: it says which scale is extended, in one line such as 'extends: micro'")
    return str(note.parent / found["extends"]) if "/" in found["extends"] else found["extends"]
