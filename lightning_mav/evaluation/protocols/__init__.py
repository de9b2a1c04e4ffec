"""Published protocols: which videos are generated for a benchmark, and how they are measured."""

from .items import Item, Protocol
from .msrvtt import MsrVtt
from .prompts import Prompts
from .settings import Settings, load_settings
from .ucf101 import Ucf101

PROTOCOLS: dict[str, type[Protocol]] = {kind.name: kind for kind in (Ucf101, MsrVtt, Prompts)}

__all__ = ["PROTOCOLS", "Item", "MsrVtt", "Prompts", "Protocol", "Settings", "Ucf101", "load_settings"]
