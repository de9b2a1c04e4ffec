"""Prompts that weights know, those that they do not, and the file that tells them apart."""

import json
import warnings

import pytest

from helpers.tiny_cascade import save_tiny_cascade
from lightning_mav.cascade import Cascade
from lightning_mav.cli import main
from lightning_mav.prompts import KnownPrompts, read_known, read_names, write_known
from lightning_mav.utils.errors import UsageError

COLOURS = ("red", "green", "blue", "white", "dark", "small and very large yellow")
# More than are embedded at once, and of all lengths.
NAMES = [f"{colour} {'big ' * size}{thing}" for colour in COLOURS for size in range(6) for thing in "abcde"]
NONSENSE = "qwertz uiop"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_cascade(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def cascade(folder):
    cascade = Cascade.from_pretrained(folder, "cpu", text_only=True)
    cascade.known = KnownPrompts(fps=4.8, names=["Ball", "red ring: dark", *NAMES], min_similarity=1.0)
    return cascade


def warned(cascade, prompt):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        cascade(prompt, num_steps=1, until="decoder")
    return [str(warning.message) for warning in caught]


def test_every_name_is_nearest_to_itself(cascade):
    names = cascade.known.names
    assert len(names) > 128
    found = cascade.nearest_names(names, k=1)
    assert cascade.nearest_names(NAMES[50], k=1) == [found[52]]  # alone, too
    assert [list(nearest) for nearest in found] == [[name] for name in names]
    assert all(value == pytest.approx(1, abs=0.01) for nearest in found for value in nearest.values())


def test_nearest_names_come_in_order_and_whatever_else_is_asked(cascade):
    (nearest,) = cascade.nearest_names(NONSENSE)
    assert len(nearest) == 3
    assert list(nearest.values()) == sorted(nearest.values(), reverse=True)
    assert all(-1 <= value <= 1 for value in nearest.values())
    (everything,) = cascade.nearest_names([NONSENSE], k=10_000)
    assert set(everything) == set(cascade.known.names)
    assert list(everything)[:3] == list(nearest)
    assert list(cascade.nearest_names(["ball", NONSENSE])[1]) == list(nearest)
    with pytest.raises(ValueError, match="k must be at least 1"):
        cascade.nearest_names(NONSENSE, k=0)
    with pytest.raises(ValueError, match="k must be a whole number"):
        cascade.nearest_names(NONSENSE, k=1.5)


@pytest.mark.parametrize(
    "prompt", ["Ball", "ball", "  BALL ", "a ball", "The Ball emoji", "emoji ball", "Red ring:  dark"]
)
def test_a_name_is_known_however_near_it_is(cascade, prompt):
    cascade.known.min_similarity = 1.0
    assert cascade.known.warning(prompt, {"blue a": -0.5}) is None
    assert warned(cascade, prompt) == []


@pytest.mark.parametrize("prompt", [NONSENSE, "balls", "a ball and a ring", "red ring", "emoji"])
def test_another_prompt_is_known_if_a_name_is_near_enough(cascade, prompt):
    (nearest,) = cascade.nearest_names(prompt)
    similarity = max(nearest.values())
    cascade.known.min_similarity = similarity - 0.001
    assert warned(cascade, prompt) == []
    cascade.known.min_similarity = similarity + 0.001
    (message,) = warned(cascade, prompt)
    others = ", ".join(f'"{name}" ({value:.2f})' for name, value in nearest.items())
    assert message == f'"{prompt}" is not among what these weights know; nearest: {others}'


def test_without_names_or_a_limit_nothing_is_unknown(cascade):
    cascade.known = KnownPrompts(names=NAMES)
    assert warned(cascade, NONSENSE) == []
    cascade.known = KnownPrompts(min_similarity=1.0)
    assert cascade.nearest_names([NONSENSE, "ball"]) == [{}, {}]
    assert warned(cascade, NONSENSE) == []


def test_names_are_embedded_once(cascade, monkeypatch):
    texts, tokenize = [], cascade.clip.tokenize
    monkeypatch.setattr(
        cascade.clip, "tokenize", lambda given, **options: texts.extend(given) or tokenize(given, **options)
    )
    for _ in range(3):
        cascade.nearest_names(NONSENSE)
    assert sorted(texts) == sorted([*cascade.known.names, *[NONSENSE] * 3])


def test_a_long_prompt_is_said_to_be_cut_only_once(cascade):
    cut = [message for message in warned(cascade, "ball and ring " * 60) if "is longer than" in message]
    assert len(cut) == 1


def test_rate_asked_for_comes_before_that_of_the_weights_before_six(cascade):
    options = {"num_steps": 1, "until": "interpolation"}
    assert cascade("ball", **options).fps == pytest.approx(24)
    assert cascade("ball", fps=2, **options).fps == 10
    cascade.known = KnownPrompts()
    assert cascade("ball", **options).fps == 30


def test_what_is_written_is_read(tmp_path):
    assert read_known(tmp_path) == KnownPrompts(fps=6.0, names=(), min_similarity=None)
    for known in (KnownPrompts(), KnownPrompts(24, ["a ball", "pi\u00f1ata"], -0.25)):
        path = write_known(known, tmp_path)
        assert path == tmp_path / "prompts.json"
        assert {**vars(read_known(tmp_path)), "names": [*known.names]} == {
            **vars(known),
            "names": [*known.names],
        }
    path.write_text('{"min_similarity": 0.5}')  # all of it may be left out
    assert read_known(tmp_path) == KnownPrompts(min_similarity=0.5)


BAD = [
    (b"", "Expecting value"),
    (b'{"names": ["ba', "Unterminated string"),
    (b"\xff\xfe{}", "not UTF-8"),
    (b"[" * 100_000, "nested too deeply"),
    (b'["a ball"]', "must be an object with fps, names, min_similarity"),
    (b'{"fsp": 3}', "unknown 'fsp'; keys are fps, names, min_similarity"),
    (b'{"_embeds": 3}', "unknown '_embeds'"),
    (b'{"fps": 0}', "fps must be from 1 to 30, got 0"),
    (b'{"fps": null}', "fps must be a finite number"),
    (b'{"fps": NaN}', "fps must be a finite number"),
    (b'{"names": "ball"}', "names must be a list of texts"),
    (b'{"names": ["ball", 3]}', "names must be a list of texts"),
    (b'{"names": ["ball", " "]}', "names must not be blank"),
    (b'{"min_similarity": 70}', "min_similarity must be from -1 to 1, got 70"),
    (b'{"ground": [255, 255]}', "ground must be three bytes"),
    (b'{"ground": [255, 255, 256]}', "ground must be three bytes, got"),
    (b'{"ground": "white"}', "ground must be"),
    (b'{"min_similarity": "high"}', "min_similarity must be a finite number or None"),
]


@pytest.mark.parametrize(("content", "words"), BAD)
def test_a_damaged_or_foreign_file_is_one_line(folder, tmp_path, capsys, content, words):
    file = folder / "prompts.json"
    file.write_bytes(content)
    with pytest.raises(SystemExit) as stop:
        main(
            [
                "generate",
                "ball",
                "--weights",
                str(folder),
                "--until",
                "decoder",
                "--out",
                str(tmp_path / "out"),
            ]
        )
    file.unlink()
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"mav: error: {file}: is not usable (")
    assert words in line
    assert "remove it and write it anew with `mav weights prompts`" in line
    assert not (tmp_path / "out").exists()


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "prompts.json").mkdir()
    with pytest.raises(UsageError, match=r"prompts\.json: is not usable \(Is a directory\); mend it"):
        read_known(tmp_path)


def test_names_are_read_from_lines_and_from_json(tmp_path):
    lines, listed = tmp_path / "names.txt", tmp_path / "emoji.json"
    lines.write_text("a ball\n\n ring \na ball\n")
    listed.write_text(json.dumps([{"name": "a ball", "code": "1"}, {"name": "ring"}]))
    assert read_names(lines) == read_names(listed) == ["a ball", "ring"]
    for path, content in (
        (lines, "\n\n"),
        (listed, "[]"),
        (listed, '["ball"]'),
        (listed, '{"a": 1}'),
        (listed, "["),
    ):
        path.write_text(content)
        with pytest.raises(UsageError, match=r"(names.txt|emoji.json): holds no names; name a file with"):
            read_names(path)
