"""``mav fit|validate``: LightningCLI with this project's callbacks and error messages."""

import argparse
import logging
import os
import re
import warnings
from typing import Literal

import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

from ..errors import UsageError
from ..precision import precision_name
from ..shards.parallel import num_cores
from .arguments import CommandParser, add_import
from .callbacks import DataMonitor, OwnRates, StepSeed
from .checkpoints import Checkpoint
from .explain import explain

# Warnings and messages of Lightning's that say nothing about this project's use of it.
QUIET = (
    "isinstance.treespec, LeafSpec",  # its own use of torch
    "does not have many workers",  # shards are read by one worker or none on small machines, by choice
    "Your `IterableDataset` has `__len__` defined",  # for validation, which reads in this process
    "Checkpoint directory .* exists and is not empty",  # that is what resuming looks like
    "You're resuming from a checkpoint that ended before the epoch ended",  # there is one endless epoch
    "is not supported by the model summary",
    "configure_optimizers` will be overridden",  # that is what --optimizer is for
    "Experiment logs directory .* exists",
    "GPU available|TPU available|Seed set to|Using .* Automatic Mixed Precision|LOCAL_RANK",
    "Tip: |stopped: `max_steps|Found current_model_state|states from the checkpoint",
)


class MavCLI(LightningCLI):
    """LightningCLI whose checkpoint and average are keys of their own (``--ema.decay=0.999``).

    Args:
        args: The subcommand and its arguments.
    """

    def __init__(self, args: list[str]) -> None:
        for message in QUIET:
            warnings.filterwarnings("ignore", message=f".*({message})")
        for name in ("lightning.pytorch", "lightning.fabric"):
            for handler in logging.getLogger(name).handlers:
                handler.addFilter(lambda record: not re.search("|".join(QUIET), record.getMessage()))
        kwargs = {"parser_mode": "omegaconf", "exit_on_error": False}
        super().__init__(
            args=args,
            parser_kwargs={**kwargs, **{name: dict(kwargs) for name in self.subcommands()}},
            save_config_kwargs={"overwrite": True},
            seed_everything_default=0,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds the callbacks that every run has, whether its network is compiled and how it is stored."""
        parser.add_lightning_class_args(Checkpoint, "checkpoint")
        parser.add_lightning_class_args(EMAWeightAveraging, "ema")
        parser.add_argument(
            "--compile", type=bool, default=False, help="Compile the network (torch.compile)."
        )
        parser.add_argument(
            "--weights_dtype",
            type=Literal["fp16", "bf16", "fp32"],
            default="fp32",
            help="How the weights file stores numbers.",
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parses; a mistake becomes one line that says which keys exist."""
        try:
            self.config = parser.parse_args(args)  # type: ignore[arg-type]
        except argparse.ArgumentError as error:
            command = args[0] if isinstance(args, list) and args[0] in self._subcommand_parsers else "fit"
            keys = [action.dest for action in self._subcommand_parsers[command]._actions]
            raise UsageError(explain(str(error), keys)) from error

    def _parse_ckpt_path(self) -> None:
        # LightningCLI would let the hyperparameters in the checkpoint overrule the command line.
        if self.config["subcommand"] != "fit":
            super()._parse_ckpt_path()

    def before_instantiate_classes(self) -> None:
        """Chooses what the configuration leaves to the machine: arithmetic and threads."""
        config = self.config[self.config["subcommand"]]
        config.weights_only = True  # of a checkpoint: no pickled code
        if config.trainer.enable_progress_bar is False:  # None is the default, which shows it
            bars = ("ProgressBar",)
            config.trainer.callbacks = [
                c for c in config.trainer.callbacks if not c.class_path.endswith(bars)
            ]
        self.trainer_defaults["callbacks"] = [
            StepSeed(int(config.seed_everything)),
            DataMonitor(),
            OwnRates(),
        ]
        on_gpu = torch.cuda.is_available() and config.trainer.accelerator in ("auto", "gpu", "cuda")
        if config.trainer.precision is None:
            config.trainer.precision = precision_name("cuda" if on_gpu else "cpu")
        if "OMP_NUM_THREADS" not in os.environ:
            devices = config.trainer.devices
            shares = int(devices) if str(devices).isdigit() and not on_gpu else 1
            torch.set_num_threads(max(1, num_cores() // shares))

    def instantiate_classes(self) -> None:
        """Builds everything; a value that a constructor refuses is the user's mistake."""
        try:
            super().instantiate_classes()
        except ValueError as error:
            raise UsageError(explain(str(error), [])) from error
        if self.config[self.config["subcommand"]].compile:
            # In place: names in checkpoints stay, and copies (the average, a deep copy) are not compiled.
            trained = self.model.model
            getattr(trained, "net", trained).compile()


def main(argv: list[str]) -> None:
    """Runs a LightningCLI subcommand; ``argv`` begins with its name."""
    parser = CommandParser(add_help=False, allow_abbrev=False)
    add_import(parser)
    MavCLI(parser.parse_known_args(argv)[1])
