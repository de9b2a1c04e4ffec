"""Prompts to begin with: some that the weights are known to show well."""

from collections.abc import Sequence

from ..prompts import KnownPrompts

MOST = 6
# Looked at, for the shipped weights: those that a folder of weights knows are offered.
TRIED = ("ghost", "a red car", "whale", "balloon", "a red heart", "rocket", "butterfly", "clown face")
# Of the world of shapes, whose weights name no prompts.
SHAPES = ("a large red ball", "a large purple ring", "a small green square", "a large yellow triangle")


def examples_of(known: KnownPrompts) -> Sequence[str]:
    """Returns prompts that weights know; names that they list, if none of the tried ones is among them."""
    if not known.names:
        return SHAPES
    names = {name.casefold() for name in known.names}
    tried = [text for text in TRIED if text.removeprefix("a ").casefold() in names]
    return (tried or known.names[:: max(1, len(known.names) // MOST)])[:MOST]
