"""Medium-light skin is lighter than medium skin, however a package names its pictures."""

import numpy as np
import pytest
from PIL import Image

from lightning_mav.worlds.emoji.tones import mend_tones

LIGHT, MEDIUM_LIGHT, MEDIUM, DARK = "1f3fb", "1f3fc", "1f3fd", "1f3ff"
GREYS = {LIGHT: 220, MEDIUM_LIGHT: 180, MEDIUM: 140, DARK: 60}


def write_stills(folder, thing, *, exchanged):
    """One picture of each tone, as bright as the tone, or with the two in the middle exchanged."""
    stills = {}
    for tone in GREYS:
        shown = {MEDIUM_LIGHT: MEDIUM, MEDIUM: MEDIUM_LIGHT}.get(tone, tone) if exchanged else tone
        path = folder / f"{thing}-{tone}.webp"
        pixels = np.full((16, 16, 4), [*[GREYS[shown]] * 3, 255], np.uint8)
        Image.fromarray(pixels).save(path, lossless=True)
        stills[f"{thing}-{tone}"] = path
    return stills


def brightness(path):
    return int(np.asarray(Image.open(path).convert("L"))[0, 0])


@pytest.mark.parametrize("exchanged", [True, False])
def test_tones_become_ordered_and_stay_so(tmp_path, exchanged):
    stills = write_stills(tmp_path, "1f44b", exchanged=exchanged)
    mended = mend_tones(stills)
    assert [brightness(mended[f"1f44b-{tone}"]) for tone in GREYS] == list(GREYS.values())
    assert mend_tones(mended) == mended
    assert sorted(mended.values()) == sorted(stills.values())
    assert (mended == stills) is not exchanged


def test_each_thing_by_itself_and_people_of_several_tones_with_it(tmp_path):
    stills = write_stills(tmp_path, "1f44b", exchanged=True) | write_stills(
        tmp_path, "1f44d", exchanged=False
    )
    for first, second in ((MEDIUM_LIGHT, DARK), (MEDIUM, DARK)):
        code = f"1f44b-{first}-200d-1f44b-{second}"
        stills[code] = tmp_path / f"{code}.webp"
        stills[code].write_bytes(stills[f"1f44d-{first}"].read_bytes())
    for tone in (MEDIUM_LIGHT, MEDIUM):  # the pair has tones of its own, and these are exchanged
        stills[f"1f44b-{tone}-200d-1f44b-{tone}"] = stills[f"1f44b-{tone}"]
    mended = mend_tones(stills)
    assert all(mended[code] == stills[code] for code in stills if code.startswith("1f44d"))
    pair = "1f44b-{}-200d-1f44b-" + DARK
    assert mended[pair.format(MEDIUM)] == stills[pair.format(MEDIUM_LIGHT)]


def test_a_tone_without_the_other_stays(tmp_path):
    stills = write_stills(tmp_path, "1f44b", exchanged=True)
    del stills[f"1f44b-{MEDIUM}"]
    assert mend_tones(stills) == stills
