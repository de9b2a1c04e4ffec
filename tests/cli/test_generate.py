"""``mav generate`` leaves whole results or nothing."""

import hashlib
import importlib
import inspect
import json
import os
import re
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from helpers.reading import read_video
from helpers.tiny_cascade import save_tiny_cascade
from lightning_mav import cli
from lightning_mav.cascade import Cascade
from lightning_mav.cli.generate import main
from lightning_mav.cli.output import base_name, own_name
from lightning_mav.data import export, video
from lightning_mav.diffusion import Sampler
from lightning_mav.utils import configured
from lightning_mav.utils.configured import from_config
from lightning_mav.utils.errors import UsageError
from lightning_mav.weights import load_weights, save_weights

PROMPT = "a small red ball on a white background"
NUMBERS = ("--seed", "--fps", "--guidance-scale", "--steps", "--frame-skip")
NAME = "a-small-red-ball-on-a-white-background-7"
ALL = "mp4,gif,webp,apng,frames,sprites"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_tiny_cascade(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def generated(weights, tmp_path_factory):
    out = tmp_path_factory.mktemp("generated") / "new" / "folder"
    generate(weights, out, PROMPT, "A BALL!", "a ball", "--seed", "7", "--fps", "4", "--device", "cpu")
    return out


def generate(weights, out, *arguments):
    main(["--weights", str(weights), "--out", str(out), "--steps", "1", *arguments])


def test_each_prompt_gets_its_four_files(generated):
    names = {NAME, "a-ball-7", "a-ball-7-2"}
    expected = {f"{name}.{suffix}" for name in names for suffix in ("mp4", "gif", "png", "json")}
    assert set(os.listdir(generated)) == expected


def test_files_hold_the_video(generated, weights):
    expected = Cascade.from_pretrained(weights, "cpu")(PROMPT, seed=7, fps=4, num_steps=1)
    frames, fps = read_video(generated / f"{NAME}.mp4")
    assert frames.shape == (3, 76, 48, 48)
    assert fps == pytest.approx(20)
    assert (frames - expected.video[0]).abs().mean() < 0.2  # random stages make noise, which no codec keeps
    with Image.open(generated / f"{NAME}.gif") as gif:
        assert gif.size == (48, 48)
    with Image.open(generated / f"{NAME}.png") as sheet:
        assert sheet.width == 1536


def test_json_says_how_to_make_it_again(generated, weights):
    settings = json.loads((generated / f"{NAME}.json").read_text())
    assert settings["prompt"] == PROMPT
    assert (settings["seed"], settings["fps"], settings["steps"], settings["frame_skip"]) == (7, 4, 1, 5)
    assert settings["video"] == {"shape": [3, 76, 48, 48], "fps": 20}
    assert list(settings["stages"]) == ["prior", "decoder", "interpolation", "sr_lt", "sr_h"]
    assert settings["stages"]["decoder"]["shape"] == [3, 16, 8, 8]
    assert settings["stages"]["decoder"]["steps"] == 1
    assert settings["stages"]["decoder"]["guidance_scale"] == 2.0
    assert settings["versions"]["torch"] == torch.__version__
    for name in ("clip", "prior", "decoder", "interpolation", "sr_lt", "sr_h"):
        content = (weights / f"{name}.safetensors").read_bytes()
        assert settings["weights"][name]["sha256"] == hashlib.sha256(content).hexdigest()


def test_json_holds_all_that_the_stages_were_made_with_and_asked_for(generated, weights):
    settings = json.loads((generated / f"{NAME}.json").read_text())
    asked = inspect.signature(Cascade.__call__).parameters.keys() - {
        "self",
        "prompts",
        "progress",
        "num_steps",
        *("num_inference_steps", "generator"),  # other names of what is asked for
    }
    assert asked <= settings.keys()
    for name, stage in settings["stages"].items():
        model = load_weights(weights / f"{name}.safetensors")
        parts = ((stage, model), (stage, model.sampler), (stage["diffusion"], model.diffusion))
        for recorded, part in (*parts, (stage["net"]["init_args"], model.net)):
            wanted = inspect.signature(type(part).__init__).parameters.keys() - {"self", "sampler"}
            wanted = {key: part.config["init_args"][key] for key in wanted}
            wanted.pop("diffusion", None)
            assert wanted.pop("num_steps", None) in (None, 1, 2)  # asked for, under the name of the option
            assert {key: recorded.get(key, "missing") for key in wanted} == wanted
        assert stage["steps"] == 1


def test_json_differs_wherever_the_frames_may(weights, tmp_path):
    folder = tmp_path / "weights"
    shutil.copytree(weights, folder)
    decoder = load_weights(folder / "decoder.safetensors")
    changes = {"threshold": "dynamic", "guidance_rescale": 0.5, "guidance_interval": [0.1, 2.0]}
    decoder = from_config(
        decoder.config | {"init_args": decoder.config["init_args"] | {"sampler": sampler_with(changes)}}
    )
    save_weights(decoder, folder / "decoder.safetensors")
    generate(folder, tmp_path / "out", PROMPT, "--until", "decoder")
    (path,) = (tmp_path / "out").glob("*.json")
    stage = json.loads(path.read_text())["stages"]["decoder"]
    assert {key: stage[key] for key in changes} == changes
    assert stage["guidance_scale"] == 3.0


def sampler_with(changes):
    return Sampler(guidance_scale=3.0, **changes).config


def test_an_earlier_result_is_replaced_and_says_what_was_done(weights, tmp_path, capsys):
    for _ in range(2):
        generate(weights, tmp_path, PROMPT, "--seed", "7", "--until", "decoder")
    assert len(os.listdir(tmp_path)) == 4
    printed = capsys.readouterr()
    assert f"{tmp_path / NAME}.mp4" in printed.out
    assert "1 video in" in printed.out
    assert printed.err.count("decoder, 1 steps") == 2  # one line per stage where there is no terminal


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["PROMPT"]),
        ([""], ["prompt 1 is empty"]),
        (["a ball", " \n"], ["prompt 2 is empty"]),
        (["a ball", "--frame-skip", "0"], ["--frame-skip", "from 1 to 15", "0"]),
        (["a ball", "--frame-skip", "16"], ["--frame-skip", "from 1 to 15", "16"]),
        (["a ball", "--frame-skip", "2.5"], ["--frame-skip", "whole number", "2.5"]),
        (["a ball", "--steps", "0"], ["--steps", "from 1 to 1000"]),
        (["a ball", "--steps", "1001"], ["--steps", "from 1 to 1000"]),
        (["a ball", "--fps", "0.5"], ["--fps", "from 1 to 30"]),
        (["a ball", "--fps", "nan"], ["--fps", "from 1 to 30"]),
        (["a ball", "--fps", "fast"], ["--fps", "from 1 to 30", "fast"]),
        (["a ball", "--guidance-scale", "-1"], ["--guidance-scale", "0 or more"]),
        (["a ball", "--guidance-scale", "inf"], ["--guidance-scale", "0 or more"]),
        (["a ball", "--seed", "-1"], ["--seed", "0 or more"]),
        (["a ball", "--until", "sr_x"], ["--until", "sr_x", "decoder", "interpolation", "sr_lt", "sr_h"]),
        (["a ball", "--device", "toaster"], ["--device toaster", "cpu"]),
        (["a ball", "--device", "cuda:99"], ["--device cuda:99", "cpu"]),
        (["a ball", "--weights", "no/where"], ["no/where", "make train"]),
        (["a ball", "--weights", "huge"], ["huge", "make train-stage STAGE=clip SCALE=huge"]),
        (["a ball", "--loud"], ["--loud"]),
        (["ball\udce9"], ["prompt 1 is not UTF-8", "byte 4 is 0xe9"]),
        (["a ball", "\udcff"], ["prompt 2 is not UTF-8", "byte 0 is 0xff"]),
        (["half \ud83d"], ["prompt 1 is not UTF-8"]),
        (["\u200b"], ["prompt 1 is empty"]),
        (["\u202e\x1b"], ["prompt 1 is empty"]),
        (["-dog"], ["-dog", "mav generate --help"]),
        (["a ball", "--out", "x" * 300], ["File name too long"]),
        *((["a ball", option, "9" * 400], [option, "(400 characters)"]) for option in NUMBERS),
        *((["a ball", option, "9" * 5000], [option, "(5000 characters)"]) for option in NUMBERS),
        *((["a ball", option, "1e300"], [option, "1e300"]) for option in NUMBERS),
        *((["a ball", option, "nan"], [option, "nan"]) for option in NUMBERS),
        *((["a ball", option, ""], [option, "nothing"]) for option in NUMBERS),
        *((["a ball", option, "True"], [option, "True"]) for option in NUMBERS),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as error:
        main(["--out", "new/out", *arguments])
    message = str(error.value)
    assert "\n" not in message
    assert all(word in message for word in words)
    assert os.listdir(tmp_path) == []


def test_the_program_exits_with_2_and_no_traceback(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["generate", " "])
    assert stop.value.code == 2
    assert capsys.readouterr().err.splitlines() == [
        'mav: error: prompt 1 is empty; say what to show, such as "a red car"'
    ]


def test_damaged_and_missing_weights_are_named_with_the_remedy(tmp_path):
    folder, out = save_tiny_cascade(tmp_path / "weights"), tmp_path / "out"
    damaged = folder / "sr_lt.safetensors"
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(UsageError, match=r"sr_lt\.safetensors.*make train-stage STAGE=sr_lt"):
        generate(folder, out, PROMPT)
    damaged.unlink()
    with pytest.raises(UsageError, match=r"sr_lt\.safetensors.*make train-stage STAGE=sr_lt"):
        generate(folder, out, PROMPT)
    assert not out.exists()
    generate(folder, out, PROMPT, "--until", "interpolation")  # does not need it
    assert len(os.listdir(out)) == 4


def test_a_folder_that_cannot_be_written_is_found_before_generating(tmp_path, weights, monkeypatch):
    monkeypatch.setattr(Cascade, "from_pretrained", lambda *_, **__: pytest.fail("generated first"))
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UsageError, match=r"--out .*file.*: cannot write there \(.+\); choose another"):
            generate(weights, out, PROMPT)
    monkeypatch.setattr("tempfile.mkdtemp", raise_permission_error)
    with pytest.raises(UsageError, match=r"--out .*new: cannot write there \(Permission denied\)"):
        generate(weights, tmp_path / "new", PROMPT)
    assert os.listdir(tmp_path) == ["file"]


def raise_permission_error(*_, **__):
    raise PermissionError(13, "Permission denied")


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("ending", [".mp4", ".gif", ".webp", ".apng", ".json", "", "sheet"])
def test_nothing_half_written_stays_behind(tmp_path, weights, monkeypatch, ending, error):
    written, original = [], export.WRITERS.get(ending, video.contact_sheet)

    def fail(*arguments, **settings):
        written.append(original(*arguments, **settings))
        raise error

    if ending == "sheet":
        monkeypatch.setattr(video, "contact_sheet", fail)
    else:
        monkeypatch.setitem(export.WRITERS, ending, fail)
    with pytest.raises(error):
        generate(weights, tmp_path / "new" / "out", PROMPT, "--until", "decoder", "--formats", ALL)
    assert written
    assert os.listdir(tmp_path) == []


def test_all_formats_are_written_and_listed(tmp_path, weights, capsys):
    generate(weights, tmp_path, PROMPT, "--until", "decoder", "--formats", ALL, "--seed", "7")
    listed = [Path(line) for line in capsys.readouterr().out.splitlines()[:-1]]
    assert len(listed) == 8
    assert all(path.exists() for path in listed)
    assert {path for path in tmp_path.iterdir() if path.name != f"{NAME}-sprites.png"} == set(listed)
    assert len(os.listdir(tmp_path / f"{NAME}-frames")) == 16


def test_formats_and_backgrounds_that_cannot_be_are_refused(tmp_path, weights, monkeypatch):
    monkeypatch.setattr(Cascade, "from_pretrained", lambda *_, **__: pytest.fail("generated first"))
    for options, words in (
        (["--formats", "mp4,avi"], "--formats: unknown 'avi': name some of mp4,gif,webp"),
        (["--formats", ","], "--formats: none are named"),
        (["--background", "reddish"], "--background: no colour: 'reddish'; name one, such as white"),
        (["--background", "transparent"], "mp4 has no transparent ground: add --formats webp,gif"),
    ):
        with pytest.raises(UsageError, match=re.escape(words)):
            generate(weights, tmp_path, PROMPT, *options)


def test_a_ground_is_made_transparent_where_it_is_known(tmp_path, weights):
    options = ("--until", "decoder", "--formats", "webp,apng", "--background", "transparent")
    with pytest.raises(UsageError, match=r"--background: these weights know no ground .*: leave it out"):
        generate(weights, tmp_path / "out", PROMPT, *options)
    folder = shutil.copytree(weights, tmp_path / "weights")
    cli.main(["weights", "prompts", str(folder), "--ground", "black"])
    generate(folder, tmp_path / "out", PROMPT, *options, "--seed", "7")
    with Image.open(tmp_path / "out" / f"{NAME}.apng") as image:
        assert image.mode == "RGBA"
    assert json.loads((tmp_path / "out" / f"{NAME}.json").read_text())["background"] == "transparent"


def test_a_full_disk_is_one_line_and_keeps_the_earlier_result(tmp_path, weights, monkeypatch):
    generate(weights, tmp_path, PROMPT, "--until", "decoder")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(export.WRITERS, ".gif", fail)
    with pytest.raises(UsageError, match="No space left on device"):
        generate(weights, tmp_path, PROMPT, "--until", "decoder", "--fps", "3")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_overlong_prompt_is_cut_with_a_warning(tmp_path, weights, capsys):
    generate(weights, tmp_path, "a red ball and " * 40, "--until", "decoder")
    warning = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(warning) == 1
    assert warning[0].startswith("mav: warning: prompt")
    assert "77" in warning[0]
    assert len(os.listdir(tmp_path)) == 4


def test_names_are_short_plain_and_unique(tmp_path):
    names = {}
    for prompt in ("Ein Bär!", "ein bar", "ein bar 2", "ein-bar"):
        own_name(tmp_path, base_name(prompt, 2), {"prompt": prompt}, names)
    assert list(names) == ["ein-bar-2", "ein-bar-2-2", "ein-bar-2-2-2", "ein-bar-2-3"]
    assert base_name("../" + "x" * 300, 0) == "x" * 60 + "-0"
    assert base_name("猫", 0).startswith("prompt-")
    for prompt in (".", "..", "/", "~", "*", "\u202e", "\u0301", "🎈", "-", "\\", "%00"):
        assert re.fullmatch(r"(prompt-)?[0-9a-f]*-5", base_name(prompt, 5)), prompt


def test_network_of_ones_own_is_imported_when_it_is_named(tmp_path, monkeypatch):
    (tmp_path / "own_decoders.py").write_text(
        "from lightning_mav.models import Decoder\n\nclass OwnDecoder(Decoder):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("MAV_IMPORT", "")
    monkeypatch.setattr(configured, "_own_modules", set())
    folder = save_tiny_cascade(tmp_path / "weights")
    path = folder / "decoder.safetensors"
    own = importlib.import_module("own_decoders").OwnDecoder
    decoder = load_weights(path)
    save_weights(own(decoder.net, decoder.diffusion, decoder.sampler, image_size=8), path)
    arguments = ["ball", "--weights", str(folder), "--out", str(tmp_path / "out"), "--until", "decoder"]
    with pytest.raises(UsageError, match=r"decoder.safetensors: .*say so with --import own_decoders"):
        main(arguments)
    assert isinstance(Cascade.from_pretrained(folder, modules=["own_decoders"]).decoder, own)
    monkeypatch.setattr(configured, "_own_modules", set())
    main([*arguments, "--import", "own_decoders"])
    assert (tmp_path / "out" / "ball-0.mp4").is_file()


def test_the_same_prompt_with_other_settings_keeps_both(weights, tmp_path):
    arguments = (PROMPT, "--seed", "7", "--until", "decoder")
    generate(weights, tmp_path, *arguments)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    generate(weights, tmp_path, *arguments, "--fps", "3")
    generate(weights, tmp_path, *arguments, "--guidance-scale", "3")
    generate(weights, tmp_path, *arguments, "--fps", "3")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name in first} == first
    rates = {path.stem: json.loads(path.read_text())["fps"] for path in tmp_path.glob("*.json")}
    assert rates == {NAME: 6, f"{NAME}-2": 3, f"{NAME}-3": 6}


def test_prompts_that_begin_alike_keep_both(weights, tmp_path):
    prompts = [
        f"{'a very long and winding sentence ' * 3}about a ball that moves {way}" for way in ("left", "up")
    ]
    for prompt in prompts:
        generate(weights, tmp_path, prompt, "--until", "decoder")
    assert {json.loads(path.read_text())["prompt"] for path in tmp_path.glob("*.json")} == {*prompts}


@pytest.mark.parametrize(
    "prompt",
    [
        "-5 dogs",
        "d\udcc3\udca9j",
        "\x1b[31mred\x07 ball\n",
        "\u202eball",
        "e\u0301\u0301",
        "🎈👩‍🚀",
        "ball\u2028",
        "x" * 100_000,
    ],
)
@pytest.mark.filterwarnings("ignore:.*is longer than")
def test_any_text_makes_a_video(prompt, weights, tmp_path, capsys):
    generate(weights, tmp_path, "--until", "decoder", "--", prompt)
    (path,) = tmp_path.glob("*.json")
    assert json.loads(path.read_text())["prompt"] == prompt.replace("\udcc3\udca9", "é")
    printed = capsys.readouterr()
    assert all(char.isprintable() or char == "\n" for char in printed.out + printed.err)
    assert all(len(line) < 700 for line in printed.err.splitlines())


def test_numbers_at_their_bounds_make_a_video(weights, tmp_path):
    bounds = ("--seed", str(2**63 - 1), "--guidance-scale", "10000", "--fps", "30", "--frame-skip", "15")
    generate(weights, tmp_path, "a ball", *bounds)
    assert len(os.listdir(tmp_path)) == 4


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--out=", "--out: is empty: name a path"),
        ("--weights=", "the name of the weights is empty"),
        ("--device=", "--device : not usable here"),
        ("--device=meta", "--device meta: not usable here"),
    ],
)
def test_what_would_be_taken_for_something_else_is_refused(option, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=words):
        main([PROMPT, option])
    assert not list(tmp_path.rglob("*.mp4"))
