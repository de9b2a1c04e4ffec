"""``mav generate`` and ``mav weights prompts`` say what the weights know, as the library does."""

import json

import pytest

from helpers.tiny_cascade import save_tiny_cascade
from lightning_mav.cascade import Cascade
from lightning_mav.cli.generate import main
from lightning_mav.cli.weights import main as weights
from lightning_mav.prompts import KnownPrompts, read_known, write_known
from lightning_mav.utils.errors import UsageError

NAMES = ["ball", "red ring", "a blue star: dark"]
NONSENSE = "qwertz uiop"


@pytest.fixture
def folder(tmp_path):
    folder = save_tiny_cascade(tmp_path / "weights")
    write_known(KnownPrompts(fps=4.8, names=NAMES, min_similarity=1.0), folder)
    return folder


def generate(folder, *arguments):
    """Runs the command and returns the JSON beside each video, by prompt."""
    out = folder.parent / "out"
    main(
        [
            "--weights",
            str(folder),
            "--out",
            str(out),
            "--steps",
            "1",
            "--until",
            "decoder",
            "--device",
            "cpu",
            *arguments,
        ]
    )
    return {
        made["prompt"]: made for path in sorted(out.glob("*.json")) if (made := json.loads(path.read_text()))
    }


def test_command_and_library_agree_on_what_is_known(folder, capsys):
    made = generate(folder, "the Ball emoji", NONSENSE)
    cascade = Cascade.from_pretrained(folder, "cpu", text_only=True)
    for prompt, settings in made.items():
        (nearest,) = cascade.nearest_names(prompt)
        assert list(settings["nearest_names"].items()) == [*nearest.items()]  # in this order, too
    lines = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert lines == [f"mav: warning: {cascade.known.warning(NONSENSE, made[NONSENSE]['nearest_names'])}"]


def test_option_comes_before_the_file_before_six(folder):
    assert generate(folder, "ball")["ball"]["fps"] == generate(folder, "ball")["ball"]["video"]["fps"] == 4.8
    assert generate(folder, "ring", "--fps", "3")["ring"]["fps"] == 3
    (folder / "prompts.json").unlink()
    star = generate(folder, "star")["star"]
    assert star["fps"] == 6
    assert "nearest_names" not in star


def test_a_video_is_the_same_whatever_is_known(folder):
    generate(folder, "ball", "--fps", "6")
    write_known(KnownPrompts(names=["ring"]), folder)
    generate(folder, "ball")
    (folder / "prompts.json").unlink()
    generate(folder, "ball")
    assert {path.stem for path in (folder.parent / "out").iterdir()} == {"ball-0"}


def test_command_writes_what_is_given_and_keeps_the_rest(folder, tmp_path, capsys):
    (folder / "prompts.json").unlink()
    names = tmp_path / "names.txt"
    names.write_text("ball\nred ring\n")
    weights(["prompts", str(folder), "--names", str(names)])
    assert read_known(folder) == KnownPrompts(names=["ball", "red ring"])
    weights(["prompts", str(folder), "--fps", "4.8"])
    weights(["prompts", str(folder), "--min-similarity", "-0.5"])
    assert read_known(folder) == KnownPrompts(4.8, ["ball", "red ring"], -0.5)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"wrote {folder / 'prompts.json'}: 2 names, unknown below -0.5, key frames at 4.8 fps"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "NAME_OR_DIR"),
        (["no/where"], "no/where: no weights there"),
        (["huge", "--fps", "3"], "outputs/huge/weights/prompts.json: cannot be written"),
        (["micro", "--names", "no.txt"], "no.txt: cannot be read"),
        (["micro", "--fps", "0"], "--fps: must be a number from 1 to 30"),
        (["micro", "--min-similarity", "2"], "--min-similarity: must be a number from -1 to 1"),
    ],
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as error:
        weights(["prompts", *arguments])
    assert words in str(error.value)
    assert "\n" not in str(error.value)
