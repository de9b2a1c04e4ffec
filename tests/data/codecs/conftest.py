from fractions import Fraction

import pytest

from lightning_mav.data.codecs import resize


@pytest.fixture
def pixels_as_stored(monkeypatch):
    """Shows videos with the pixels of their file, whatever aspect it says."""
    monkeypatch.setattr(resize, "pixel_aspect", lambda stream: Fraction(1))
