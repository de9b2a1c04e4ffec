"""Networks whose features and logits videos are measured by: their files, input contracts and settings."""

from .micro import MicroVideoNetwork
from .network import FeatureNetwork, load_features
from .registry import FEATURES, Input, Spec, features_folder, find_features

__all__ = [
    "FEATURES",
    "FeatureNetwork",
    "Input",
    "MicroVideoNetwork",
    "Spec",
    "features_folder",
    "find_features",
    "load_features",
]
