"""Imports weights of other projects into our networks; no tensor may be missing or left over."""

from .karlo import PARTS, TOLERANCE, Imported, Text, import_karlo
from .reading import check_fit, check_room, read_tensors

__all__ = [
    "PARTS",
    "TOLERANCE",
    "Imported",
    "Text",
    "check_fit",
    "check_room",
    "import_karlo",
    "read_tensors",
]
