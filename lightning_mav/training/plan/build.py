"""Builds a run from its configuration layers, with weights that have a shape but no content."""

from types import SimpleNamespace
from typing import Any

import torch
from lightning.pytorch.cli import LightningCLI
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ...clip import Clip
from ...utils.configured import from_config
from ...utils.errors import UsageError
from ...utils.precision import precision_name
from ...weights import find_weights, read_config
from ..checks import ALIASES, check_settings
from ..explain import refusals_explained
from ..fit import MavCLI
from ..runs import Run, all_runs, config_layers, model_settings

CAPTION = "a picture"


class WithoutContent(TorchFunctionMode):
    """Creates the initial weights of layers on the meta device; other tensors keep their content."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Calls ``func``."""
        kwargs = kwargs or {}
        if func in (torch.empty, torch.randn) and kwargs.get("device") is None:
            kwargs = {**kwargs, "device": "meta"}
        return func(*args, **kwargs)


class PlanCLI(MavCLI):
    """Builds the stage and the datamodule of a run as ``mav train`` does, but no trainer. It trains nothing.

    Args:
        args: Arguments of the ``fit`` subcommand.
    """

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Returns the subcommand whose settings are planned."""
        return {"fit": MavCLI.subcommands()["fit"]}

    def before_instantiate_classes(self) -> None:
        """Chooses the settings that the configuration leaves open, as for a machine with GPUs."""
        config = self.config.fit
        trainer = config.trainer
        if trainer.accelerator != "cpu":
            trainer.accelerator = "gpu"
        if trainer.precision is None:
            trainer.precision = precision_name("cpu") if trainer.accelerator == "cpu" else "bf16-mixed"
        check_settings(trainer, config.compile)
        trainer.precision = ALIASES.get(str(trainer.precision), trainer.precision)
        trainer.logger, trainer.callbacks, trainer.plugins = False, None, None

    def instantiate_classes(self) -> None:
        """Builds stage and data; reports a value that a constructor refuses as a mistake of the user."""
        with refusals_explained(), WithoutContent():
            LightningCLI.instantiate_classes(self)

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """Returns a stand-in for the trainer, with the attributes that stages read."""
        trainer = self.config.fit.trainer
        return SimpleNamespace(max_steps=trainer.max_steps, precision=trainer.precision, global_step=0)

    def after_instantiate_classes(self) -> None:
        """Gives the stage its frozen CLIP and the stand-in for the trainer; nothing is logged."""
        stage: Any = self.model
        stage._trainer = self.trainer
        stage.log = stage.log_dict = lambda *args, **kwargs: None
        if hasattr(stage, "clip_name"):
            stage.__dict__["clip"] = find_clip(stage.clip_name).eval().requires_grad_(False)
        if getattr(stage.model, "corruption", None) == "bsr":
            stage.model.corruption = "noise"  # BSR needs real pixels and runs on the CPU

    def _run_subcommand(self, subcommand: str) -> None:
        pass


def build(run: Run, scale: str, overrides: list[str]) -> PlanCLI:
    """Builds a run; ``model`` holds its stage, ``datamodule`` its data and ``config.fit`` its settings.

    Raises:
        UsageError: If something in the configuration is wrong.
    """
    return PlanCLI(["fit", *(f"--config={layer}" for layer in config_layers(run, scale)), *overrides])


def find_clip(name: str) -> Clip:
    """Builds a CLIP without content, as its scale configures it; if no scale does, as in its weights file.

    Args:
        name: Name or file, see ``find_weights``.

    Raises:
        UsageError: If there is neither a configuration nor a weights file.
    """
    scale, _, run_name = name.rpartition("/")
    with WithoutContent():
        for run in [] if name.endswith(".safetensors") else all_runs(scale):
            if run.name == run_name:
                return Clip(**model_settings(run, scale)["clip"]["init_args"])
        return from_config(read_config(find_weights(name)))


def batch_of(data: Any) -> Any:
    """Returns a batch in the format of a datamodule, with zeros for pixels.

    Raises:
        UsageError: If the configuration does not give the size of the pictures.
    """
    if hasattr(data, "video"):
        return {"video": batch_of(data.video), "image": batch_of(data.image)}
    size = data.crop_size or data.image_size
    if size is None:
        raise UsageError(
            "--data.image_size is not set: pictures keep their own sizes, which are not known; set it"
        )
    num_frames = data.choose.num_frames if data.kind == "video" else 1
    frames = torch.zeros(num_frames, 3, size, size, dtype=torch.uint8)
    return data.collate([{"frames": frames, "fps": 8.0, "text": CAPTION}] * data.batch_size)


def batch_size_of(data: Any) -> int:
    """Returns the number of samples in a batch; where images are mixed with videos, of videos."""
    return batch_size_of(data.video) if hasattr(data, "video") else data.batch_size


def fill(module: nn.Module) -> None:
    """Replaces all parameters and buffers by new tensors of the same shapes and strides.

    Within ``FakeTensorMode`` they have no content. Shared tensors stay shared.
    """
    made: dict[int, Tensor] = {}

    def like(tensor: Tensor) -> Tensor:
        if id(tensor) not in made:
            new = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)
            is_weight = isinstance(tensor, nn.Parameter)
            made[id(tensor)] = nn.Parameter(new, tensor.requires_grad) if is_weight else new
        return made[id(tensor)]

    for child in module.modules():
        for held in (child._parameters, child._buffers):
            for name, tensor in held.items():
                if tensor is not None:
                    held[name] = like(tensor)  # type: ignore[assignment]
