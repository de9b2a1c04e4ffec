"""Trains and judges the variants of ablations, and reuses results of earlier runs."""

import dataclasses
import datetime
import hashlib
import json
import re
import shutil
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...stage_table import stages
from ...training.runs import config_folder, config_layers
from ...training.train import train
from ...utils.console import plain_warnings, stage_progress
from ...utils.errors import UsageError
from ...utils.textfile import parse_json, write_json

if TYPE_CHECKING:
    from ...cascade import Cascade
    from .design import Ablation, Training, Variant


@dataclasses.dataclass
class Bench:
    """Where and with what variants are run.

    Args:
        scale: Scale of what is trained.
        weights: Scale, or folder, of the weights that are not trained.
        config: Settings file of the evaluation; None for ``configs/eval/micro.yaml``.
    """

    scale: str
    weights: str
    config: Path | None = None

    @property
    def folder(self) -> Path:
        """Where everything is kept."""
        return Path("outputs", "ablations", self.scale)

    def check(self, name: str, ablation: "Ablation") -> None:
        """Checks that all variants can be run, before any of them is.

        Raises:
            UsageError: If one cannot.
        """
        for key, variant in ablation.variants.items():
            for training in variant.runs:
                if self.scale not in training.steps:
                    raise UsageError(
                        f"ablation {name}: {key} has no steps for SCALE {self.scale!r}, only for "
                        f"{', '.join(training.steps)}"
                    )
            self._spec(ablation, variant, ablation.seeds[0] if variant.runs else None)

    def called(self, ablation: "Ablation") -> str:
        """Returns what a page calls the weights that are not trained."""
        from ...weights import SHIPPED

        is_shipped = all(path.is_relative_to(SHIPPED) for path in self._files(ablation).values())
        return "the shipped weights" if is_shipped else "these weights"

    def run_all(self, name: str, ablation: "Ablation", key: str) -> list[dict[str, Any]]:
        """Returns the results of a variant, one for each seed; without training there is one result."""
        seeds = ablation.seeds if ablation.variants[key].runs else [None]
        return [self.run(name, ablation, key, seed) for seed in seeds]

    def run(self, name: str, ablation: "Ablation", key: str, seed: int | None = None) -> dict[str, Any]:
        """Trains and judges a variant, or reads the result if that was done before."""
        variant, folder = ablation.variants[key], self.folder / name / key
        if seed is not None:
            folder, key = folder / f"seed_{seed}", f"{key}, seed {seed}"
        path, spec = folder / "result.json", self._spec(ablation, variant, seed)
        for known in (path, *sorted(self.folder.glob("**/result.json"))):  # or in another ablation
            if found := _finished(known, spec, ablation.metrics):
                print(f"{name}, {key}: finished, see {known.parent}")
                return found
        cascade = self._cascade(ablation, variant, seed, folder)
        start = time.perf_counter()  # without training, parts of which may have been done before
        from ..worlds.sampling import CascadeSampler
        from ..worlds.settings import MicroSettings
        from .judges import JUDGES

        with plain_warnings(), stage_progress(f"{name}, {key}") as progress:
            sampler = CascadeSampler(cascade, MicroSettings(**spec["settings"]), progress)
            try:
                figures = JUDGES[ablation.judge][0](sampler, **variant.how)
            except ValueError as error:
                raise UsageError(f"ablation {name}: {key}: {error}") from error
        if unknown := set(ablation.metrics) - figures.keys():
            raise UsageError(
                f"ablation {name}: {ablation.judge} has no {unknown.pop()}, it has {', '.join(figures)}"
            )
        minutes = round((time.perf_counter() - start) / 60, 2)
        date = datetime.date.today().isoformat()
        found = {"figures": figures, "spec": spec, "minutes": minutes, "date": date}
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, found)
        return found

    def _spec(self, ablation: "Ablation", variant: "Variant", seed: int | None) -> dict[str, Any]:
        """Returns everything that the result depends on."""
        from ...worlds.micro.world import WORLD_VERSION
        from ..worlds import load_micro_settings

        trained = {training.stage for training in variant.runs}
        files = {stage: path for stage, path in self._files(ablation).items() if stage not in trained}
        config = self.config or config_folder() / "eval" / "micro.yaml"
        return {
            "world": WORLD_VERSION,
            "versions": {name: metadata.version(name) for name in ("lightning-mav", "torch")},
            "judge": ablation.judge,
            "how": variant.how,
            "cascade": variant.cascade,
            "settings": vars(load_micro_settings(config, **(ablation.settings | variant.settings))),
            "runs": [self._described(training, seed) for training in variant.runs],
            "weights": {stage: _digest(path) for stage, path in files.items()},
        }

    def _described(self, training: "Training", seed: int | None) -> dict[str, Any]:
        """Describes a training run and its world; an edited configuration layer makes it another run."""
        from omegaconf import OmegaConf

        from ...utils.settings import read_yaml
        from ...worlds.micro.world import WORLD_VERSION

        # The parsed content, so that edited comments make no other run.
        layers = [path for path in config_layers(training.run, self.scale) if path.is_file()]
        contents = [OmegaConf.to_container(read_yaml(path)) for path in layers]
        assert seed is not None
        return {
            "run": training.run.name,
            "arguments": training.arguments(self.scale, seed),
            "layers": hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest(),
            "world": WORLD_VERSION,
        }

    def _files(self, ablation: "Ablation") -> dict[str, Path]:
        from ...cascade import weights_files
        from .judges import JUDGES

        return weights_files(self.weights, until=JUDGES[ablation.judge][1])

    def _cascade(self, ablation: "Ablation", variant: "Variant", seed: int | None, folder: Path) -> "Cascade":
        """Trains the runs of a variant, and loads the cascade with their weights."""
        from ...cascade import Cascade

        files, weights = self._files(ablation), self.weights
        key, start = "", None
        for training in variant.runs:
            key, start = self._train(training, seed, key, start, files)
            files[training.stage] = start
        if variant.runs:
            (folder / "weights").mkdir(parents=True, exist_ok=True)
            for stage, path in files.items():
                shutil.copyfile(path, folder / "weights" / f"{stage}.safetensors")
            weights = str(folder / "weights")
        cascade = Cascade.from_pretrained(weights, until=list(files)[-1])
        for name, value in variant.cascade.items():
            set_attribute(cascade, name, value)
        return cascade

    def _train(
        self, training: "Training", seed: int | None, key: str, start: Path | None, files: dict[str, Path]
    ) -> tuple[str, Path]:
        """Trains a run in a folder of its own, which all variants with this run share.

        Args:
            training: What to train.
            seed: Seed of the training.
            key: Digest of the runs before it.
            start: Weights of the run before it, where a second phase starts.
            files: Weights of all stages.

        Returns:
            The digest of this run and those before it, and its weights.
        """
        run, given = training.run, dict[str, Path]()
        spec = stages()[run.stage]
        if spec.uses_clip:
            given["clip"] = files["clip"]
        if run.is_second and start is not None:
            given["init_from"] = start
        elif spec.starts_from:
            given["init_from"] = files[spec.starts_from]
        described = self._described(training, seed)
        # The result of a training depends on tensors alone, not on headers, which may be rewritten.
        identity = [key, described, {name: _digest(path, header=False) for name, path in given.items()}]
        key = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:8]
        outputs = self.folder / "runs" / f"{run.name}-{key}"
        overrides = [f"--model.{name}={path}" for name, path in given.items()]
        return key, train(run, self.scale, overrides=[*overrides, *described["arguments"]], outputs=outputs)


def set_attribute(cascade: "Cascade", name: str, value: Any) -> None:
    """Sets an attribute of a cascade, named in dot notation.

    Raises:
        UsageError: If it has no such attribute.
    """
    *path, last = name.split(".")
    owner: Any = cascade
    for key in path:
        owner = getattr(owner, key, None)
    if not hasattr(owner, last):
        raise UsageError(f"the cascade has no {name!r}; one is prior.num_candidates")
    setattr(owner, last, value)


def _finished(path: Path, spec: dict[str, Any], metrics: list[str]) -> dict[str, Any] | None:
    """Reads the result of exactly this variant; None if there is none, or a metric is missing."""
    try:
        found = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return None
    is_same = found.get("spec") == json.loads(json.dumps(spec))
    is_whole = is_same and all("items" in found["figures"].get(metric, {}) for metric in metrics)
    return found if is_whole else None


def _digest(path: Path, *, header: bool = True) -> str:
    """Returns a checksum of a weights file's tensors and, unless left out, of its configuration."""
    import torch
    from safetensors import SafetensorError, safe_open

    from ...weights import load_weights

    digest = hashlib.sha256()
    try:
        with safe_open(path, framework="pt") as file:
            if header:
                config = json.loads((file.metadata() or {}).get("config", "null"))
                text = json.dumps(config, sort_keys=True)
                # A class may move to another module.
                digest.update(re.sub(r'"class_path": "[^"]*\.', '"class_path": "', text).encode())
            for name in sorted(file.keys()):
                tensor = file.get_tensor(name)
                digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
                digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    except (SafetensorError, OSError, ValueError):
        load_weights(path)  # raises an error that says what is wrong, and which command makes the file
        raise
    return digest.hexdigest()
