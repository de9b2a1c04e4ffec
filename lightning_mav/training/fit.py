"""LightningCLI with this project's callbacks and error messages."""

import argparse
import atexit
import signal
import threading
from pathlib import Path
from typing import Any, Literal

import torch
from jsonargparse.typing import PositiveInt
from lightning import Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.plugins.io import CheckpointIO
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from ..nn.old_names import rename_old
from ..utils.errors import UsageError
from ..utils.numbers import check_number
from ..utils.paths import expanded
from ..utils.precision import precision_name
from ..utils.settings import UNREADABLE
from ..utils.threads import share_threads
from .average import EMA
from .callbacks import DataMonitor, OwnRates, StepSeed, StopOnSignal
from .checkpoints import Checkpoint, CheckpointFiles, check_remote, read_checkpoint
from .checks import (
    check_average,
    check_filename,
    check_processes,
    check_settings,
    is_first_process,
    is_on_processor,
)
from .compiling import PlainValidation, compile_network
from .explain import DISK, blame, explain, refusals_explained, utf8_files
from .folders import RunFolders, local_folder
from .quiet import hush_lightning
from .save_config import SaveConfig
from .sharding import FSDP2Strategy
from .sharding.settings import add_sharing, check_strategy, share_among_devices
from .speed import SpeedMonitor


class MavCLI(LightningCLI):
    """LightningCLI whose checkpoint and average are keys of their own (``--ema.decay=0.999``).

    Args:
        args: The subcommand and its arguments.
    """

    # What --ckpt_path may say instead of a path.
    checkpoint_names: tuple[str, ...] = ("best", "last", "hpc", "registry")
    folders: RunFolders | None = None
    checkpoint: dict[str, Any] | None = None

    def __init__(self, args: list[str]) -> None:
        hush_lightning()
        kwargs = {"parser_mode": "omegaconf", "exit_on_error": False}
        try:
            super().__init__(
                args=args,
                parser_kwargs={**kwargs, **{name: dict(kwargs) for name in self.subcommands()}},
                save_config_callback=SaveConfig,
                seed_everything_default=0,
            )
        finally:  # also after an error: another training may use the folders now
            if self.folders is not None:
                self.folders.release()

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds the options that belong to neither the trainer, nor the stage, nor its data."""
        parser.add_lightning_class_args(Checkpoint, "checkpoint")
        parser.add_lightning_class_args(EMA, "ema")
        parser.add_argument(
            "--compile",
            type=bool | Literal["norms"],
            default=False,
            help="Compile the network's blocks (torch.compile), or its norms alone, which starts sooner.",
        )
        add_sharing(parser)
        parser.add_argument(
            "--weights_dtype",
            type=Literal["fp16", "bf16", "fp32"],
            default="fp32",
            help="How the weights file stores numbers.",
        )
        parser.add_argument(
            "--num_threads",
            type=PositiveInt | None,
            default=None,
            help="Threads of each process, unless OMP_NUM_THREADS is set (default: all cores, shared).",
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parses; a mistake becomes one line that says which keys exist."""
        try:
            with utf8_files():
                self.config = parser.parse_args(args)  # type: ignore[arg-type]
            seed = self.config[self.config["subcommand"]].seed_everything
            seed = int(seed) if isinstance(seed, bool) else seed
            check_number("seed_everything", seed, 0, 2**32 - 1)  # what numpy takes
        except (argparse.ArgumentError, SystemExit, *UNREADABLE) as error:
            if (reason := blame(error)) is not None:
                raise UsageError(reason) from error
            if isinstance(error, SystemExit):  # of --help and --print_config
                raise
            command = args[0] if isinstance(args, list) and args[0] in self._subcommand_parsers else "fit"
            keys = [action.dest for action in self._subcommand_parsers[command]._actions]
            raise UsageError(explain(str(error), keys)) from error

    def _parse_ckpt_path(self) -> None:
        """Reads the checkpoint that is named, if it is a file of this machine."""
        name = self.config[self.config["subcommand"]].ckpt_path
        if name is not None and name not in self.checkpoint_names and "://" not in str(name):
            self.checkpoint = read_checkpoint(Path(name))
        elif "://" in str(name):
            check_remote(str(name))
        # LightningCLI would let the hyperparameters in the checkpoint overrule the command line.
        if self.config["subcommand"] != "fit":
            try:
                super()._parse_ckpt_path()
            except argparse.ArgumentError as error:
                raise UsageError(f"{name}: {explain(str(error), [])}") from error

    def _set_seed(self) -> None:
        try:
            super()._set_seed()
        except ValueError as error:
            raise UsageError(f"--seed_everything: {error}") from error

    def before_instantiate_classes(self) -> None:
        """Chooses what the configuration leaves to the machine: precision and number of threads."""
        config = self.config[self.config["subcommand"]]
        for section, key in ((config.trainer, "default_root_dir"), (config.checkpoint, "dirpath")):
            if section[key]:
                section[key] = expanded(str(section[key]))
        if not config.trainer.default_root_dir:
            config.trainer.default_root_dir = "."  # as Lightning takes it
        config.weights_only = True  # of a checkpoint: no pickled code
        left_out = []
        if config.trainer.enable_progress_bar is False:  # None is the default, which shows it
            left_out.append("ProgressBar")
        if config.trainer.logger is False or config.trainer.logger == []:
            left_out.append("LearningRateMonitor")
        callbacks = config.trainer.callbacks or []
        callbacks = callbacks if isinstance(callbacks, list) else [callbacks]
        config.trainer.callbacks = [c for c in callbacks if not c.class_path.endswith(tuple(left_out))]
        self.stop = StopOnSignal()
        own: list[Callback] = [StepSeed(int(config.seed_everything)), DataMonitor(), SpeedMonitor()]
        own += [OwnRates(), self.stop, *([PlainValidation()] if config.compile else [])]
        self.trainer_defaults["callbacks"] = own
        on_processor = is_on_processor(config.trainer.accelerator)
        if config.trainer.precision is None:
            on_gpu = torch.cuda.is_available() and config.trainer.accelerator in ("auto", "gpu", "cuda")
            config.trainer.precision = precision_name("cuda" if on_gpu else "cpu")
        check_settings(config.trainer, config.compile)
        check_average(config.ema, config.trainer.max_steps)
        check_strategy(config)
        devices = str(config.trainer.devices)
        num_processes = int(devices) if devices.isdecimal() and on_processor else 1
        num_threads = share_threads(num_processes, config.num_threads)
        if num_threads is not None:
            torch.set_num_threads(num_threads)

    def instantiate_classes(self) -> None:
        """Builds everything; reports a value that a constructor refuses as the user's mistake."""
        with refusals_explained():
            super().instantiate_classes()
        check_processes(self.trainer)
        config = self.config[self.config["subcommand"]]
        share_among_devices(self.trainer, self.datamodule, config)
        check_filename(self.trainer.checkpoint_callback)
        compile_network(self.model.model, config.compile)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Builds the trainer, which writes checkpoints by ``CheckpointFiles`` unless told otherwise."""
        plugins = self._get(self._get(self.config_init, "trainer"), "plugins") or []
        plugins = [*plugins] if isinstance(plugins, list) else [plugins]
        if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
            plugins.append(CheckpointFiles())
        config = self.config[self.config["subcommand"]]
        if config.trainer.strategy == "fsdp":
            kwargs["strategy"] = FSDP2Strategy(config.num_replicas)
        return super().instantiate_trainer(plugins=plugins, **kwargs)

    def after_instantiate_classes(self) -> None:
        """Refuses a checkpoint of another network, and locks the run's folders for this process."""
        self.check_checkpoint()
        fits = self.config["subcommand"] == "fit" and not self.config.fit.trainer.fast_dev_run
        if fits and is_first_process():
            self.folders = self.run_folders()
            self.folders.claim()

    def run_folders(self) -> RunFolders:
        """Returns the folders that this run writes to."""
        where = self.config.fit.checkpoint.dirpath
        return RunFolders(Path(self.config.fit.trainer.default_root_dir), local_folder(where))

    def check_checkpoint(self) -> None:
        """Refuses a checkpoint that this network cannot take.

        Raises:
            UsageError: If it was made with another network.
        """
        if self.checkpoint and _shapes(self.checkpoint["state_dict"]) != _shapes(self.model.state_dict()):
            raise self.made_otherwise("network")
        fits = self.config["subcommand"] == "fit"
        if self.checkpoint and fits and not self.checkpoint.get("optimizer_states"):
            raise UsageError(
                f"{self.config.fit.ckpt_path}: holds weights alone (--checkpoint.save_weights_only), so that "
                "training cannot go on from there: name another, or move it away to start over"
            )

    def made_otherwise(self, changed: str) -> UsageError:
        """Returns the error for a checkpoint that does not fit the settings."""
        path = self.config[self.config["subcommand"]].ckpt_path
        return UsageError(f"{path} was made with another {changed}: keep to the settings it was made with")

    def _run_subcommand(self, subcommand: str) -> None:
        """Runs it; reports in one line what Lightning refuses or what cannot be written."""
        show = threading.excepthook
        # TensorBoard writes in a thread; an error in it is raised again by the next call that writes.
        threading.excepthook = lambda args: None if issubclass(args.exc_type, OSError) else show(args)
        try:
            super()._run_subcommand(subcommand)
        except BaseException as error:
            launcher = self.trainer.strategy.launcher
            if isinstance(launcher, _SubprocessScriptLauncher):
                # At the very end: Lightning kills this process when it sees that another one was killed.
                atexit.register(launcher.kill, signal.SIGKILL)
            refuses = isinstance(error, ValueError) and not self.stop.has_begun
            if isinstance(error, MisconfigurationException) or refuses:
                raise UsageError(explain(str(error), [])) from error
            if isinstance(error, OSError) and error.errno in DISK:
                place = error.filename or self.config[subcommand].trainer.default_root_dir
                raise UsageError(
                    f"{place}: cannot be written ({error.strerror}); make room and start again: what is "
                    "saved is gone on from"
                ) from error
            raise
        finally:
            threading.excepthook = show


def _shapes(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Size]:
    names = rename_old(tensors)
    return {names[name]: tensor.shape for name, tensor in tensors.items()}
