"""``mav generate`` with many prompts: from a file, interrupted and gone on with, on several devices."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers.tiny_cascade import save_tiny_cascade
from lightning_mav.cascade import Cascade
from lightning_mav.cli.generate import main
from lightning_mav.cli.output import base_name
from lightning_mav.cli.shares import share_of
from lightning_mav.data import export
from lightning_mav.utils.errors import UsageError

PROMPTS = ["A BALL!", "a star", "a ball", "a red ring"]
NAMES = {"a-ball-0", "a-star-0", "a-ball-0-2", "a-red-ring-0"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_tiny_cascade(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def generate(weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("prompts.txt").write_text("# mine\n\n" + "\n".join(PROMPTS) + "\n", "utf-8")

    def run(*arguments, out="out"):
        main(
            [
                "--weights",
                str(weights),
                "--until",
                "decoder",
                "--steps",
                "1",
                "--device",
                "cpu",
                "--out",
                out,
                *arguments,
            ]
        )

    return run


def contents(folder):
    """Returns the bytes of a folder's files by name, without what differs from one run to another."""
    found = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    return {name: re.sub(rb'"(seconds|threads)": [\d.]+', b"", data) for name, data in found.items()}


@pytest.fixture
def broken_at(monkeypatch):
    """Lets the cascade raise when it comes to a prompt."""
    made, original = [], Cascade.__call__

    def set_up(prompt, error):
        def call(self, text, **settings):
            made.append(text)
            if text == prompt:
                raise error
            return original(self, text, **settings)

        monkeypatch.setattr(Cascade, "__call__", call)
        return made

    return set_up


def test_prompts_of_a_file_are_those_of_the_command_line(generate):
    generate("--prompts", "prompts.txt")
    generate(*PROMPTS, out="by-hand")
    assert {path.stem for path in Path("out").iterdir()} == NAMES
    assert contents("out") == contents("by-hand")
    generate("one more", "--prompts", "prompts.txt", out="both")
    assert len(contents("both")) == 4 * (len(PROMPTS) + 1)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ["p.txt: cannot be read", "name a text file with one prompt per line"]),
        (b"# nothing\n\n", ["--prompts p.txt: has no prompts"]),
        (b"a ball\r\n\r\nein B\xe4r\r\n", ["p.txt", "(line 3) is 0xe4"]),
        (b"a ball\n\0\n", ["p.txt", "(line 2) is zero"]),
    ],
)
def test_files_that_hold_no_prompts_are_refused_with_the_line(generate, monkeypatch, content, words):
    monkeypatch.setattr(Cascade, "from_pretrained", lambda *_, **__: pytest.fail("loaded first"))
    if content is not None:
        Path("p.txt").write_bytes(content)
    with pytest.raises(UsageError) as error:
        generate("--prompts", "p.txt")
    assert all(word in str(error.value) for word in words), str(error.value)
    assert not Path("out").exists()


def test_what_is_finished_is_listed_after_ctrl_c(generate, broken_at, capsys):
    broken_at("a ball", KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        generate("--prompts", "prompts.txt")
    listed = capsys.readouterr().out.splitlines()
    assert listed == [
        f"out/{name}{ending}"
        for name in ("a-ball-0", "a-star-0")
        for ending in (".mp4", ".gif", ".png", ".json")
    ]
    assert {path.as_posix() for path in Path("out").iterdir()} == set(listed)


def test_what_is_finished_is_listed_when_the_disk_is_full(generate, monkeypatch, capsys):
    original, left = export.WRITERS[".gif"], iter([True, True, False])

    def write(*arguments, **settings):
        if not next(left):
            raise OSError(28, "No space left on device")
        return original(*arguments, **settings)

    monkeypatch.setitem(export.WRITERS, ".gif", write)
    with pytest.raises(UsageError, match="No space left on device"):
        generate("--prompts", "prompts.txt")
    listed = capsys.readouterr().out.splitlines()
    assert {path.as_posix() for path in Path("out").iterdir()} == set(listed)
    assert len(listed) == 8


def test_a_run_that_was_interrupted_goes_on(generate, broken_at, capsys):
    generate("--prompts", "prompts.txt", out="whole")
    made = broken_at("a ball", KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        generate("--prompts", "prompts.txt")
    made.clear()
    broken_at(None, None)
    generate("--prompts", "prompts.txt", "--skip-existing")
    assert made == PROMPTS[2:]
    assert contents("out") == contents("whole")


def test_only_whole_videos_of_the_same_settings_are_skipped(generate, broken_at, capsys):
    generate("--prompts", "prompts.txt")
    made = broken_at(None, None)
    capsys.readouterr()
    generate("--prompts", "prompts.txt", "--skip-existing")
    assert made == []
    assert [
        line for line in capsys.readouterr().err.splitlines() if line.endswith(": made before, left out")
    ] == [f"{prompt}: made before, left out" for prompt in PROMPTS]
    Path("out/a-star-0.png").unlink()
    generate("--prompts", "prompts.txt", "--skip-existing")
    assert made == ["a star"]
    for options in (["--fps", "3"], ["--guidance-scale", "3"], ["--frame-skip", "2"], ["--formats", "webp"]):
        made.clear()
        generate("--prompts", "prompts.txt", "--skip-existing", *options)
        assert made == PROMPTS, options


def test_shares_hold_each_prompt_once_and_keep_names_together():
    prompts = [*PROMPTS, "a ball", "a Ball", "x", "y"]
    names = [base_name(prompt, 0) for prompt in prompts]
    for count in (1, 2, 3, 9):
        shares = [share_of(prompts, names, (i, count)) for i in range(count)]
        assert sorted(prompt for share in shares for prompt in share) == sorted(prompts)
        homes = {(base_name(prompt, 0), i) for i, share in enumerate(shares) for prompt in share}
        assert len(homes) == len(set(names))
        for share in shares:
            assert share == [prompt for prompt in prompts if prompt in share]


@pytest.mark.slow
def test_several_processes_make_the_same_bytes(generate):
    generate("--prompts", "prompts.txt", out="one")
    generate("--prompts", "prompts.txt", "--devices", "2", out="several")
    assert contents("several") == contents("one")


@pytest.mark.slow
def test_errors_of_several_processes_are_one(generate, weights, capfd):
    with pytest.raises(UsageError, match=r"no/where.*make train") as error:
        generate("--prompts", "prompts.txt", "--devices", "2", "--weights", "no/where")
    assert len(str(error.value).splitlines()) == 1
    assert "mav: error" not in capfd.readouterr().err
    with pytest.raises(UsageError, match="--devices 2: --device cuda:1 is one device"):
        generate("--prompts", "prompts.txt", "--devices", "2", "--device", "cuda:1")


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("wait", ["until one is finished", 1.0, 2.0, 3.0])
def test_a_signal_ends_all_processes_and_keeps_what_is_finished(
    usual_signals, weights, tmp_path, signum, code, wait
):
    (tmp_path / "p.txt").write_text("\n".join(f"ball number {i}" for i in range(400)))
    options = [
        "--weights",
        str(weights),
        "--prompts",
        "p.txt",
        "--device",
        "cpu",
        "--devices",
        "2",
        "--out",
        "out",
    ]
    command = [sys.executable, "-m", "lightning_mav", "generate", *options]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    if isinstance(wait, float):
        time.sleep(wait)
    while not isinstance(wait, float) and not list(tmp_path.glob("out/*.json")):
        time.sleep(0.1)
    process.send_signal(signum)
    out, err = process.communicate(timeout=10)
    assert process.returncode == code
    assert err.splitlines()[-1] == ("mav: interrupted" if signum == signal.SIGINT else "mav: terminated")
    listed = set(out.splitlines())
    found = os.listdir(tmp_path / "out") if (tmp_path / "out").exists() else []
    assert {f"out/{name}" for name in found} == listed
    assert all(json.loads(path.read_text()) for path in tmp_path.glob("out/*.json"))
    assert (0 if isinstance(wait, float) else 4) <= len(listed) < 1600
