"""The command line: fast help, one-line errors, and the order of runs and layers."""

import subprocess
import sys
from pathlib import Path

import lightning  # noqa: F401 - here, so that its log handlers do not hold on to the stderr of one test
import pytest

from lightning_mav import cli
from lightning_mav.commands import train as train_command
from lightning_mav.commands.explain import explain
from lightning_mav.commands.runs import RUNS, Run, config_layers, find_run
from lightning_mav.errors import UsageError


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
        (["world", "--out", "/proc/world"], ["cannot write /proc/world", "--out"]),
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


def test_runs_are_in_the_order_they_need_each_other():
    names = ["clip", "prior", "decoder_image", "decoder", "interpolation", "sr_lt_image", "sr_lt", "sr_h"]
    assert [run.name for run in RUNS] == names
    assert find_run("decoder", None) == Run("decoder", "image")
    assert find_run("interpolation", None) == Run("interpolation", "video")


def test_a_second_phase_is_layered_over_the_first():
    def layers(stage, phase):
        return ["/".join(path.parts[-3:]) for path in config_layers(Run(stage, phase), "micro")]

    assert [layer.split("configs/")[-1] for layer in layers("sr_lt", "video")] == [
        "base.yaml",
        "stage/sr_lt.yaml",
        "scale/micro/sr_lt.yaml",
        "stage/sr_lt_video.yaml",
        "scale/micro/sr_lt_video.yaml",
    ]
    assert len(layers("interpolation", "video")) == 3


def test_train_all_stops_at_the_first_failure_and_says_which(monkeypatch, capsys):
    calls = []

    class Child:
        def __init__(self, command):
            calls.append(command)
            self.wait = lambda: 1 if "prior" in command else 0

    monkeypatch.setattr(train_command.subprocess, "Popen", Child)
    with pytest.raises(UsageError, match="prior failed with exit code 1"):
        train_command.train_all("micro", ["--trainer.max_steps=2"])
    assert [command[command.index("train") + 1] for command in calls] == ["clip", "prior"]
    assert all(command[-1] == "--trainer.max_steps=2" for command in calls)
    assert "failed" in capsys.readouterr().out


def test_make_targets_are_documented():
    makefile = Path(__file__).parents[1] / "Makefile"
    targets = makefile.read_text().split(".PHONY:")[1].splitlines()[0].split()
    listed = subprocess.run(
        ["make", "--no-print-directory", "-f", makefile, "help"], capture_output=True, text=True, check=True
    ).stdout
    assert [line.split()[0] for line in listed.splitlines()[2:]] == targets
