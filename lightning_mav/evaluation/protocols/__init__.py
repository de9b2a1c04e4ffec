"""Protocols of published benchmarks: what is generated, against what it is compared, and by which metrics."""

from .items import Item, Protocol
from .msrvtt import MsrVtt
from .prompts import PromptFile
from .settings import ProtocolSettings, load_settings
from .ucf101 import Ucf101

PROTOCOLS: dict[str, type[Protocol]] = {kind.name: kind for kind in (Ucf101, MsrVtt, PromptFile)}

__all__ = [
    "PROTOCOLS",
    "Item",
    "MsrVtt",
    "PromptFile",
    "Protocol",
    "ProtocolSettings",
    "Ucf101",
    "load_settings",
]
