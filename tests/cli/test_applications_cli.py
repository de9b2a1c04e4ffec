"""``mav animate`` and its like: a file goes in, whole files come out, and mistakes are one line."""

import json

import av
import pytest
import torch
from PIL import Image

from helpers.tiny_cascade import save_tiny_cascade
from lightning_mav.cascade import Cascade
from lightning_mav.cli import main
from lightning_mav.data.export import save_video
from lightning_mav.utils.configured import from_config
from lightning_mav.utils.slerp import slerp
from lightning_mav.weights import load_weights, save_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_tiny_cascade(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    video = torch.rand(3, 6, 18, 32) * 2 - 1
    for name in ("a.mp4", "a.gif", "a.webp"):
        save_video(folder / name, video, 10.0)
    for name in ("a.png", "b.jpg"):
        Image.new("RGB", (40, 30), "red").save(folder / name)
    slow = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    slow[0].save(folder / "slow.webp", save_all=True, append_images=slow[1:], duration=2_000_000)
    (folder / "text.mp4").write_text("no video")
    return folder


def apply(name, weights, out, *arguments):
    options = ["--weights", weights, "--out", out, "--steps", "1", "--formats", "mp4"]
    main([name, *map(str, arguments), *map(str, options)])
    (video,) = out.glob("*.mp4")
    (settings,) = out.glob("*.json")
    with av.open(str(video)) as container:
        return container.streams.video[0], json.loads(settings.read_text())


@pytest.mark.parametrize(
    ("name", "given", "num_frames", "fps"),
    [
        ("animate", ["a.png", "--fps", "4", "--frame-skip", "2"], 31, 8),
        ("animate", ["b.jpg", "--by", "interpolation", "--frame-skip", "1"], 16, 6),
        ("animate", ["b.jpg", "--until", "decoder"], 16, 6),
        ("morph", ["a.png", "b.jpg", "--fps", "12"], 16, 12),
        ("vary", ["a.mp4", "--frame-skip", "2"], 31, 12),
        ("extend", ["a.gif", "--seconds", "0.5"], 11, 10),
        ("extend", ["a.mp4", "--seconds", "1", "--before"], 16, 10),
        ("loop", ["a.webp", "--frames", "4"], 10, 10),
        ("loop", ["a.gif"], 32, 10),
        ("interpolate", ["a.mp4", "--frame-skip", "3"], 16, 30),
    ],
)
def test_each_command_writes_a_video_and_how_it_was_made(
    name, given, num_frames, fps, weights, files, tmp_path
):
    paths = [str(files / x) if (files / x).exists() else x for x in given]
    stream, settings = apply(name, weights, tmp_path, *paths)
    assert stream.frames == num_frames
    assert float(stream.average_rate) == pytest.approx(fps, rel=0.02)
    assert settings["command"] == name
    assert settings["files"] == [path for path in paths if path.startswith("/")]
    assert settings["weights"].keys() >= {"clip", "decoder", "interpolation"}


def test_another_file_of_the_same_name_overwrites_nothing(weights, tmp_path):
    made = []
    for colour in ("red", "blue", "red"):
        Image.new("RGB", (8, 8), colour).save(tmp_path / "a.png")
        apply_once = ["animate", tmp_path / "a.png", "--until", "decoder", "--weights", weights]
        main([*map(str, apply_once), "--out", str(tmp_path / "out"), "--steps", "1", "--formats", "mp4"])
        made.append(sorted(path.name for path in (tmp_path / "out").glob("*.mp4")))
    assert [len(names) for names in made] == [1, 2, 2]  # the first again is the same video


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("animate", ["text.mp4"], "text.mp4: cannot be read"),
        ("animate", ["missing.png"], "missing.png: there is no such file; name another"),
        ("animate", ["."], "is a folder; name a file"),
        ("extend", ["text.mp4"], "text.mp4: cannot be read"),
        ("extend", ["a.png"], None),
        ("interpolate", ["a.png"], "has one frame: there is nothing between; see mav animate"),
        ("loop", ["a.mp4", "--frames", "15"], "--frames: must be a whole number from 1 to 14, got 15"),
        ("extend", ["a.mp4", "--seconds", "100"], "--seconds: must be a number from 0.01 to 60.0, got 100"),
        ("animate", ["a.png", "--until", "nothing"], "--until must be one of decoder, "),
        (
            "extend",
            ["a.mp4", "--until", "decoder"],
            "--until must be one of interpolation, sr_lt, sr_h, got 'decod",
        ),
        ("morph", ["a.png"], "the following arguments are required"),
        ("animate", ["a.png", "--background", "red"], "--background: these weights know no ground"),
        ("loop", ["slow.webp"], "slow.webp: its frames last 2000 s on average; give it more frames a second"),
    ],
)
def test_mistakes_are_one_line(name, given, words, weights, files, tmp_path, capsys):
    given = [str(files / x) if "." in x and not x[0].isdigit() else x for x in given]
    if words is None:  # a still is a video of one frame, and can be gone on from
        apply(name, weights, tmp_path / "out", *given)
        return
    with pytest.raises(SystemExit) as error:
        apply(name, weights, tmp_path / "out", *given)
    assert error.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert words in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("interpolate", ["a.gif", "--frame-skip", "9"], "frame_skip must be from 1 to 7, got 9"),
        ("animate", ["a.png", "--frame-skip", "9"], "frame_skip must be from 1 to 7, got 9"),
        ("loop", ["a.gif", "--frames", "9"], "num_frames must be from 1 to 6, got 9"),
        ("extend", ["a.gif", "--steps", "30"], "num_steps must be from 1 to 20, got 30"),
    ],
)
def test_what_weights_of_your_own_cannot_do_is_one_line(name, given, words, tmp_path, files, capsys):
    folder = save_tiny_cascade(tmp_path)
    path = folder / "interpolation.safetensors"
    config = load_weights(path).config
    config["init_args"]["num_frames"] = 8
    config["init_args"]["diffusion"]["init_args"]["num_timesteps"] = 20
    save_weights(from_config(config), path)
    options = ["--weights", str(folder), "--out", str(tmp_path / "out"), "--formats", "mp4"]
    with pytest.raises(SystemExit) as error:
        main([name, str(files / given[0]), *given[1:], *options])
    line = capsys.readouterr().err.strip().splitlines()[-1]  # after the progress of stages before
    assert error.value.code == 2
    assert line == f"mav: error: mav {name}: {words}; choose another value"
    assert not (tmp_path / "out").exists()


def blend(weights, out, *arguments):
    options = ["--weights", weights, "--out", out, "--steps", "1", "--until", "decoder", "--formats", "mp4"]
    main(["blend", *map(str, (*arguments, *options))])


def test_a_blend_lies_between_its_sentences_and_says_how_it_was_made(weights, tmp_path, monkeypatch):
    ends = {"a red ball": torch.eye(8)[:1], "a blue star": 2 * torch.eye(8)[1:2]}
    drawn, render = [], Cascade.render
    monkeypatch.setattr(Cascade, "embed", lambda self, prompts, sampling: ends[prompts[0]])
    monkeypatch.setattr(
        Cascade,
        "render",
        lambda self, embed, **rest: drawn.append((embed, rest)) or render(self, embed, **rest),
    )
    blend(weights, tmp_path, "a red ball", "a blue star", "--share", "0.25", "--seed", "4", "--fps", "3")
    settings = json.loads((tmp_path / "blend-0-25-a-red-ball-a-blue-star-4.json").read_text())
    assert settings["prompts"] == ["a red ball", "a blue star"]
    assert (settings["share"], settings["fps"], settings["video"]["fps"]) == (0.25, 3.0, 3.0)
    ((embed, rest),) = drawn
    torch.testing.assert_close(embed, slerp(*ends.values(), 0.25))
    assert (rest["fps"], rest["frame_skip"], rest["sampling"].seed) == (3.0, 5, 4)
    blend(weights, tmp_path, "a red ball", "a blue star", "--share", "0.75", "--seed", "4")
    assert len([*tmp_path.glob("*.mp4")]) == 2


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["one"], "the following arguments are required: PROMPT"),
        (["one", " "], 'prompt 2 is empty; say what to show, such as "a red car"'),
        (["one", "two", "--share", "1.5"], "--share: must be a number from 0 to 1, got 1.5"),
    ],
)
def test_mistakes_of_a_blend_are_one_line(given, words, weights, tmp_path, capsys):
    with pytest.raises(SystemExit) as error:
        blend(weights, tmp_path / "out", *given)
    assert error.value.code == 2
    assert words in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / "out").exists()
