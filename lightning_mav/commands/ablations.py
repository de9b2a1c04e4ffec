"""``mav ablations``: tests the paper's claims, one variant against another, and records what was found."""

import argparse
import dataclasses
import datetime
import hashlib
import importlib.util
import json
import os
import shutil
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..textfile import parse_json, write_text
from .arguments import CommandParser, add_import
from .console import plain_warnings, stage_progress
from .output import output_folder, publishing
from .runs import config_folder, config_layers, scales
from .train import train

if TYPE_CHECKING:
    from ..cascade import Cascade
    from .ablation import Ablation, Training, Variant

USE_CLIP = ("prior", "decoder", "interpolation")  # stages that are given a CLIP
EPILOG = """ablations: {names}, or YAML files like theirs.

Variants are kept in outputs/ablations/SCALE/NAME/VARIANT, what they train in outputs/ablations/SCALE/runs.
What is finished there is not run again; what several ablations need is trained and judged once."""


def main(argv: list[str]) -> None:
    """Runs ablations one after the other; each is recorded when it is done."""
    args = _parser().parse_args(argv)
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError("matplotlib is not installed; get what the plots need: pip install -e '.[bench]'")
    if args.scale not in scales():
        raise UsageError(f"no SCALE {args.scale!r}; scales are {', '.join(scales())}")
    from . import claims
    from .ablation import load_ablation, shipped

    # All are read first: a mistake in the last one must not cost the hours of those before it.
    ablations = {Path(name).stem: load_ablation(name) for name in args.names or shipped()}
    bench = Bench(args.scale, args.weights or args.scale, args.config)
    for name, ablation in ablations.items():
        bench.check(name, ablation)
    out = args.out or (Path("docs") if is_documented(args) else bench.folder)
    with output_folder(out) as folder:
        (folder / "ablations").mkdir()
        for name, ablation in ablations.items():
            results = {variant: bench.run(name, ablation, variant) for variant in ablation.variants}
            text = claims.section(name, ablation, results, args.scale)
            with publishing(folder, out, claims.PAGE):
                claims.plot(ablation, results, folder / "ablations" / f"{name}.png")
                write_text(folder / claims.PAGE, claims.insert(out / claims.PAGE, name, text))
            print(f"\n{text}\n\n{out / claims.PAGE}\n{out / 'ablations' / name}.png")


def is_documented(args: argparse.Namespace) -> bool:
    """Whether this is what the documentation tells of: shipped weights, judged by shipped ablations alone."""
    from ..weights import SHIPPED
    from .ablation import shipped

    is_own = bool(args.weights or args.config or {*args.names} - {*shipped()})
    return (SHIPPED / args.scale).is_dir() and not is_own


def _parser() -> CommandParser:
    names = sorted(path.stem for path in (config_folder() / "ablations").glob("*.yaml"))
    parser = CommandParser(
        prog="mav ablations",
        description="Test the paper's claims: variants of training and sampling, judged alike.",
        epilog=EPILOG.format(names=", ".join(names)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help="ablations to run (default: all)")
    add("--scale", default="micro", metavar="SCALE", help="what is trained (default: %(default)s)")
    weights = "scale, or folder of weights, of what is not trained (default: the scale's)"
    add("--weights", metavar="NAME_OR_DIR", help=weights)
    out = "receives claims.md and ablations/NAME.png (default: docs for what is shipped, else "
    add("--out", type=Path, metavar="DIR", help=out + "outputs/ablations/SCALE)")
    add("--config", type=Path, metavar="YAML", help="settings of the instrument (default: eval/micro.yaml)")
    add_import(parser)
    return parser


@dataclasses.dataclass
class Bench:
    """Where and with what variants are run.

    Args:
        scale: What is trained.
        weights: Scale, or folder, of the weights that are not trained.
        config: Settings of the instrument; None for the micro-world's own.
    """

    scale: str
    weights: str
    config: Path | None = None

    @property
    def folder(self) -> Path:
        """Where everything is kept."""
        return Path("outputs", "ablations", self.scale)

    def check(self, name: str, ablation: "Ablation") -> None:
        """Finds out before anything is run whether it can be.

        Raises:
            UsageError: If not.
        """
        for key, variant in ablation.variants.items():
            for training in variant.runs:
                if self.scale not in training.steps:
                    raise UsageError(
                        f"ablation {name}: {key} has no steps for SCALE {self.scale!r}, only for "
                        f"{', '.join(training.steps)}"
                    )
            self._spec(ablation, variant)

    def run(self, name: str, ablation: "Ablation", key: str) -> dict[str, Any]:
        """Trains and judges a variant, or reads what was found when that was done before."""
        variant, path = ablation.variants[key], self.folder / name / key / "result.json"
        spec = self._spec(ablation, variant)
        for known in (path, *sorted(self.folder.glob("*/*/result.json"))):  # or in another ablation
            if found := _finished(known, spec, ablation.metrics):
                print(f"{name}, {key}: finished, see {known.parent}")
                return found
        cascade = self._cascade(ablation, variant, path.parent)
        start = time.perf_counter()  # not of training, which may have been finished or interrupted before
        from ..evaluation.ablations import JUDGES
        from ..evaluation.drawing import Drawing
        from ..evaluation.settings import Settings

        with plain_warnings(), stage_progress(f"{name}, {key}") as progress:
            drawing = Drawing(cascade, Settings(**spec["settings"]), progress)
            try:
                figures = JUDGES[ablation.judge][0](drawing, **variant.how)
            except ValueError as error:
                raise UsageError(f"ablation {name}: {key}: {error}") from error
        if unknown := set(ablation.metrics) - figures.keys():
            raise UsageError(
                f"ablation {name}: {ablation.judge} has no {unknown.pop()}, it has {', '.join(figures)}"
            )
        minutes = round((time.perf_counter() - start) / 60, 2)
        date = datetime.date.today().isoformat()
        found = {"figures": figures, "spec": spec, "minutes": minutes, "date": date}
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        write_text(part, json.dumps(found, indent=2) + "\n")
        os.replace(part, path)
        return found

    def _spec(self, ablation: "Ablation", variant: "Variant") -> dict[str, Any]:
        """Says all that decides what will be found."""
        from ..evaluation import load_settings
        from ..micro.world import WORLD_VERSION

        trained = {training.stage for training in variant.runs}
        files = {stage: path for stage, path in self._files(ablation).items() if stage not in trained}
        config = self.config or config_folder() / "eval" / "micro.yaml"
        return {
            "world": WORLD_VERSION,
            "versions": {name: metadata.version(name) for name in ("lightning-mav", "torch")},
            "judge": ablation.judge,
            "how": variant.how,
            "cascade": variant.cascade,
            "settings": vars(load_settings(config, **(ablation.settings | variant.settings))),
            "runs": [self._described(training) for training in variant.runs],
            "weights": {stage: _checksum(path) for stage, path in files.items()},
        }

    def _described(self, training: "Training") -> dict[str, Any]:
        """Says what is trained, and on which world; an edited configuration layer makes another run."""
        from ..micro.world import WORLD_VERSION

        layers = [path for path in config_layers(training.run, self.scale) if path.is_file()]
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in layers)).hexdigest()
        return {
            "run": training.run.name,
            "arguments": training.arguments(self.scale),
            "layers": digest,
            "world": WORLD_VERSION,
        }

    def _files(self, ablation: "Ablation") -> dict[str, Path]:
        from ..cascade import weights_files
        from ..evaluation.ablations import JUDGES

        return weights_files(self.weights, until=JUDGES[ablation.judge][1])

    def _cascade(self, ablation: "Ablation", variant: "Variant", folder: Path) -> "Cascade":
        """Trains what is to be trained, and puts it beside the rest."""
        from ..cascade import Cascade

        files, weights = self._files(ablation), self.weights
        key, start = "", None
        for training in variant.runs:
            key, start = self._train(training, key, start, files["clip"])
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

    def _train(self, training: "Training", key: str, start: Path | None, clip: Path) -> tuple[str, Path]:
        """Trains a run in a folder that belongs to it whichever variant it is part of.

        Args:
            training: What to train.
            key: Stands for all that was trained before it.
            start: Weights of the run before it, where a second phase starts.
            clip: Weights of CLIP.

        Returns:
            A key that stands for this run, too, and the file of its weights.
        """
        run = training.run
        overrides = []
        if run.stage in USE_CLIP:
            overrides.append(f"--model.clip={clip}")
        if run.is_second and start is not None:
            overrides.append(f"--model.init_from={start}")
        identity = [key, self._described(training), _checksum(clip)]
        key = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:8]
        outputs = self.folder / "runs" / f"{run.name}-{key}"
        return key, train(
            run, self.scale, overrides=[*overrides, *training.arguments(self.scale)], outputs=outputs
        )


def set_attribute(cascade: "Cascade", name: str, value: Any) -> None:
    """Sets an attribute of a cascade, named in dot notation.

    Raises:
        UsageError: If there is none of that name.
    """
    *path, last = name.split(".")
    owner: Any = cascade
    for key in path:
        owner = getattr(owner, key, None)
    if not hasattr(owner, last):
        raise UsageError(f"the cascade has no {name!r}; one is prior.num_candidates")
    setattr(owner, last, value)


def _finished(path: Path, spec: dict[str, Any], metrics: list[str]) -> dict[str, Any] | None:
    """Reads what was found for exactly this variant, if all that is asked for is known."""
    try:
        found = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return None
    is_same = found.get("spec") == json.loads(json.dumps(spec))
    is_whole = is_same and all("items" in found["figures"].get(metric, {}) for metric in metrics)
    return found if is_whole else None


def _checksum(path: Path) -> str:
    from ..weights import load_weights, sha256

    if not path.is_file():
        load_weights(path)  # raises, and says with which command it is made
    return sha256(path)
