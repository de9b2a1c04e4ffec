"""Files as people have them: each command writes whole files, or says in one line what is wrong."""

import itertools

import numpy as np
import pytest

from helpers.odd_files import animation, write_bad_videos, write_odd_images, write_odd_videos
from helpers.outside import check_files, read_settings
from helpers.tiny_cascade import save_tiny_cascade
from lightning_mav.cli import main
from lightning_mav.data.codecs.film import look_through

SCALE = 6  # of the tiny cascade


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_tiny_cascade(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return write_odd_videos(tmp_path_factory.mktemp("videos"))


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    return write_bad_videos(tmp_path_factory.mktemp("bad"))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_odd_images(tmp_path_factory.mktemp("images"))


def run(out, weights, *arguments):
    main([*map(str, arguments), "--weights", str(weights), "--out", str(out), "--steps", "1"])
    return read_settings(out)


def refused(out, weights, capsys, *arguments):
    capsys.readouterr()  # what earlier commands said
    with pytest.raises(SystemExit) as error:
        run(out, weights, *arguments)
    assert error.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "warning" not in line]
    assert line.startswith("mav: error: ")
    assert not out.exists()
    return line


@pytest.mark.parametrize("part", range(7))
def test_any_video_becomes_larger_and_keeps_its_shape_and_times(part, weights, videos, tmp_path):
    for name, (num_frames, (height, width), path) in [*videos.items()][part::7]:
        out = tmp_path / name
        settings = run(out, weights, "upscale", path)
        assert settings["video"]["shape"] == [3, num_frames, SCALE * height, SCALE * width], name
        (file,) = out.glob("*.mp4")
        before, after = look_through(path), look_through(file)
        assert (len(after), after.size) == (num_frames, (SCALE * height, SCALE * width)), name
        assert np.allclose(after.times[:-1], before.times[:-1], atol=1e-4), name
        assert after.times[-1] == pytest.approx(before.times[-1], abs=0.15), name
        check_files(out)


def test_a_file_that_is_no_whole_video_is_one_line(weights, bad, tmp_path, capsys):
    for command, (name, path) in itertools.product(("upscale", "extend"), bad.items()):
        if (command, name) == ("extend", "photo.jpg"):
            continue
        line = refused(tmp_path / "out", weights, capsys, command, path)
        assert name in line, (command, line)
        assert "cannot be read" in line, (command, line)


def test_a_file_that_is_no_image_is_one_line(weights, bad, videos, tmp_path, capsys):
    for path in [bad["empty"], bad["text"], bad["notes.txt"], bad["cut.webp"], videos["turned.mp4"][2]]:
        line = refused(tmp_path / "out", weights, capsys, "animate", path)
        assert path.name in line
        assert "cannot be read" in line


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("command", ["vary", "extend", "loop", "interpolate"])
def test_any_video_goes_through_each_command(command, weights, videos, tmp_path, capsys):
    for name, (num_frames, _, path) in videos.items():
        if command == "interpolate" and num_frames == 1:
            assert "has one frame" in refused(tmp_path / name, weights, capsys, command, path)
            continue
        run(tmp_path / name, weights, command, path, "--formats", "mp4,gif,webp,apng,frames,sprites")
        found = check_files(tmp_path / name)
        assert len(found) >= 4, name


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_any_image_goes_through_each_command(weights, images, tmp_path):
    for name, path in images.items():
        run(tmp_path / name / "animate", weights, "animate", path, "--frame-skip", "1")
        run(tmp_path / name / "morph", weights, "morph", path, images["photo.jpg"])
        for command in ("animate", "morph"):
            assert check_files(tmp_path / name / command)


def test_what_would_not_fit_into_memory_is_one_line(weights, tmp_path, capsys):
    strip = animation("PNG", [50, 50], (90, 10))
    (tmp_path / "strip.png").write_bytes(strip)
    (tmp_path / "long.webp").write_bytes(animation("WEBP", [50] * 999, (8, 64)))
    for name, words, arguments in (
        ("strip.png", "one side is more than 8 times as long", ["loop"]),
        ("long.webp", "would have 14971 frames of 48x384, too many", ["interpolate", "--frame-skip", "15"]),
    ):
        line = refused(tmp_path / "out", weights, capsys, *arguments, tmp_path / name)
        assert name in line
        assert words in line
