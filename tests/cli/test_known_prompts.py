"""``mav generate`` and ``mav weights prompts`` say what the weights know, as the library does."""

import json

import pytest
import torch

from helpers.tiny_cascade import save_tiny_cascade
from lightning_mav.cascade import Cascade
from lightning_mav.cli.generate import main
from lightning_mav.cli.weights import main as weights
from lightning_mav.data.captioned import read_pictures
from lightning_mav.data.shards.reader import Shards
from lightning_mav.data.shards.urls import expand_shards
from lightning_mav.prompts import KnownPrompts, read_known, write_known
from lightning_mav.utils.errors import UsageError
from lightning_mav.weights import load_weights

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


def captions(micro_world):
    shards = Shards(expand_shards(str(micro_world / "images"), ""), ["txt"])
    return [shards.read(number)["txt"].decode() for number in range(len(shards))]


def test_prompts_are_compared_with_pictures_where_these_are_given(folder, micro_world, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("\n".join(dict.fromkeys(captions(micro_world)[:8])))
    num = len(names.read_text().splitlines())
    weights(["prompts", str(folder), "--names", str(names), "--images", str(micro_world / "images")])
    known, clip = read_known(folder), load_weights(folder / "clip.safetensors")
    images = read_pictures(str(micro_world / "images"), known.names, clip.image_size)
    expected = clip.similarity(clip.encode_text(clip.tokenize([NONSENSE]))[0], clip.encode_image(images))
    (nearest,) = known.nearest([NONSENSE], clip, k=num)
    assert [*nearest] == [known.names[i] for i in expected.argsort(descending=True)]
    assert [*nearest.values()] == pytest.approx(sorted(expected.tolist(), reverse=True), abs=2e-3)  # fp16

    weights(["prompts", str(folder), "--fps", "5"])  # keeps them
    assert read_known(folder).embeds is not None
    weights(["check"])
    names.write_text("ball\nring\n")
    weights(["prompts", str(folder), "--names", str(names)])  # pictures of other names are gone
    assert read_known(folder).embeds is None
    assert not (folder / "prompts.safetensors").exists()


def test_pictures_of_other_names_are_refused(folder, micro_world, tmp_path):
    names = tmp_path / "names.txt"
    first, second, *_ = dict.fromkeys(captions(micro_world))
    images = ["--images", str(micro_world / "images")]
    for text, words in (
        (
            f"{first}\na dodo",
            f'shows "{second}", not "a dodo"; name shards that begin with a picture of each',
        ),
        ("\n".join(f"name {i}" for i in range(100)), "has 24 pictures for 100 names"),
    ):
        names.write_text(text)
        with pytest.raises(UsageError) as error:
            weights(["prompts", str(folder), "--names", str(names), *images])
        assert words in str(error.value)
        assert "\n" not in str(error.value)
    assert read_known(folder).names == NAMES


@pytest.mark.parametrize("damage", ["fewer", "broken"])
def test_damaged_pictures_are_one_line(folder, damage):
    known = read_known(folder)
    known.embeds = torch.eye(len(NAMES), 8)
    write_known(known, folder)
    if damage == "fewer":
        (folder / "prompts.json").write_text('{"names": ["ball"]}')
    else:
        (folder / "prompts.safetensors").write_bytes(b"gone")
    with pytest.raises(UsageError, match=r"prompts\.safetensors.*mav weights prompts") as error:
        Cascade.from_pretrained(folder, "cpu", text_only=True)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "NAME_OR_DIR"),
        (["no/where"], "no/where: no weights there"),
        (["huge", "--fps", "3"], "outputs/huge/weights/prompts.json: cannot be written"),
        (["micro", "--names", "no.txt"], "no.txt: cannot be read"),
        (["micro", "--names", __file__, "--images", "nowhere"], "nowhere"),
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
