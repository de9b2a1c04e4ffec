"""Hides the messages of Lightning that are of no use here."""

import logging
import re
import warnings

# Warnings and messages of Lightning that do not matter to users of this project.
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
    "Total length of `list` across ranks is zero",  # of the loaders of a run that validates on nothing
    "Tip: |stopped: `max_steps|Found current_model_state|states from the checkpoint",
)


def hush_lightning() -> None:
    """Hides the messages in ``QUIET``."""
    for message in QUIET:
        warnings.filterwarnings("ignore", message=f".*({message})")
    for name in ("lightning.pytorch", "lightning.fabric"):
        for handler in logging.getLogger(name).handlers:
            handler.addFilter(lambda record: not re.search("|".join(QUIET), record.getMessage()))
