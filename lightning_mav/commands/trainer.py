"""LightningCLI for ``mav train``: resumes by itself and writes the weights when a run is done."""

import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from lightning.pytorch.cli import instantiate_class
from lightning.pytorch.utilities import rank_zero_only

from ..configured import check_config, own_modules
from ..errors import UsageError
from ..weights import read_training, save_weights
from .checkpoints import read_newest
from .fit import MavCLI
from .runs import Run


class AlreadyFinished(Exception):  # noqa: N818 - it is no error
    """There is nothing left to train."""


class TrainCLI(MavCLI):
    """Fits one run, from its newest checkpoint on.

    Args:
        args: Arguments of the ``fit`` subcommand.
        run: Stage and phase.
        weights: File that receives the weights.
        fresh: Whether to leave checkpoints alone, wherever they are.

    Raises:
        AlreadyFinished: If the weights are there and were trained for as many steps as asked for, or do not
            say for how many.
    """

    def __init__(self, args: list[str], *, run: Run, weights: Path, fresh: bool = False) -> None:
        self.run = run
        self.fresh = fresh
        self.weights = weights
        self.step = 0
        self.checkpoint: dict[str, Any] | None = None
        super().__init__(args)

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Returns the one that is used: each costs its time."""
        return {"fit": MavCLI.subcommands()["fit"]}

    def before_instantiate_classes(self) -> None:
        """Finds what to resume from."""
        super().before_instantiate_classes()
        config = self.config.fit
        strategy = str(config.trainer.strategy)
        if strategy.endswith(("_spawn", "_fork", "_notebook")):
            raise UsageError(f"--trainer.strategy={strategy} keeps the weights to its processes: use ddp")
        if any(name in strategy.lower() for name in ("fsdp", "deepspeed", "modelparallel")):
            raise UsageError(
                f"--trainer.strategy={strategy} shards the network, which its average (--ema) and Muon are "
                "not made for: use ddp, with --model.unet.checkpoint=true if memory is short"
            )
        target = config.trainer.max_steps
        exported = _exported_step(self.weights)
        if exported is None:
            raise AlreadyFinished(
                f"{self.run.name} is finished: {self.weights} records no step, so it was not trained here; "
                "pass --fresh to move it aside and train"
            )
        if 0 < target <= exported:
            raise AlreadyFinished(
                f"{self.run.name} is finished at step {exported}: raise --trainer.max_steps or pass --fresh"
            )
        where = config.checkpoint.dirpath
        if config.ckpt_path is None and where and not self.fresh and (found := read_newest(Path(where))):
            path, self.checkpoint = found
            config.ckpt_path = str(path)
            self.step = self.checkpoint["global_step"]

    def after_instantiate_classes(self) -> None:
        """Says what is about to be done; refuses what could not be gone on from or loaded afterwards."""
        self._check_checkpoint()
        try:
            check_config(self.model.model)
        except ValueError as error:
            raise UsageError(f"{self.run.name} could not be loaded once it is trained: {error}") from error
        if is_first_process():
            config = self.config.fit.trainer
            start = (
                f"resuming {self.run.name} from step {self.step}"
                if self.step
                else f"training {self.run.name}"
            )
            goal = f" to step {config.max_steps}" if config.max_steps > 0 else ""
            print(f"{start}{goal} in {config.default_root_dir}", flush=True)
            for module in own_modules(self.model.model.config):
                print(
                    f"what loads its weights needs --import {module}, which defines classes of it", flush=True
                )

    def _check_checkpoint(self) -> None:
        if self.checkpoint is None:
            return
        optimizer = self.config.fit.optimizer
        params = [torch.zeros(1)]
        made = (
            instantiate_class(params, optimizer.as_dict())
            if optimizer
            else self.model.optimizer_class(params)
        )
        settings = made.param_groups[0].keys()
        if _shapes(self.checkpoint["state_dict"]) != _shapes(self.model.state_dict()):
            changed = "network"
        elif not settings <= self.checkpoint["optimizer_states"][0]["param_groups"][0].keys():
            changed = "optimizer"
        else:
            return
        raise self._made_otherwise(changed)

    def _made_otherwise(self, changed: str) -> UsageError:
        config = self.config.fit
        return UsageError(
            f"{config.ckpt_path} was made with another {changed}: keep to the settings in"
            f" {config.trainer.default_root_dir}/config.yaml, or pass --fresh to start over"
        )

    def fit(self, model: Any, ckpt_path: str | None = None, **kwargs: Any) -> None:
        """Trains and writes the weights, which are the averaged ones."""
        trainer = self.trainer
        if self.checkpoint and 0 < trainer.max_steps <= self.step:
            # All steps are done but the weights are missing; a checkpoint's state_dict holds the average.
            model.load_state_dict(self.checkpoint["state_dict"])
        else:
            # Not as an argument: a stage's setup asks whether there is a checkpoint to come.
            trainer.ckpt_path = ckpt_path
            try:
                trainer.fit(model, **kwargs)
            except ValueError as error:
                if "loaded state dict" not in str(error):
                    raise
                raise self._made_otherwise("choice of what is trained (--model.trainable)") from error
            self.step = trainer.global_step
        if trainer.is_global_zero and not self.config.fit.trainer.fast_dev_run:
            training = {"run": self.run.name, "step": self.step}
            dtype = self.config.fit.weights_dtype
            try:
                save_weights(model.model, self.weights, training=training, dtype=dtype)
            except ValueError as error:
                raise UsageError(
                    f"cannot write {self.weights}: {error}: the same command with --weights_dtype writes it "
                    "from the last checkpoint"
                ) from error
            print(f"wrote {self.weights}", flush=True)


def _shapes(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}


def is_first_process() -> bool:
    """Whether this is the process that speaks, of the several that a strategy or a cluster may start."""
    rank = getattr(rank_zero_only, "rank", 0)  # Lightning's, of what any launcher says
    return rank == 0 and os.environ.get("NODE_RANK", "0") == "0"


def are_started_side_by_side() -> bool:
    """Whether torchrun or srun has started several processes, none of which can wait for the others yet."""
    with_srun = SLURMEnvironment.detect() and os.environ["SLURM_NTASKS"] != "1"
    return with_srun or TorchElasticEnvironment.detect()


def _exported_step(path: Path) -> int | None:
    """Returns for how many steps a weights file was trained: 0 if it is missing, None if it records none.

    Raises:
        UsageError: If there is a file that is not usable, which might be another's and is not written over.
    """
    if not path.exists():
        return 0
    try:
        step = read_training(path).get("step")
    except UsageError as error:
        raise UsageError(
            f"{path} is not usable ({error.__cause__}): move it away, or pass --fresh, which moves it aside"
        ) from error
    return step if isinstance(step, int) else None
