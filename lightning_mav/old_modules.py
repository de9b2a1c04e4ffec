"""Names that modules had in version 0.1.0, and classes with another name since: importing them still works.

An old module holds what the new one does, and is made when it is first imported, with a warning. Functions
and constants that were renamed or removed are not kept.
"""

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

PACKAGE = __name__.partition(".")[0]
UTILS = ("configured", "errors", "memory", "numbers", "paths", "precision", "settings", "textfile", "threads")
TRAINING = ("callbacks", "checkpoints", "checks", "explain", "fit", "folders", "runs", "signals")
WORLDS = ("baselines", "controls", "distribution", "micro", "plot", "prompts", "scores", "settings", "sheets")
MODULES = {
    "codecs": "data.codecs",
    "commands": "cli",
    "commands.ablation": "evaluation.ablations.design",
    "commands.ablation_records": "evaluation.ablations.records",
    "commands.ablation_runs": "evaluation.ablations.runs",
    "commands.claims": "evaluation.ablations.page",
    "commands.console": "utils.console",
    "commands.samples": "evaluation.protocols.samples",
    "datamodules.filters": "datamodules.metadata_filter",
    "datamodules.rates": "datamodules.fps_histogram",
    "evaluation.drawing": "evaluation.worlds.sampling",
    "evaluation.verdicts": "evaluation.ablations.verdicts",
    "features": "evaluation.features",
    "metrics": "evaluation.metrics",
    "micro": "worlds.micro",
    "micro.encode": "data.codecs.encode",
    "protocols": "evaluation.protocols",
    "protocols.lossless": "data.codecs.lossless",
    "report": "evaluation.report",
    "report.terminal": "evaluation.report.write",
    "sampling": "models.sampling",
    "shards": "data.shards",
    "text": "nn.text",
    "video": "data.video",
    **{name: f"utils.{name}" for name in UTILS},
    **{f"evaluation.{name}": f"evaluation.worlds.{name}" for name in (*WORLDS, "speeds")},
    **{f"commands.{name}": f"training.{name}" for name in (*TRAINING, "train", "trainer")},
}
CLASSES = {
    "data.codecs.nal": {"Order": "PictureOrder"},
    "data.shards.check": {"Report": "CheckReport"},
    "data.shards.pack": {"Settings": "PackSettings"},
    "evaluation.ablations.verdicts": {"Figure": "Estimate"},
    "evaluation.features": {"Input": "InputContract"},
    "evaluation.features.resize": {"Input": "InputContract"},
    "evaluation.protocols": {"Settings": "ProtocolSettings", "Prompts": "PromptFile"},
    "evaluation.protocols.prompts": {"Prompts": "PromptFile"},
    "evaluation.protocols.settings": {"Settings": "ProtocolSettings"},
    "evaluation.report": {"Sample": "ShownVideo"},
    "evaluation.report.results": {"Sample": "ShownVideo"},
    "evaluation.worlds.settings": {"Settings": "MicroSettings", "load_settings": "load_micro_settings"},
    "evaluation.worlds.sampling": {"Drawing": "CascadeSampler"},
}


def new_name(old: str) -> str | None:
    """Returns where a module is now, both without the package's name; None if it has not moved."""
    parts = old.split(".")
    for number in range(len(parts), 0, -1):
        if (home := MODULES.get(".".join(parts[:number]))) is not None:
            return ".".join([home, *parts[number:]])
    return None


class _Finder(MetaPathFinder, Loader):
    """Finds what no other finder does: modules under their old names."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: Any = None) -> ModuleSpec | None:
        package, _, old = name.partition(".")
        if package != PACKAGE or (new := new_name(old)) is None:
            return None
        found = importlib.util.find_spec(f"{PACKAGE}.{new}")
        if found is None:
            return None
        return ModuleSpec(name, self, is_package=found.submodule_search_locations is not None)

    def exec_module(self, module: ModuleType) -> None:
        new = new_name(module.__name__.partition(".")[2])
        warnings.warn(f"{module.__name__} is {PACKAGE}.{new} now", DeprecationWarning, stacklevel=2)
        names = vars(importlib.import_module(f"{PACKAGE}.{new}"))
        kept = {
            name: value for name, value in names.items() if name == "__all__" or not name.startswith("__")
        }
        renamed = {old: names[now] for old, now in CLASSES.get(str(new), {}).items()}
        vars(module).update(kept | renamed)


def find_old_modules() -> None:
    """Lets old names be imported from now on."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
