"""Real footage goes through each command; the clips are no part of the project, see ``MAV_CLIPS``."""

import os
import sys
from pathlib import Path

import pytest

from helpers.outside import check_files, read_settings
from helpers.places import ROOT
from helpers.tiny_cascade import save_tiny_cascade
from lightning_mav.cli import main
from lightning_mav.data.codecs.film import look_through
from lightning_mav.models import SuperResolution

CLIPS = Path(os.environ.get("MAV_CLIPS", ROOT.parent / "shared" / "clips"))
VIDEOS = sorted(path for path in CLIPS.rglob("*") if path.suffix in (".mp4", ".mkv", ".gif"))
IMAGES = sorted(path for path in CLIPS.rglob("*") if path.suffix in (".png", ".jpg"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not VIDEOS, reason=f"no real footage in {CLIPS}: name a folder of clips by MAV_CLIPS"),
]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_tiny_cascade(tmp_path_factory.mktemp("weights"))


def run(out, weights, *arguments):
    main([*map(str, arguments), "--weights", str(weights), "--out", str(out), "--steps", "1"])
    found = check_files(out)
    sys.stdout.write(f"{[Path(str(x)).name for x in arguments]} -> {found}\n")  # shown by pytest -rP
    return read_settings(out)["video"]


@pytest.mark.parametrize("command", ["vary", "extend", "loop", "interpolate"])
@pytest.mark.parametrize("path", VIDEOS, ids=lambda path: path.name)
def test_videos(path, command, weights, tmp_path):
    film = look_through(path)
    more = {"extend": ("--seconds", "0.3"), "interpolate": ("--frame-skip", "2")}.get(command, ())
    made = run(tmp_path / "out", weights, command, path, *more)
    if command == "vary":
        return
    assert made["shape"][3] / made["shape"][2] == pytest.approx(film.size[1] / film.size[0], rel=0.07)
    assert made["fps"] == pytest.approx(film.fps * (2 if command == "interpolate" else 1), rel=1e-3)


@pytest.mark.parametrize("path", VIDEOS, ids=lambda path: path.name)
def test_videos_become_larger(path, weights, tmp_path, monkeypatch):
    """The network's arithmetic is left out: only files, frames and tiles matter here."""
    monkeypatch.setattr(
        SuperResolution,
        "denoise_frames",
        lambda self, low, fps, noise, cond_noise, options: self.upsample(low),
    )
    film = look_through(path)
    made = run(tmp_path / "out", weights, "upscale", path, "--until", "sr_lt", "--tile", "640")
    assert made["shape"] == [3, len(film), 2 * film.size[0], 2 * film.size[1]]
    (file,) = (tmp_path / "out").glob("*.mp4")
    large = look_through(file)
    assert large.rate == film.rate
    assert large.times[:-1] == pytest.approx(film.times[:-1], abs=1e-4)


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.name)
def test_images(path, weights, tmp_path):
    formats = ("--formats", "mp4,gif,webp,apng,frames,sprites")
    run(tmp_path / "animate", weights, "animate", path, "--frame-skip", "1", *formats)
    run(tmp_path / "morph", weights, "morph", path, IMAGES[0], *formats)
