"""Mends skin tones that a package of stills has the wrong way round.

In ``@lobehub/fluent-emoji-3d`` 1.1.0 the pictures of medium-light and of medium skin are exchanged: in 288 of
297 pairs the one that is called medium is the lighter one. The animations of the same things have them right.
"""

from pathlib import Path

import numpy as np

from ...data.codecs.animations import read_animation
from .names import TONES, thing_of
from .packages import usable

MEDIUM_LIGHT, MEDIUM = "1f3fc", "1f3fd"


def mend_tones(stills: dict[str, Path]) -> dict[str, Path]:
    """Returns the file of each still by code, so that medium-light skin is lighter than medium skin.

    Where one tone of a thing is exchanged, so are those of its pictures that show several people.
    """
    wrong = set()
    for code, path in stills.items():
        other = stills.get(code.replace(MEDIUM_LIGHT, MEDIUM))
        if _tones(code) == {MEDIUM_LIGHT} and other and _brightness(path) < _brightness(other):
            wrong.add(thing_of(code))
    return {
        code: stills.get(_exchanged(code), path) if thing_of(code) in wrong else path
        for code, path in stills.items()
    }


def _tones(code: str) -> set[str]:
    return {part for part in code.split("-") if part in TONES}


def _exchanged(code: str) -> str:
    other = {MEDIUM_LIGHT: MEDIUM, MEDIUM: MEDIUM_LIGHT}
    return "-".join(other.get(part, part) for part in code.split("-"))


def _brightness(path: Path) -> float:
    with usable(path):
        frames, _ = read_animation(path.read_bytes())
    return float(np.mean(frames[0]))
