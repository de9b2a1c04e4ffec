"""LightningCLI for ``mav train``: resumes by itself and writes the weights when a run is done."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import instantiate_class
from torch import Tensor

from ..utils.configured import ForeignClassError, check_config, from_config, own_modules
from ..utils.errors import UsageError, first_line, writing
from ..utils.shards import whole_tensors
from ..weights import read_config, read_training, save_weights
from .checkpoints import read_newest
from .checks import is_first_process
from .fit import MavCLI
from .folders import RunFolders
from .plan.build import WithoutContent
from .runs import Run
from .sharding.files import read_whole


class AlreadyFinished(Exception):  # noqa: N818 - it is no error
    """There is nothing left to train."""


class TrainCLI(MavCLI):
    """Fits one run, from its newest checkpoint on.

    Args:
        args: Arguments of the ``fit`` subcommand.
        run: Stage and phase.
        weights: File that receives the weights.
        fresh: Whether to start over: an old run is moved aside once everything is built, and no checkpoint is
            resumed from.

    Raises:
        AlreadyFinished: If the weights exist and were trained for the number of steps asked for, or do not
            record their number.
    """

    checkpoint_names = ()

    def __init__(self, args: list[str], *, run: Run, weights: Path, fresh: bool = False) -> None:
        self.run = run
        self.fresh = fresh
        self.weights = weights
        self.step = 0
        super().__init__(args)

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Returns only the subcommand that is used: each one takes time to set up."""
        return {"fit": MavCLI.subcommands()["fit"]}

    def before_instantiate_classes(self) -> None:
        """Refuses what this command cannot do, and ends it if the run is finished."""
        super().before_instantiate_classes()
        config = self.config.fit
        root = Path(config.trainer.default_root_dir)
        if self.fresh and Path.cwd().is_relative_to(root.resolve()):
            raise UsageError(
                f"--fresh would move the folder aside that this command is in: name another than "
                f"--trainer.default_root_dir={root}"
            )
        if not self.fresh:
            self._check_imported()
        target = config.trainer.max_steps
        exported = 0 if self.fresh else _exported_step(self.weights)
        if exported is None:
            raise AlreadyFinished(
                f"{self.run.name} is finished: {self.weights} records no step, so it was not trained here; "
                "pass --fresh to move it aside and train"
            )
        if 0 < target <= exported:
            raise AlreadyFinished(
                f"{self.run.name} is finished at step {exported}: raise --trainer.max_steps or pass --fresh"
            )

    def _check_imported(self) -> None:
        """Ends a run whose result is not needed, since weights from elsewhere are there for a later phase."""
        for path in (self.weights.with_name(f"{name}.safetensors") for name in self.run.names_after):
            with suppress(UsageError):  # a damaged one is that run's affair
                if path.exists() and _exported_step(path) is None:
                    raise AlreadyFinished(
                        f"{self.run.name} is not needed: {path} records no step, so it was not trained here; "
                        "pass --fresh to train all the same"
                    )

    def run_folders(self) -> RunFolders:
        """Returns the folders that this run writes to."""
        folders = super().run_folders()
        folders.weights = self.weights
        return folders

    def after_instantiate_classes(self) -> None:
        """Finds what to resume from, says what is about to be done, and moves an old run aside.

        Refuses a run that could not be resumed, or whose weights could not be loaded afterwards.
        """
        super().after_instantiate_classes()
        try:
            check_config(self.model.model)
        except ValueError as error:
            raise UsageError(f"{self.run.name} could not be loaded once it is trained: {error}") from error
        config = self.config.fit
        where = config.checkpoint.dirpath
        saver = self.trainer.checkpoint_callback
        if self.folders is not None and isinstance(saver, ModelCheckpoint) and not saver.save_weights_only:
            self.folders.check_room(self.model, saver.save_top_k, fresh=self.fresh)
        if self.fresh and self.folders is not None:
            old = self.folders.run.resolve()
            if config.ckpt_path and Path(config.ckpt_path).resolve().is_relative_to(old):
                raise UsageError(
                    f"--fresh moves {self.folders.run} aside, and {config.ckpt_path} with it: copy that "
                    "elsewhere, or leave --fresh out"
                )
            self.folders.move_aside()
        if self.checkpoint is None and where and not self.fresh and (found := read_newest(Path(where))):
            path, self.checkpoint = found
            config.ckpt_path = self.config_init["fit"]["ckpt_path"] = str(path)
            self.check_checkpoint()
        if self.checkpoint is not None:
            self.step = self.checkpoint["global_step"]
        if is_first_process():
            start = (
                f"resuming {self.run.name} from step {self.step}"
                if self.step
                else f"training {self.run.name}"
            )
            steps = config.trainer.max_steps
            goal = f" to step {steps}" if steps > self.step else "; it has all steps" if steps > 0 else ""
            print(f"{start}{goal} in {config.trainer.default_root_dir}", flush=True)
            for module in own_modules(self.model.model.config):
                print(
                    f"what loads its weights needs --import {module}, which defines classes of it", flush=True
                )

    def check_checkpoint(self) -> None:
        """Refuses a checkpoint of another network or optimizer.

        Raises:
            UsageError: If the checkpoint was made with another network or optimizer.
        """
        super().check_checkpoint()
        if self.checkpoint is None:
            return
        optimizer = self.config.fit.optimizer
        params = [torch.zeros(1)]
        made = (
            instantiate_class(params, optimizer.as_dict())
            if optimizer
            else self.model.optimizer_class(params)
        )
        saved = self.checkpoint["optimizer_states"][0]
        if not made.param_groups[0].keys() <= saved["param_groups"][0].keys():
            raise self.made_otherwise("optimizer")

    def made_otherwise(self, changed: str) -> UsageError:
        """Returns the error for a checkpoint that does not fit the settings."""
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
            path = Path(str(ckpt_path))
            found = read_whole(path, only=("state_dict",)) if path.is_dir() else self.checkpoint
            model.load_state_dict(found["state_dict"])
        else:
            # Not as an argument: a stage's setup checks whether a checkpoint will be loaded.
            trainer.ckpt_path = ckpt_path
            try:
                trainer.fit(model, **kwargs)
            except BaseException as error:
                if self.folders is not None and not trainer.global_step:
                    self.folders.put_back()
                if isinstance(error, ValueError) and "loaded state dict" in str(error):
                    raise self.made_otherwise("choice of what is trained (--model.trainable)") from error
                optimizer = self.config.fit.optimizer
                if isinstance(error, RuntimeError) and optimizer and trainer.global_step == self.step:
                    why = str(error).partition("\n")[0]
                    raise UsageError(
                        f"--optimizer={optimizer.class_path}: cannot train this ({why})"
                    ) from error
                raise
            self.step = trainer.global_step
        if self.config.fit.trainer.fast_dev_run:
            return
        tensors = whole_tensors(model.model, keep=trainer.is_global_zero) if model.is_sharded else None
        if trainer.is_global_zero:
            self._write_weights(model, tensors)

    def _write_weights(self, model: Any, tensors: dict[str, Tensor] | None) -> None:
        if not self.step:
            raise UsageError(
                "no step was trained, so there are no weights to write: see --trainer.limit_* and max_*"
            )
        training, dtype = {"run": self.run.name, "step": self.step}, self.config.fit.weights_dtype
        try:
            with writing(self.weights, "make room and start again: all steps are in the checkpoint"):
                save_weights(model.model, self.weights, training=training, dtype=dtype, tensors=tensors)
        except ValueError as error:
            raise UsageError(
                f"cannot write {self.weights}: {error}: the same command with --weights_dtype writes it "
                "from the last checkpoint"
            ) from error
        print(f"wrote {self.weights}", flush=True)


def are_started_side_by_side() -> bool:
    """Whether torchrun or srun has started several processes, none of which can wait for the others yet."""
    with_srun = SLURMEnvironment.detect() and os.environ["SLURM_NTASKS"] != "1"
    return with_srun or TorchElasticEnvironment.detect()


def _exported_step(path: Path) -> int | None:
    """Returns for how many steps a weights file was trained: 0 if it is missing, None if it records none.

    Raises:
        UsageError: If the file is not usable, because it is damaged or its module cannot be rebuilt: it may
            not be ours, so it is not overwritten.
    """
    if not path.exists():
        return 0
    try:
        step = read_training(path).get("step")
        # Classes of your own may not be imported yet.
        with suppress(ForeignClassError), WithoutContent():
            from_config(read_config(path))
    except (UsageError, AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        why = first_line(error.__cause__ or error)
        raise UsageError(
            f"{path} is not usable ({why}): move it away, or pass --fresh, which moves it aside"
        ) from error
    return step if isinstance(step, int) else None
