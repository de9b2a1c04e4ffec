"""Which animations training never sees, so that their truth can be compared with what is generated.

Three kinds are hidden. *Things*: no tone of the thing is seen moving. *Tones*: other tones of the thing are.
*Validation*: things to choose settings by, so that the first two are looked at only for reports.
"""

from collections.abc import Iterable
from random import Random

from .names import thing_of

SEEN, THINGS, TONES_HIDDEN, VALIDATION = "seen", "hidden thing", "hidden tone", "validation"


def split(
    codes: Iterable[str], *, things: float, tones: float, validation: float, seed: int
) -> dict[str, str]:
    """Says for each animated emoji whether it is seen, or how it is hidden.

    Args:
        codes: Codes of all animated emoji.
        things: Share of the things that are hidden wholly. Things with tones and things without are drawn
            each by themselves, so that both have this share.
        tones: Share of the other things with tones, of which one or two tones are hidden.
        validation: Share of the things that are kept for choosing.
        seed: Decides what is drawn.

    Returns:
        ``SEEN``, ``THINGS``, ``TONES_HIDDEN`` or ``VALIDATION`` by code.
    """
    by_thing: dict[str, list[str]] = {}
    for code in sorted(codes):
        by_thing.setdefault(thing_of(code), []).append(code)
    rng, kinds = Random(seed), dict.fromkeys((code for codes in by_thing.values() for code in codes), SEEN)
    for with_tones in (False, True):
        pool = [thing for thing, own in by_thing.items() if (len(own) > 1) == with_tones]
        rng.shuffle(pool)
        first, second = round(things * len(pool)), round((things + validation) * len(pool))
        for kind, chosen in ((THINGS, pool[:first]), (VALIDATION, pool[first:second])):
            kinds.update((code, kind) for thing in chosen for code in by_thing[thing])
        if with_tones:
            rest = pool[second:]
            for thing in rest[: round(tones * len(rest))]:
                toned = [code for code in by_thing[thing] if code != thing]
                kinds.update((code, TONES_HIDDEN) for code in rng.sample(toned, rng.randint(1, 2)))
    return kinds
