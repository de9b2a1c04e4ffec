"""Example prompts for the page: some that the weights are known to draw well."""

from collections.abc import Sequence

from ..prompts import KnownPrompts

MOST = 6
# Checked by eye with the shipped weights. The page offers those that its weights know.
TRIED = ("ghost", "a red car", "whale", "balloon", "a red heart", "rocket", "butterfly", "clown face")
# For the micro-world: its weights list no names.
SHAPES = ("a large red ball", "a large purple ring", "a small green square", "a large yellow triangle")


def examples_of(known: KnownPrompts) -> Sequence[str]:
    """Returns prompts that the weights know: those of ``TRIED``, or other names if none of these is known."""
    if not known.names:
        return SHAPES
    names = {name.casefold() for name in known.names}
    tried = [text for text in TRIED if text.removeprefix("a ").casefold() in names]
    return (tried or known.names[:: max(1, len(known.names) // MOST)])[:MOST]
