"""Feature networks that metrics use: where their files are and what input they take."""

from .emoji import EmojiJudge
from .micro import MicroVideoNetwork
from .network import FeatureNetwork, load_features
from .registry import FEATURES, InputContract, Spec, features_folder, find_features

__all__ = [
    "FEATURES",
    "EmojiJudge",
    "FeatureNetwork",
    "InputContract",
    "MicroVideoNetwork",
    "Spec",
    "features_folder",
    "find_features",
    "load_features",
]
