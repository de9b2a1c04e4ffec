"""Measures what a cascade has learnt of a world; of the micro-world, with detectors that read its videos."""

from ..intervals import wilson
from .micro import LAST_STAGE, Evaluation, evaluate_micro
from .prompts import Prompts, choose_prompts
from .scores import Reading, figures, read, read_truth, score
from .settings import MicroSettings, load_micro_settings

__all__ = [
    "LAST_STAGE",
    "Evaluation",
    "MicroSettings",
    "Prompts",
    "Reading",
    "choose_prompts",
    "evaluate_micro",
    "figures",
    "load_micro_settings",
    "read",
    "read_truth",
    "score",
    "wilson",
]
