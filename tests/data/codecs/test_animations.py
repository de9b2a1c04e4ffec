"""Animated pictures are read as a viewer shows them: every frame, on its ground, at its time."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFile

from helpers.emoji_packages import animation, frames
from lightning_mav.data.codecs.animations import measure, read_animation
from lightning_mav.data.codecs.kinds import HEAD_BYTES, may_be_animated


@pytest.mark.parametrize("kind", ["WEBP", "GIF", "PNG"])
@pytest.mark.parametrize("ground", [(255, 255, 255), (10, 200, 30)])
def test_frames_are_those_that_were_written_on_the_chosen_ground(kind, ground):
    data = animation("1f600", 7, kind=kind)
    pixels, ends = read_animation(data, ground)
    expected = []
    for frame in frames("1f600", 7):
        picture = Image.new("RGBA", frame.size, (*ground, 255))
        picture.alpha_composite(frame)
        expected.append(np.asarray(picture.convert("RGB")))
    difference = np.abs(pixels.astype(int) - np.stack(expected))
    assert difference.max() <= (8 if kind == "GIF" else 0)  # a palette rounds colours
    step = 40 if kind == "GIF" else 42  # GIF counts hundredths of a second
    assert ends.tolist() == [step * (index + 1) for index in range(7)]
    assert measure(data) == (7, pixels.shape[1])


def test_frames_have_their_own_times():
    durations = [42, 250, 30, 100]
    _, ends = read_animation(animation("1f600", 4, duration=durations))
    assert ends.tolist() == np.cumsum(durations).tolist()


def test_times_too_short_to_be_meant_are_those_of_browsers():
    _, ends = read_animation(animation("1f600", 3, duration=[0, 10, 20], kind="PNG"))
    assert ends.tolist() == [100, 200, 220]


def test_a_still_is_an_animation_of_one_frame():
    data = animation("1f600", 1)
    assert measure(data) == (1, 32)
    assert read_animation(data)[0].shape == (1, 32, 32, 3)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"", "no animation"),
        (lambda data: b"GIF89a" + bytes(20), "broken animation"),
        (lambda data: data[: len(data) // 2], "broken animation"),
        (lambda data: b"%PDF" + data, "no animation: a PDF"),
    ],
)
def test_what_is_no_animation_is_refused(damage, message):
    with pytest.raises(ValueError, match=message):
        read_animation(damage(animation("1f600")))


def test_animations_too_large_to_hold_are_refused_before_they_are_decoded(monkeypatch):
    from lightning_mav.data.codecs import animations

    data = animation("1f600", 5, kind="PNG")
    monkeypatch.setattr(animations, "MAX_PIXELS", 32 * 32 * 4)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(ValueError, match="too large: 5 frames of 32x32 pixels"):
        read_animation(data)


@pytest.mark.parametrize("kind", ["WEBP", "GIF", "PNG"])
def test_the_first_bytes_tell_animations_from_stills(kind):
    assert may_be_animated(animation("1f600", 3, kind=kind)[:HEAD_BYTES])
    stills = [animation("1f600", 1, kind=kind)]
    if kind == "WEBP":  # with the header that animations have, too
        file = io.BytesIO()
        frames("1f600", 1)[0].save(file, "WEBP", quality=50)
        assert file.getvalue()[12:16] == b"VP8X"
        stills.append(file.getvalue())
    assert [may_be_animated(still) for still in stills] == [kind == "GIF"] * len(stills)
