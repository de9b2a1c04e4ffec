"""The command line: fast help, one-line errors, and the order of runs and layers."""

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import lightning  # noqa: F401 - here, so that its log handlers do not hold on to the stderr of one test
import pytest
from PIL import Image

from helpers.places import ROOT
from helpers.runs import arguments
from helpers.tiny_cascade import TINY, save_tiny_cascade
from lightning_mav import cli
from lightning_mav.cli import generate as generate_command
from lightning_mav.cli import train as train_command
from lightning_mav.training import train as training
from lightning_mav.training.explain import explain
from lightning_mav.training.runs import Run, all_runs, config_layers, find_run
from lightning_mav.utils.console import stage_progress
from lightning_mav.utils.errors import UsageError


def test_help_imports_neither_torch_nor_lightning():
    code = (
        "import sys; from lightning_mav.cli import main; main(['--help']); main(['--version']);"
        "print(sorted({'torch', 'lightning', 'numpy', 'rich'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"
    assert result.stdout.startswith("usage: mav ")
    assert all(command in result.stdout for command in cli.COMMANDS)


def test_module_and_console_script_exit_with_zero():
    for command in ([sys.executable, "-m", "lightning_mav"], ["mav"]):
        if command == ["mav"]:
            command = [sys.executable, "-c", "from lightning_mav.cli import main; raise SystemExit(main())"]
        result = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
        assert result.stdout.startswith("mav ")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["sing"], ["sing", "generate", "train"]),
        (["train"], ["STAGE"]),
        (
            ["train", "decodr"],
            ["decodr", "clip", "prior", "decoder", "interpolation", "sr_lt", "sr_h", "all"],
        ),
        (["train", "decoder", "--phase", "audio"], ["audio", "image, video"]),
        (["train", "sr_h", "--phase", "video"], ["video", "sr_h", "image"]),
        (["train", "clip", "--scale", "huge"], ["huge", "base", "micro", "paper"]),
        (["train", "all", "--scale", "huge"], ["huge", "base", "micro", "paper"]),
        (["train", "all", "--phase", "video"], ["--phase"]),
        (["train", ""], ["''", "clip"]),
        (["world", "--seed", "x"], ["--seed", "mav world --help"]),
        (["world", "--out", "/proc/world"], ["/proc/world: cannot be written", "--out"]),
        (["world", "--seed", "-1"], ["--seed", "0 or more"]),
        (["world", "--seed", "9" * 400], ["--seed", "(400 characters)"]),
        (
            ["weights", "train", "micro_video", "--out", "/proc/x/a.safetensors"],
            ["cannot write", "/proc/x"],
        ),
        (["data", "pack", ".", "b", "--part", "9" * 5000], ["--part", "I/N"]),
        (["data", "pack", ".", "b", "--size", "1e4"], ["--size", "whole number"]),
        (["data", "show", "a", "--beta", "nan", "1"], ["--beta", "from 0 to 1000"]),
        (["train", "clip", "--seed_everything", "9" * 400], ["seed_everything", "4294967295"]),
        (["train", "clip", "--seed_everything=-1"], ["seed_everything", "at least 0"]),
        (["train", "clip", "--trainer.max_steps=" + "9" * 5000], ["max_steps", "4300 digits"]),
        (["train", "clip", "--trainer.max_steps=-5"], ["max_steps", "-5"]),
        (["train", "clip", "--trainer.devices=" + "9" * 400], ["int"]),
        (["train", "clip", "--data.batch_size=" + "9" * 400], ["batch_size", "10000000"]),
        (["train", "clip", "--data.num_workers=-1"], ["num_workers", "from 0"]),
        (["train", "clip", "--data.max_skipped=2"], ["max_skipped", "from 0 to 1"]),
        (["fit", "--config", "nowhere.yaml"], ["nowhere.yaml"]),
        (["train", "clip", "--trainer.max_stepz=3"], ["max_stepz", "did you mean 'max_steps'", "devices"]),
        (["train", "clip", "--ema.dcay=3"], ["dcay", "ema", "decay"]),
        (["train", "clip", "--trainer.max_steps=few"], ["trainer.max_steps", "int", "few"]),
        (["train", "clip", "--optimizer=Nope"], ["optimizer", "Nope"]),
        (["train", "decoder", "--model.unet.chanels=48"], ["chanels", "'channels'", "num_blocks"]),
        (["train", "decoder", "--model.unt=48"], ["unt", "unet", "diffusion"]),
        (["train", "decoder", "--data.batchsize=48"], ["batchsize", "batch_size"]),
        (["train", "decoder", "--model.unet.attention_levels=[7]"], ["attention_levels", "7"]),
        (["train", "decoder", "--trainer.strategy=ddx"], ["ddx"]),
        (["train", "decoder", "--trainer.strategy=ddp_spawn"], ["ddp_spawn", "use ddp"]),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(argv, words, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit_info:
        cli.main(argv)
    assert exit_info.value.code == 2
    err = capsys.readouterr().err.strip().splitlines()
    assert err[-1].startswith("mav: error: ")
    assert not any("Traceback" in line for line in err)
    assert all(word in err[-1] for word in words), err[-1]
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_explain_names_the_first_part_that_does_not_exist():
    keys = ["trainer.max_steps", "trainer.devices", "ema.decay"]
    assert explain("unrecognized arguments: --trainer.zzz.x=3", keys) == (
        "no key 'zzz' in trainer; its keys are devices, max_steps"
    )
    assert explain("Subcommand 'fit' does not accept option 'trianer.devices'", keys) == (
        "no key 'trianer' in the configuration, did you mean 'trainer'? its keys are ema, trainer"
    )


def test_interruption_is_no_traceback(monkeypatch, capsys):
    def interrupt(argv):
        raise KeyboardInterrupt

    monkeypatch.setattr(train_command, "main", interrupt)
    with pytest.raises(SystemExit) as exit_info:
        cli.main(["train"])
    assert exit_info.value.code == 130
    assert capsys.readouterr().err == "mav: interrupted\n"


SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]


@pytest.mark.parametrize(("signum", "code"), SIGNALS)
@pytest.mark.parametrize("fate", ["raised", "import fails", "swallowed", "Lightning exits"])
def test_a_signal_to_end_is_no_traceback(usual_signals, monkeypatch, capsys, signum, code, fate):
    def end(argv):
        try:
            signal.raise_signal(signum)
        except KeyboardInterrupt as error:
            if fate == "raised":
                raise
            if fate == "Lightning exits":
                raise SystemExit(1) from error
            if fate == "import fails":
                raise ImportError("half imported") from error
        with stage_progress("a video") as progress:
            progress("decoder", 1, 20)
        raise AssertionError("it went on")

    former = signal.getsignal(signum)
    monkeypatch.setattr(generate_command, "main", end)
    with pytest.raises(SystemExit) as error:
        cli.main(["generate"])
    said = "interrupted" if code == 130 else "terminated"
    assert (error.value.code, capsys.readouterr().err) == (code, f"mav: {said}\n")
    assert signal.getsignal(signum) is former


def test_a_signal_that_is_ignored_stays_so(monkeypatch):
    monkeypatch.setattr(generate_command, "main", lambda argv: signal.raise_signal(signal.SIGHUP))
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as by nohup
    try:
        cli.main(["generate"])
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, former)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError(13, "Permission denied", "/a/b"), "/a/b: Permission denied; choose another path"),
        (
            OSError(36, "File name too long", b"x\xe9"),
            r"x\udce9: File name too long; choose another path",
        ),
        (OSError(28, "No space left on device"), "No space left on device; make room"),
        (OSError(30, "Read-only file system", "x\ny"), r"x\ny: Read-only file system; choose another path"),
    ],
)
def test_what_the_system_refuses_is_one_line(error, line, monkeypatch, capsys):
    monkeypatch.setattr(cli, "run", lambda argv: raise_(error))
    with pytest.raises(SystemExit) as exit_info:
        cli.main([])
    assert exit_info.value.code == 2
    (printed,) = capsys.readouterr().err.splitlines()
    assert printed.startswith(f"mav: error: {line}")


@pytest.mark.parametrize(
    "error", [OSError("no path, no number"), ConnectionResetError(104, "reset"), KeyError(1)]
)
def test_faults_of_the_program_stay_tracebacks(error, monkeypatch):
    monkeypatch.setattr(cli, "run", lambda argv: raise_(error))
    with pytest.raises(type(error)):
        cli.main([])


def raise_(error):
    raise error


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_stdout_is_one_line():
    code = "from lightning_mav.cli import main; main(['--help'])"
    with open("/dev/full", "wb") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE)
        assert done.returncode == 2
        assert done.stderr.startswith(b"mav: error: No space left on device")
        assert done.stderr.count(b"\n") == 1
        assert subprocess.run([sys.executable, "-c", "import sys\n" + code], stderr=full).returncode == 0


def test_runs_are_in_the_order_they_need_each_other():
    names = ["clip", "prior", "decoder_image", "decoder", "interpolation", "sr_lt_image", "sr_lt", "sr_h"]
    assert [run.name for run in all_runs()] == names
    assert find_run("decoder", None) == Run("decoder", "image")
    assert find_run("interpolation", None) == Run("interpolation", "video")


def test_a_second_phase_is_layered_over_the_first():
    def layers(stage, phase):
        return ["/".join(path.parts[-3:]) for path in config_layers(Run(stage, phase), "micro")]

    assert [layer.split("configs/")[-1] for layer in layers("sr_lt", "video")] == [
        "base.yaml",
        "stage/sr_lt.yaml",
        "scale/micro/all.yaml",
        "scale/micro/sr_lt.yaml",
        "stage/sr_lt_video.yaml",
        "scale/micro/sr_lt_video.yaml",
    ]
    assert len(layers("interpolation", "video")) == 4


def test_train_all_stops_at_the_first_failure_and_says_which(monkeypatch, capsys):
    calls = []

    class Child:
        def __init__(self, command):
            calls.append(command)
            self.wait = lambda timeout: 1 if "prior" in command else 0

    monkeypatch.setattr(training.subprocess, "Popen", Child)
    with pytest.raises(UsageError, match="prior failed with exit code 1"):
        training.train_all("micro", ["--trainer.max_steps=2"])
    assert [command[command.index("train") + 1] for command in calls] == ["clip", "prior"]
    assert all(command[-1] == "--trainer.max_steps=2" for command in calls)
    assert "failed" in capsys.readouterr().out


def test_make_targets_are_documented():
    makefile = ROOT / "Makefile"
    targets = makefile.read_text().split(".PHONY:")[1].splitlines()[0].split()
    listed = subprocess.run(
        ["make", "--no-print-directory", "-f", makefile, "help"], capture_output=True, text=True, check=True
    ).stdout
    assert [line.split()[0] for line in listed.splitlines()[2:]] == targets


SPEAKER = """
import os, sys
from lightning_mav.utils.console import drop_output, open_streams
from lightning_mav.training.signals import say

open_streams()
drop_output()
with open("made", "w") as file:
    assert file.fileno() > 2  # or it would receive what is printed
    for stream in (sys.stdout, sys.stderr):
        print("\\u00e9 words " * 10_000, file=stream, flush=True)
    say("words")
    assert sys.stdin.read() == ""
    file.write("whole")
raise SystemExit(7)
"""
STREAMS = {
    "stdout full": ">/dev/full",
    "stderr full": "2>/dev/full",
    "both full": ">/dev/full 2>/dev/full",
    "stdout closed": ">&-",
    "stderr closed": "2>&-",
    "both closed": ">&- 2>&-",
    "all closed": "<&- >&- 2>&-",
    "readers gone": "2>&1 | true",
}


def under(streams, command, folder, *, env=None):
    """Runs a command in a shell with streams as a shell writes them, and returns its exit status."""
    line = f"{{ {shlex.join(map(str, command))}; echo $? >status; }} {STREAMS[streams]}"
    subprocess.run(["sh", "-c", line], cwd=folder, stdin=subprocess.DEVNULL, env=env, check=True, timeout=300)
    return int((folder / "status").read_text())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("streams", STREAMS)
def test_streams_that_cannot_be_written_stop_no_work_and_hide_no_status(streams, tmp_path):
    assert under(streams, [sys.executable, "-c", SPEAKER], tmp_path) == 7
    assert (tmp_path / "made").read_text() == "whole"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("streams", ["both full", "all closed", "readers gone"])
def test_commands_finish_whatever_their_streams_are(streams, tmp_path, micro_world):
    weights = save_tiny_cascade(tmp_path / "weights")
    (tmp_path / "images").mkdir()
    for i in range(3):
        Image.new("RGB", (8, 8), (80 * i, 0, 0)).save(tmp_path / f"images/{i}.png")
        (tmp_path / f"images/{i}.txt").write_text(f"picture {i}")
    (tmp_path / "eval.yaml").write_text(json.dumps(TINY))
    # Where a command says on stdout what it found, losing that is an error, though what it made is there.
    lost = {"stdout full": 2, "both full": 2, "readers gone": 1}.get(streams, 0)
    commands = [
        (
            ["train", "sr_h", *arguments("sr_h", 2, micro_world, "nano"), "--scale", "nano"],
            0,
            ["outputs/nano/weights/sr_h.safetensors", "outputs/nano/sr_h/checkpoints/step=0000002.ckpt"],
        ),
        (
            ["generate", "a ball", "--weights", weights, "--out", "g", "--steps", "1"],
            lost,
            ["g/a-ball-0.mp4", "g/a-ball-0.gif", "g/a-ball-0.png", "g/a-ball-0.json"],
        ),
        (
            [
                "evaluate",
                "--weights",
                weights,
                "--stage",
                "decoder",
                "--config",
                "eval.yaml",
                "--out",
                "e",
                "--steps",
                "1",
                "--num-per-class",
                "1",
            ],
            lost,
            ["e/report.json", "e/index.html"],
        ),
        (["data", "pack", "images", "packed"], lost, ["packed/00000.tar"]),
    ]
    for command, status, made in commands:
        program = [sys.executable, "-m", "lightning_mav"]
        assert under(streams, [*program, *command], tmp_path) == status, command
        assert [name for name in made if not (tmp_path / name).is_file()] == []


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_program_is_in_utf8_whatever_the_locale(locale, tmp_path):
    place = tmp_path / "d\u00e9/\u65e5"
    code = "import sys; from lightning_mav.cli import main; sys.argv[1:] or sys.exit('none'); main()"
    env = {**os.environ, "LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", code, "train", "clip", "--scale", str(place)]
    done = subprocess.run(command, env=env, capture_output=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert str(place).encode() in done.stderr
    assert done.stderr.count(b"\n") == 1
