"""Weights that others have trained, for our networks: every tensor has its place, and none is left over."""

from .karlo import PARTS, Imported, Text, import_karlo

__all__ = ["PARTS", "Imported", "Text", "import_karlo"]
