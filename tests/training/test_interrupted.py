"""Training that is stopped, kept out or short of room ends in order: with its status, step and one line."""

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from helpers.runs import RUN, arguments, assert_equal
from lightning_mav import cli
from lightning_mav.datamodules.base import ShardsDataModule
from lightning_mav.training import checkpoints, signals
from lightning_mav.training.callbacks import DataMonitor, StepSeed, StopOnSignal
from lightning_mav.training.checkpoints import read_newest
from lightning_mav.training.signals import STOPPING, Stopped
from lightning_mav.training.train import train
from lightning_mav.utils.errors import UsageError
from lightning_mav.weights import read_training

PARTS = ("state_dict", "current_model_state", "optimizer_states", "lr_schedulers", "MicroImages")


def names(folder):
    return sorted(path.name for path in (folder / "checkpoints").glob("*.ckpt"))


def kill_in(monkeypatch, owner, name, signum=signal.SIGTERM, when=lambda *args: True):
    """Sends a signal to this process at the first call of a method of which ``when`` is true."""
    original, sent = getattr(owner, name), []

    def method(self, *args, **kwargs):
        if not sent and when(*args):
            sent.append(signum)
            os.kill(os.getpid(), signum)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(owner, name, method)
    return sent


def at_step(step):
    return lambda trainer, *args: trainer.global_step == step


@pytest.fixture(autouse=True)
def heeded_signals():
    """Undoes what a shell does to programs in the background: there SIGINT is ignored."""
    before = {signum: signal.signal(signum, signal.SIG_DFL) for signum in STOPPING}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.fixture(scope="module")
def undisturbed(place, micro_world):
    """The last checkpoint of a run of four steps that nothing has stopped."""
    before = os.getcwd()
    os.chdir(place)
    try:
        train(
            RUN["sr_h"], "micro", overrides=arguments("sr_h", 4, micro_world), outputs=place / "undisturbed"
        )
    finally:
        os.chdir(before)
    return read_newest(place / "undisturbed/sr_h/checkpoints")[1]


SLOW = pytest.mark.slow
MOMENTS = {
    "in a step": (StepSeed, "on_train_batch_start", at_step(1), 2),
    "in the first step": (StepSeed, "on_train_batch_start", at_step(0), 1),
    "in validation": (DataMonitor, "on_validation_start", at_step(2), 2),
    "while a checkpoint is written": (checkpoints.CheckpointFiles, "save_checkpoint", lambda *_: True, 2),
}


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("moment", MOMENTS)
def test_signal_saves_the_step_and_is_the_exit_status(
    moment,
    signum,
    fit,
    undisturbed,
    monkeypatch,
    capfd,
):
    if moment != "in a step" and signum != signal.SIGTERM:
        pytest.skip("signals differ in their number alone")
    owner, name, when, step = MOMENTS[moment]
    with monkeypatch.context() as patch:
        sent = kill_in(patch, owner, name, signum, when)
        with pytest.raises(SystemExit) as stopped:
            fit("sr_h", 4, "--checkpoint.every_n_train_steps=100", fresh=True)
        assert sent
    assert stopped.value.code == (143 if signum == signal.SIGUSR1 else 128 + signum)
    assert f"mav: stopped by {signum.name} at step {step}, which is saved" in capfd.readouterr().err
    assert read_newest(Path("outputs/micro/sr_h/checkpoints"))[1]["global_step"] == step
    assert not Path("outputs/micro/weights/sr_h.safetensors").exists()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    folder, _ = fit("sr_h", 4, "--checkpoint.every_n_train_steps=100")
    assert f"resuming sr_h from step {step} to step 4" in capfd.readouterr().out
    end = read_newest(folder / "checkpoints")[1]
    for part in PARTS:
        assert_equal(end[part], undisturbed[part], part)


def test_signal_between_the_batches_of_a_step_waits_for_its_end(fit, monkeypatch):
    calls = []

    def second_batch(trainer, *_):
        calls.append(trainer.global_step)
        return calls == [0, 0, 1]  # the first batch of the second step

    with monkeypatch.context() as patch:
        kill_in(patch, StepSeed, "on_train_batch_start", when=second_batch)
        with pytest.raises(SystemExit):
            fit("sr_h", 4, "--trainer.accumulate_grad_batches=2", fresh=True)
    assert calls == [0, 0, 1]
    folder, _ = fit("sr_h", 4, "--trainer.accumulate_grad_batches=2", "--trainer.fast_dev_run=true")
    assert read_newest(folder / "checkpoints")[1]["global_step"] == 2


def test_second_signal_of_a_user_does_not_wait_but_an_echo_or_a_clusters_does(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    stop = StopOnSignal()
    stop.note(signal.SIGTERM, None)
    now[0] = 0.5
    stop.note(signal.SIGTERM, None)  # to the group, and handed on by the parent
    now[0] = 5.0
    stop.note(signal.SIGUSR1, None)
    stop.note(signal.SIGTERM, None)
    with pytest.raises(Stopped) as stopped:
        stop.note(signal.SIGINT, None)
    assert stopped.value.code == 130
    assert stop.signum == signal.SIGTERM


def test_process_that_lightning_started_hands_a_signal_on_before_the_first_step(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(os, "getppid", os.getpid)  # this process is its own parent
    signum_of_parent = []
    monkeypatch.setattr(os, "kill", lambda pid, signum: signum_of_parent.append((pid, signum)))
    monkeypatch.setattr(signals, "PARENT_SECONDS", 0.0)
    with pytest.raises(Stopped), signals.training_process():
        signal.raise_signal(signal.SIGUSR1)
    assert signum_of_parent == [(os.getpid(), signal.SIGUSR1)]


def test_signal_before_the_first_step_puts_back_what_fresh_has_moved(fit, monkeypatch, capfd, micro_world):
    _, weights = fit("sr_h", 2, fresh=True)
    before = weights.read_bytes()
    kill_in(monkeypatch, ShardsDataModule, "prepare_data")
    with pytest.raises(SystemExit) as stopped:
        cli.main(["train", "sr_h", "--fresh", *arguments("sr_h", 2, micro_world)])
    assert stopped.value.code == 143
    captured = capfd.readouterr()
    assert "mav: stopped by SIGTERM; the same command goes on" in captured.err
    assert "put what was in outputs/micro/sr_h back" in captured.out
    assert weights.read_bytes() == before
    assert names(weights.parents[1] / "sr_h") == ["last.ckpt", "step=0000002.ckpt"]


def test_ignored_signals_stay_ignored(fit, monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    try:
        kill_in(monkeypatch, StepSeed, "on_train_batch_start", signal.SIGHUP)
        _, weights = fit("sr_h", 2, fresh=True)
        assert weights.exists()
    finally:
        signal.signal(signal.SIGHUP, before)


PARENT = """
import sys
from lightning_mav.training.train import _run
child = '''
import signal, sys, time
for signum in (signal.SIGTERM, signal.SIGUSR1):
    signal.signal(signum, lambda *_: sys.exit(int(sys.argv[1])))
print("started", flush=True)
while True:
    time.sleep(0.1)
'''
print(_run([sys.executable, "-c", child, sys.argv[1]]))
"""


@pytest.mark.parametrize(("ends_with", "status"), [(143, 143), (0, 143), (2, 2)])
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGUSR1])
def test_training_of_all_hands_the_signal_on_and_waits(signum, ends_with, status):
    command = [sys.executable, "-c", PARENT, str(ends_with)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert parent.stdout.readline() == "started\n"
    parent.send_signal(signum)
    out, _ = parent.communicate(timeout=60)
    assert int(out) == status


def test_newest_two_checkpoints_are_kept_however_often_a_run_is_resumed(fit):
    folder, _ = fit("sr_h", 1, fresh=True)
    (folder / "checkpoints/mine.ckpt").write_bytes(b"another's")
    for steps in (2, 4):  # once with one save and once with two, after which the first is in the way
        fit("sr_h", steps, "--checkpoint.every_n_train_steps=1")
    assert names(folder) == ["last.ckpt", "mine.ckpt", "step=0000003.ckpt", "step=0000004.ckpt"]
    newest = folder / "checkpoints/step=0000004.ckpt"
    newest.write_bytes(newest.read_bytes()[:1000])
    with pytest.warns(UserWarning, match="is damaged"):
        fit("sr_h", 6, "--trainer.val_check_interval=100")  # saves the last step alone
    assert names(folder) == ["last.ckpt", "mine.ckpt", "step=0000003.ckpt", "step=0000006.ckpt"]


HOLDER = """
import os, sys, time
from pathlib import Path
from lightning_mav.training.folders import RunFolders
folders = RunFolders(Path(sys.argv[1]))
folders.claim()
if not os.fork():  # as reading processes are
    time.sleep(20)
    os._exit(0)
print("claimed", flush=True)
time.sleep(60)
"""


def test_second_training_is_kept_out_until_the_first_is_gone_or_killed(fit, place):
    folder, weights = fit("sr_h", 2, fresh=True)
    config = (folder / "config.yaml").read_bytes()
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, folder], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "claimed\n"
        for fresh in (False, True):
            with pytest.raises(UsageError, match=rf"another run is writing there \(process {holder.pid} on"):
                fit("sr_h", 3, fresh=fresh)
        assert (folder / "config.yaml").read_bytes() == config
        assert weights.exists()
        holder.kill()
        holder.stdout.close()
        holder.wait()
    fit("sr_h", 3)
    assert names(folder) == ["last.ckpt", "step=0000002.ckpt", "step=0000003.ckpt"]


@pytest.mark.parametrize(
    "mistake",
    [
        "--trainer.max_stepz=3",
        "--model.unet.channels=-8",
        "--trainer.strategy=ddx",
        "--trainer.max_steps=0",
        "--data.root=/proc/nowhere",
    ],
)
def test_fresh_start_with_a_mistake_leaves_what_is_there(mistake, fit):
    folder, weights = fit("sr_h", 2)
    before, config = weights.read_bytes(), (folder / "config.yaml").read_bytes()
    folders = sorted(folder.parent.iterdir())
    with pytest.raises((UsageError, OSError)):
        fit("sr_h", 2, mistake, fresh=True)
    assert (weights.read_bytes(), (folder / "config.yaml").read_bytes()) == (before, config)
    assert sorted(folder.parent.iterdir()) == folders


def test_full_disk_is_one_line_and_leaves_whole_checkpoints_alone(fit, monkeypatch):
    folder, _ = fit("sr_h", 2, fresh=True)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, before[1]))
    try:
        with pytest.raises(
            UsageError, match=r"step=0000004\.ckpt: cannot be written \(File too large\)"
        ) as caught:
            fit("sr_h", 4)
        assert "\n" not in str(caught.value)
        assert names(folder) == ["last.ckpt", "step=0000002.ckpt"]
        assert not list(folder.rglob("*.part"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    (folder / "checkpoints/.step=0000003.ckpt.part").write_bytes(b"of a run that was killed")
    monkeypatch.setattr(tempfile, "tempdir", "/proc/nowhere")  # nothing is written there
    fit("sr_h", 4)
    assert names(folder) == ["last.ckpt", "step=0000002.ckpt", "step=0000004.ckpt"]
    assert not list(folder.rglob("*.part"))


@pytest.mark.parametrize(("fresh", "num"), [(True, 3), pytest.param(False, 1, marks=SLOW)])
def test_disk_without_room_for_checkpoints_is_found_before_training(fresh, num, fit, monkeypatch):
    folder, weights = fit("sr_h", 2, "--checkpoint.every_n_train_steps=1", fresh=True)
    before = weights.read_bytes(), names(folder)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10_000))
        with pytest.raises(UsageError, match=rf"{num} checkpoints of .* GB or more .* 1e-05 GB are free"):
            fit("sr_h", 4, fresh=fresh)
    assert (weights.read_bytes(), names(folder)) == before
    one = max(path.stat().st_size for path in folder.rglob("*.ckpt"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=one))
    fit("sr_h", 4)  # one more is written before the oldest is deleted


def test_full_disk_at_the_weights_keeps_the_checkpoint(fit, monkeypatch):
    def save(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("lightning_mav.training.trainer.save_weights", save)
        with pytest.raises(UsageError, match=r"sr_h.safetensors: cannot be written \(No space left"):
            fit("sr_h", 2, fresh=True)
    _, weights = fit("sr_h", 2)
    assert weights.exists()


@pytest.mark.parametrize(
    ("place_of_it", "words"),
    [("sr_h", "sr_h: cannot be written"), ("weights", "weights: cannot be written")],
)
def test_folder_that_is_a_file_is_found_before_training(place_of_it, words, tmp_path, micro_world):
    (tmp_path / place_of_it).write_text("x")
    with pytest.raises(UsageError, match=words):
        train(RUN["sr_h"], "micro", overrides=arguments("sr_h", 2, micro_world), outputs=tmp_path)


@pytest.mark.parametrize("num", [0, 3])
def test_gradient_that_is_not_finite_names_step_and_data(num, fit, monkeypatch):
    collate, calls = ShardsDataModule.__subclasses__()[0].collate, []

    def spoil(self, examples):
        batch = collate(self, examples)
        calls.append(batch)
        if len(calls) == 3:  # of the second step; one batch is for validation
            batch["image"].view(-1)[:num] = float("nan")
            batch["image"] *= 1 if num else 1e30
        return batch

    monkeypatch.setattr(ShardsDataModule.__subclasses__()[0], "collate", spoil)
    reason = (
        r"NaN or infinite \(3 in image\): mend the data"
        if num
        else r"are, up to .*e\+(29|30) in size: lower --model"
    )
    with pytest.raises(UsageError, match=rf"not finite at step 1(:|,).*{reason}.*are kept"):
        fit(
            "sr_h", 4, "--trainer.accumulate_grad_batches=1", "--checkpoint.every_n_train_steps=1", fresh=True
        )
    checkpoint = read_newest(Path("outputs/micro/sr_h/checkpoints"))[1]
    assert checkpoint["global_step"] == 1
    assert all(torch.isfinite(tensor).all() for tensor in checkpoint["state_dict"].values())


SLURM = {"SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}


@pytest.mark.parametrize(
    ("options", "env", "words"),
    [
        (
            ["--trainer.precision=bf16-true"],
            {},
            "precision=bf16-true.*choose one of 32-true, bf16-mixed",
        ),
        (["--trainer.precision=16-true"], {}, "precision=16-true"),
        (["--trainer.precision=64-true"], {}, "precision=64-true"),
        (["--trainer.precision=transformer-engine"], {}, "precision=transformer-engine"),
        (["--trainer.precision=16"], {}, "16-mixed needs a GPU"),
        (["--compile=true"], {}, "--compile needs a GPU"),
        (["--trainer.max_steps=0"], {}, "max_steps=0"),
        (["--trainer.max_steps=-2"], {}, "max_steps=-2"),
        (["--trainer.devices=0"], {}, "devices"),
        (["--trainer.devices=-1"], {}, "devices"),
        (["--trainer.strategy=nope"], {}, "nope"),
        (["--trainer.accelerator=tpu"], {}, "torch_xla"),
        (["--trainer.accumulate_grad_batches=0"], {}, "accumulate_grad_batches"),
        (["--trainer.limit_train_batches=0"], {}, "no step was trained"),
        (["--trainer.limit_train_batches=0.5"], {}, "limit_train_batches"),
        (["--trainer.limit_train_batches=1"], {}, "limit_train_batches=1: .*end at step 1 of .*max_steps=2"),
        (["--trainer.overfit_batches=1"], {}, "overfit_batches=1: training would end at step 1"),
        (
            [
                "--trainer.limit_train_batches=3",
                "--trainer.accumulate_grad_batches=2",
                "--trainer.max_epochs=2",
                "--trainer.max_steps=5",
            ],
            {},
            "end at step 4 of --trainer.max_steps=5",
        ),
        (["--trainer.enable_checkpointing=false"], {}, "checkpoint"),
        (["--trainer.gradient_clip_algorithm=nope"], {}, "gradient_clip_algorithm"),
        (["--trainer.gradient_clip_val=-1"], {}, "gradient_clip_val=-1"),
        (["--trainer.val_check_interval=0"], {}, "val_check_interval=0: give a number of steps"),
        (["--trainer.max_epochs=0"], {}, "no step was trained"),
        (["--trainer.check_val_every_n_epoch=0"], {}, "check_val_every_n_epoch=0: give a positive"),
        (["--trainer.num_nodes=2"], {}, "not set: MASTER_ADDR, NODE_RANK"),
        (["--trainer.num_nodes=2"], {"MASTER_ADDR": "localhost"}, "not set: NODE_RANK"),
        (["--fresh", "--trainer.default_root_dir=."], {}, "folder aside that this command is in"),
        (["--fresh", "--trainer.default_root_dir=null"], {}, "folder aside that this command is in"),
        (["--checkpoint.filename={step"], {}, "filename={step: is no pattern"),
        (["--checkpoint.filename={step:07q}"], {}, "filename={step:07q}: is no pattern"),
        (["--ckpt_path=file:///nowhere/a.ckpt"], {}, "a.ckpt: there is no such file"),
        (["--ckpt_path=nowhere://a.ckpt"], {}, "ckpt_path=nowhere://a.ckpt: cannot be read"),
        (["--ema.device=cuda:99"], {}, "--ema.device cuda:99: not usable here"),
        (["--ema.update_every_n_steps=0"], {}, "update_every_n_steps=0: give a positive"),
        (["--ema.update_starting_at_step=2"], {}, "untrained weights be written"),
        (["--seed_everything=-1"], {}, "seed_everything must be at least 0"),
        (["--model.lr=-1"], {}, "lr must be at least 0, got -1.0"),
        (["--optimizer=LBFGS"], {}, "optimizer=torch.optim.LBFGS: cannot train this"),
        (["--ckpt_path=last"], {}, "ckpt_path=last: there is no such file"),
        ([], {"SLURM_NTASKS": "8"}, "SLURM_PROCID is not: start this by srun"),
        ([], {**SLURM, "SLURM_NTASKS": "8"}, "give --ntasks-per-node"),
        ([], {**SLURM, "SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "4"}, "4 processes were started"),
        ([], {**SLURM, "SLURM_NTASKS": "two"}, "SLURM_NTASKS=two: is no whole number"),
        (
            [],
            {
                "TORCHELASTIC_RUN_ID": "1",
                "WORLD_SIZE": "2",
                "RANK": "0",
                "LOCAL_RANK": "0",
                "GROUP_RANK": "0",
            },
            "2 processes were started",
        ),
    ],
)
def test_what_cannot_be_trained_here_is_one_line(
    options, env, words, tmp_path, micro_world, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as left:
        cli.main(["train", "sr_h", *arguments("sr_h", 2, micro_world), *options])
    assert left.value.code == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("mav: error")]
    assert len(lines) == 1
    assert re.search(words, lines[0]), lines
    assert not (tmp_path / "outputs/micro/weights/sr_h.safetensors").exists()


def test_torchrun_that_srun_has_started_trains(fit, monkeypatch):
    fit("sr_h", 2, fresh=True)
    started = {**SLURM, "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2"}  # of torchrun, not of training
    ranks = {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0", "GROUP_RANK": "0"}
    for name, value in {**started, **ranks}.items():
        monkeypatch.setenv(name, value)
    folder, _ = fit("sr_h", 3)
    assert "step=0000003.ckpt" in names(folder)


def test_job_that_salloc_calls_interactive_trains(fit, monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "8")
    monkeypatch.setenv("SLURM_JOB_NAME", "interactive")
    fit("sr_h", 2, fresh=True)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ("missing", "there is no such file"),
        ("folder", "is a folder"),
        ("weights", "it holds weights alone"),
        ("truncated", "is no whole checkpoint"),
        ("pickle", "could run code"),
        ("tensor", "is no checkpoint of a training"),
        ("weights alone", "holds weights alone .--checkpoint.save_weights_only"),
        pytest.param("other stage", "another network", marks=SLOW),
    ],
)
def test_checkpoint_that_cannot_be_gone_on_from_is_one_line(made, words, fit, tmp_path):
    folder, weights = fit("sr_h", 2)
    path = tmp_path / "a.ckpt"
    if made == "folder":
        path.mkdir()
    elif made == "weights":
        path = weights
    elif made == "weights alone":
        fit("sr_h", 2, "--checkpoint.save_weights_only=true", fresh=True)
        path = folder / "checkpoints/last.ckpt"
    elif made == "truncated":
        data = (folder / "checkpoints/last.ckpt").read_bytes()
        path.write_bytes(data[: len(data) // 2])
    elif made == "pickle":
        path.write_bytes(b"\x80\x02c__builtin__\nprint\n.")
    elif made == "tensor":
        torch.save({"a": torch.zeros(2)}, path)
    elif made == "other stage":
        fit("interpolation", 2)
        path = folder.parent / "interpolation/checkpoints/last.ckpt"
    with pytest.raises(UsageError, match=words) as caught:
        fit("sr_h", 100, f"--ckpt_path={path}")  # more than other tests have trained it
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        ["--trainer.logger=false"],
        ['--trainer.logger=[{"class_path": "CSVLogger", "init_args": {"save_dir": "logs"}}, '
         '{"class_path": "TensorBoardLogger", "init_args": {"save_dir": "logs"}}]'],
        ["--trainer.callbacks=null"],
        ["--trainer.val_check_interval=1000"],
        ["--trainer.log_every_n_steps=0"],
        ["--trainer.gradient_clip_algorithm=value"],
        ["--data.num_val_batches=1", "--trainer.limit_val_batches=0"],
    ],
)  # fmt: skip
def test_other_settings_of_the_trainer_work(options, fit, recwarn):
    _, weights = fit("sr_h", 2, *options, fresh=True)
    assert weights.exists()
    assert not [w for w in recwarn if "across ranks is zero" in str(w.message)]


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        pytest.param(["--trainer.max_steps=-1"], 3, marks=SLOW),
        pytest.param(["--trainer.max_steps=5", "--trainer.max_epochs=-1"], 5, marks=SLOW),
        (["--trainer.max_steps=-1", "--trainer.max_epochs=2", "--trainer.accumulate_grad_batches=2"], 4),
    ],
)
def test_limit_of_batches_ends_a_run_as_its_last_step_does(options, steps, fit):
    options = ["--trainer.limit_train_batches=3", "--weights_dtype=fp32", *options]
    folder, weights = fit("sr_h", 2, *options, fresh=True)
    path, checkpoint = read_newest(folder / "checkpoints")
    assert path.name == f"step={steps:07}.ckpt"
    assert checkpoint["global_step"] == read_training(weights)["step"] == steps
    average = weights.read_bytes()
    weights.unlink()
    fit("sr_h", 2, *options)  # nothing is left to train
    assert weights.read_bytes() == average


def test_fewer_steps_than_are_done_writes_what_there_is(fit, capsys):
    _, weights = fit("sr_h", 4, fresh=True)
    weights.unlink()
    fit("sr_h", 2)
    assert "resuming sr_h from step 4; it has all steps" in capsys.readouterr().out
    assert weights.exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("to", ["first", "second", "all"])
def test_processes_of_one_run_stop_at_the_same_step(to, tmp_path, micro_world):
    command = [sys.executable, "-m", "lightning_mav", "train", "sr_h", *arguments("sr_h", 2000, micro_world)]
    command += ["--trainer.strategy=ddp", "--trainer.devices=2", "--data.num_workers=1"]
    command += ["--trainer.val_check_interval=1000"]
    with (tmp_path / "log").open("w") as log:
        kwargs = {"cwd": tmp_path, "stdout": log, "stderr": log, "start_new_session": True}
        first = subprocess.Popen(command, **kwargs)
    events = tmp_path / "outputs/micro/sr_h/checkpoints"
    wait_for(lambda: "train/loss" in (tmp_path / "log").read_text() or list(events.glob("*.ckpt")))
    if to == "all":
        os.killpg(first.pid, signal.SIGTERM)
    else:
        children = subprocess.check_output(["pgrep", "-P", str(first.pid), "-f", "sr_h"], text=True).split()
        pids = [first.pid, *(int(pid) for pid in children if "LOCAL_RANK=1" in environment(pid))]
        os.kill(pids[to == "second"], signal.SIGTERM)
    assert first.wait(timeout=300) == 143
    text = (tmp_path / "log").read_text()
    assert "Traceback" not in text
    assert text.count("mav: stopped by SIGTERM at step") == 1
    step = int(re.search(r"stopped by SIGTERM at step (\d+)", text)[1])
    assert read_newest(events)[1]["global_step"] == step


def wait_for(condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


def environment(pid):
    try:
        with open(f"/proc/{pid}/environ") as file:
            return file.read()
    except OSError:
        return ""
