"""Every run trains, resumes, and writes weights that can be loaded, from the shipped layers at tiny sizes."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import torch
import yaml
from safetensors.torch import load_file, save

from helpers.runs import RUN, arguments
from lightning_mav.training.checkpoints import read_newest
from lightning_mav.training.train import train
from lightning_mav.utils import configured, threads
from lightning_mav.utils.errors import UsageError
from lightning_mav.weights import load_weights, read_training, save_weights

LARGE = ("decoder", "decoder_image", "sr_lt", "interpolation")  # their runs take longest
NEEDS = {
    "prior": ["clip"],
    "decoder_image": ["clip"],
    "decoder": ["decoder_image"],
    "interpolation": ["decoder"],
    "sr_lt": ["sr_lt_image"],
}


@pytest.mark.parametrize("name", RUN)
def test_run_trains_resumes_and_reloads(fit, name, capsys):
    _, weights = fit(name, 2)
    assert read_training(weights)["step"] == 2
    folder, weights = fit(name, 3)
    assert f"resuming {name} from step 2 to step 3" in capsys.readouterr().out
    assert read_training(weights) == {"run": name, "step": 3}
    path, checkpoint = read_newest(folder / "checkpoints")
    assert checkpoint["global_step"] == 3
    assert (folder / "checkpoints/last.ckpt").resolve() == path
    assert list(folder.glob("events.out.tfevents.*"))
    # What is written is the average, which is what a checkpoint's state_dict holds.
    state = load_weights(weights).state_dict()
    for key, tensor in state.items():
        torch.testing.assert_close(tensor, checkpoint["state_dict"][f"model.{key}"].half().to(tensor.dtype))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in LARGE else ()) for name in RUN]
)
def test_nano_run_trains(fit, name):
    _, weights = fit(name, 2, scale="nano")
    assert read_training(weights) == {"run": name, "step": 2}
    assert load_weights(weights).training is False


def test_resuming_starts_from_the_checkpoint_alone(fit, place, micro_world):
    fit("sr_lt", 2, fresh=True)
    start = place / "outputs/micro/weights/sr_lt_image.safetensors"
    moved = start.rename(place / "moved.safetensors")
    try:
        train(RUN["sr_lt"], "micro", overrides=arguments("sr_lt", 3, micro_world))
    finally:
        moved.rename(start)
    assert read_training(start.with_stem("sr_lt"))["step"] == 3


def test_finished_run_is_left_alone(fit, capsys):
    _, weights = fit("sr_h", 2, fresh=True)
    before = weights.stat().st_mtime_ns
    fit("sr_h", 2)
    assert "sr_h is finished at step 2: raise --trainer.max_steps or pass --fresh" in capsys.readouterr().out
    assert weights.stat().st_mtime_ns == before


def test_weights_are_stored_as_asked_for(fit):
    huge = ["--model.lr=1e6", "--model.warmup_steps=1", "--ema.decay=0", "--trainer.precision=32-true"]
    with pytest.raises(UsageError, match=r"more than fp16 can hold .*--weights_dtype writes it"):
        fit("sr_h", 1, *huge, fresh=True)
    _, weights = fit("sr_h", 1, *huge, "--weights_dtype=bf16")
    assert {tensor.dtype for tensor in load_file(weights).values()} == {torch.bfloat16}


def test_a_training_computes_with_as_many_threads_as_asked_for(fit, monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    for name in threads.THREADS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "_chosen", set())
    monkeypatch.setattr(threads, "num_cores", lambda: 8)
    fit("sr_h", 1, scale="nano", fresh=True)  # networks that small are slower with more
    fit("sr_h", 1, fresh=True)
    fit("sr_h", 1, "--num_threads=3", fresh=True)
    assert asked == [1, 8, 3]


def test_weights_without_a_step_are_never_trained_over(fit, capsys):
    _, weights = fit("sr_h", 2, fresh=True)
    save_weights(load_weights(weights), weights, training={"seed": 3})
    before = weights.read_bytes()
    fit("sr_h", 3)  # though there is a checkpoint to go on from
    assert "sr_h.safetensors records no step" in capsys.readouterr().out
    assert weights.read_bytes() == before


def test_file_that_is_no_weights_file_is_never_trained_over(fit):
    folder, weights = fit("sr_h", 2, fresh=True)
    content = weights.read_bytes()
    public = save({"visual.proj": torch.zeros(2)})  # such as another's CLIP
    for other in (content[:-1], public):
        weights.write_bytes(other)
        with pytest.raises(
            UsageError, match=r"sr_h.safetensors is not usable .*: move it away, or pass --fre"
        ):
            fit("sr_h", 3)
        assert weights.read_bytes() == other
    shutil.rmtree(folder)
    weights.unlink()


def test_weights_that_cannot_be_rebuilt_are_not_taken_for_finished(fit):
    folder, weights = fit("sr_h", 2, fresh=True)
    module = load_weights(weights)
    module.config["init_args"]["of_another_version"] = 1
    save_weights(module, weights, training=read_training(weights))
    with pytest.raises(
        UsageError, match=r"is not usable \(SRH has no of_another_version: another version of"
    ):
        fit("sr_h", 2)
    shutil.rmtree(folder)
    weights.unlink()


OWN = """
from typing import Any
from lightning_mav.nn import Pseudo3DUNet

class UNet(Pseudo3DUNet):
    def __init__(self, gain: float = 1.0, **kwargs):
        super().__init__(**kwargs)
        self.gain = gain

class Unsaved(Pseudo3DUNet):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.config["init_args"]["activation"] = object()
"""


@pytest.fixture
def own_networks(tmp_path, monkeypatch):
    """A module with U-Nets of one's own, which nobody has allowed yet."""
    (tmp_path / "own_networks.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(configured, "_own_modules", set())
    monkeypatch.setenv("MAV_IMPORT", "")
    yield "own_networks"
    sys.modules.pop("own_networks", None)


def test_unet_of_ones_own_is_trained_and_loaded(fit, own_networks, monkeypatch, capsys):
    unet = ["--model.unet=own_networks.UNet", "--model.unet.gain=2"]
    _, start = fit("sr_lt_image", 2, *unet, fresh=True)
    assert "needs --import own_networks" in capsys.readouterr().out
    monkeypatch.setattr(configured, "_own_modules", set())  # as in another process
    with pytest.raises(UsageError, match=r"sr_lt_image.safetensors: .*--import own_networks, MAV_IMPORT"):
        load_weights(start)
    _, weights = fit("sr_lt", 2, *unet, fresh=True)  # inflated from it; the class is named here again
    monkeypatch.setattr(configured, "_own_modules", set())
    net = load_weights(weights, modules=[own_networks]).net
    assert (type(net).__module__, net.gain) == ("own_networks", 2)
    for name in ("sr_lt_image", "sr_lt"):  # not for the tests that follow
        shutil.rmtree(start.parents[1] / name)
        start.with_stem(name).unlink()


def test_unet_that_could_not_be_loaded_is_refused_before_it_is_trained(fit, own_networks):
    with pytest.raises(UsageError, match=r"sr_h could not be loaded .*own_networks.Unsaved .* activation"):
        fit("sr_h", 2, "--model.unet=own_networks.Unsaved", fresh=True)


def test_damaged_checkpoint_is_passed_over(fit, capsys):
    folder, _ = fit("sr_h", 4, "--checkpoint.every_n_train_steps=1", fresh=True)
    newest, _ = read_newest(folder / "checkpoints")
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    with pytest.warns(UserWarning, match=re.escape(newest.name) + ".* is damaged"):
        fit("sr_h", 5)
    assert "resuming sr_h from step 3 to step 5" in capsys.readouterr().out


def test_lost_weights_are_written_again_from_the_checkpoint(fit):
    _, weights = fit("sr_h", 2, fresh=True)
    before = load_weights(weights).state_dict()
    weights.unlink()
    fit("sr_h", 2)
    after = load_weights(weights).state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_fresh_start_keeps_the_old_run_aside(fit, capsys):
    folder, _ = fit("sr_h", 2, fresh=True)
    capsys.readouterr()
    fit("sr_h", 2, fresh=True)
    out = capsys.readouterr().out
    aside = folder.parent / re.search(r"to outputs/micro/(sr_h\.\d+)", out)[1]
    assert (aside / "sr_h.safetensors").exists()
    assert read_newest(aside / "checkpoints")[1]["global_step"] == 2
    assert "training sr_h to step 2" in out


@pytest.mark.parametrize(
    ("overrides", "changed"),
    [
        (["--model.unet.channels=16"], "network"),
        (["--optimizer=SGD", "--optimizer.lr=0.1"], "optimizer"),
        (["--model.muon=true"], "optimizer"),
    ],
)
def test_checkpoint_of_another_kind_is_refused_and_nothing_changed(fit, overrides, changed):
    folder, _ = fit("sr_h", 2, fresh=True)
    before = (folder / "config.yaml").read_text()
    with pytest.raises(UsageError, match=f"another {changed}"):
        fit("sr_h", 3, *overrides)
    assert (folder / "config.yaml").read_text() == before


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "helpers.own_nets.OneColour",
            r"returns \(2, 1, 1, 24, 24\) for x_t of \(2, 3, 1, 24, 24\)",
        ),
        ("helpers.own_nets.NoTensor", "NoTensor returns int for"),
        ("helpers.own_nets.Raising", r"own_nets\.py, line \d+: KeyError: 'my key'"),
        ("helpers.own_nets.Leaving", r"own_nets\.py, line \d+: SystemExit: 0"),
        ("own_leaving.Net", r"own_leaving\.py, line 2: SystemExit: words"),
        ("helpers.own_nets.Missing", "module 'helpers.own_nets' has no attribute 'Missing'"),
    ],
)
def test_broken_network_of_ones_own_is_said_in_a_line(name, words, fit, tmp_path, monkeypatch):
    (tmp_path / "own_leaving.py").write_text("import sys\nsys.exit('words')\n")
    monkeypatch.syspath_prepend(tmp_path)
    folder, weights = fit("sr_h", 2, "--model.unet=helpers.own_nets.Whole", fresh=True)
    before = weights.read_bytes()
    with pytest.raises(UsageError, match=words) as caught:
        fit("sr_h", 3, f"--model.unet={name}")
    assert "\n" not in str(caught.value)
    assert weights.read_bytes() == before
    assert read_newest(folder / "checkpoints")[1]["global_step"] == 2


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("own_leaving", r"cannot import own_leaving \(SystemExit: words\)"),
        ("./own_leaving.py", "'./own_leaving.py': give the name of a module"),
        ("", "'nothing': give the name of a module"),
    ],
)
def test_module_that_cannot_be_imported_is_said_in_a_line(name, words, tmp_path, monkeypatch):
    (tmp_path / "own_leaving.py").write_text("import sys\nsys.exit('words')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=words):
        configured.allow_modules(name)


@pytest.mark.slow
def test_settings_are_written_and_read_in_utf8_whatever_the_locale(tmp_path, micro_world):
    code = "import json, sys; from lightning_mav.cli import main; main(json.loads(sys.argv[1]))"
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    value = "d\u00e9 \u65e5\u672c"
    options = [*arguments("sr_h", 1, micro_world, "nano"), f"--trainer.logger.init_args.comment={value}"]
    for more in (options, ["--trainer.max_steps=2", "--config=outputs/nano/sr_h/config.yaml"]):
        command = ["train", "sr_h", "--scale", "nano", *more]
        program = [sys.executable, "-c", code, json.dumps(command)]
        subprocess.run(program, cwd=tmp_path, env=env, check=True, capture_output=True, timeout=200)
        config = yaml.safe_load((tmp_path / "outputs/nano/sr_h/config.yaml").read_bytes().decode())
        assert config["trainer"]["logger"]["init_args"]["comment"] == value


def test_run_with_muon_is_resumed_with_muon_alone(fit, capsys):
    fit("sr_h", 2, "--model.muon=true", fresh=True)
    with pytest.raises(UsageError, match="another optimizer"):
        fit("sr_h", 3)
    fit("sr_h", 3, "--model.muon=true")
    assert "resuming sr_h from step 2 to step 3" in capsys.readouterr().out


def test_rates_of_a_resumed_run_are_those_asked_for(fit, tmp_path):
    folder, _ = fit("sr_h", 2, "--model.lr=1e-3", "--model.warmup_steps=1", fresh=True)
    shutil.copytree(folder / "checkpoints", tmp_path / "start")

    def group_after(*overrides):
        shutil.rmtree(folder / "checkpoints")
        shutil.copytree(tmp_path / "start", folder / "checkpoints")
        (folder.parent / "weights" / "sr_h.safetensors").unlink()
        fit("sr_h", 3, "--model.warmup_steps=1", *overrides)
        return read_newest(folder / "checkpoints")[1]["optimizer_states"][0]["param_groups"][0]

    before = group_after("--model.lr=1e-3")
    after = group_after("--model.lr=1e-4", "--model.weight_decay=0.3")
    assert after["lr"] == pytest.approx(before["lr"] / 10)
    assert (after["initial_lr"], after["weight_decay"]) == (1e-4, 0.3)


def test_another_choice_of_layers_is_refused(fit):
    fit("decoder", 2, fresh=True)
    with pytest.raises(UsageError, match=r"another choice of what is trained \(--model.trainable\)"):
        fit("decoder", 3, "--model.trainable=temporal")


@pytest.mark.parametrize("strategy", ["deepspeed_stage_2", "lightning.pytorch.strategies.FSDPStrategy"])
def test_other_ways_to_shard_are_refused(fit, strategy):
    with pytest.raises(UsageError, match=r"shards the network in another way .*: use fsdp, or ddp"):
        fit("sr_h", 2, f"--trainer.strategy={strategy}", fresh=True)


@pytest.mark.parametrize("launched", [{"SLURM_NTASKS": "4"}, {"TORCHELASTIC_RUN_ID": "1"}])
def test_processes_started_side_by_side_move_nothing(fit, monkeypatch, launched):
    folder, _ = fit("sr_h", 2)
    for name, value in launched.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="move it away yourself"):
        fit("sr_h", 2, fresh=True)
    assert folder.is_dir()


def test_checkpoints_elsewhere_are_gone_on_from(fit, tmp_path, capsys):
    elsewhere = f"--checkpoint.dirpath={tmp_path / 'elsewhere'}"
    fit("sr_h", 2, elsewhere, fresh=True)
    capsys.readouterr()
    fit("sr_h", 3, elsewhere)
    assert "resuming sr_h from step 2 to step 3" in capsys.readouterr().out
    fit("sr_h", 4, elsewhere, fresh=True)
    assert "training sr_h to step 4" in capsys.readouterr().out


def test_optimizer_from_the_command_line_is_used(fit):
    folder, _ = fit("sr_h", 2, "--optimizer=SGD", "--optimizer.lr=0.1", fresh=True)
    groups = read_newest(folder / "checkpoints")[1]["optimizer_states"][0]["param_groups"]
    assert "momentum" in groups[0]


@pytest.mark.slow
def test_two_processes_train_and_resume(tmp_path, micro_world):
    for steps in (2, 3):
        command = [
            sys.executable,
            "-m",
            "lightning_mav",
            "train",
            "sr_h",
            *arguments("sr_h", steps, micro_world),
        ]
        command += ["--trainer.strategy=ddp", "--trainer.devices=2"]
        subprocess.run(command, cwd=tmp_path, check=True, timeout=200)
        assert read_training(tmp_path / "outputs/micro/weights/sr_h.safetensors")["step"] == steps


@pytest.mark.slow
def test_clip_of_two_devices_is_that_of_one_with_twice_the_batch(tmp_path, micro_world):
    found = []
    more = ["--model.lr=0.02", "--model.warmup_steps=1", "--ema.decay=0", "--trainer.precision=32-true"]
    ddp = ["--trainer.strategy=ddp", "--trainer.devices=2"]
    for name, options in (("one", ["--data.batch_size=4"]), ("two", ["--data.batch_size=2", *ddp])):
        (tmp_path / name).mkdir()
        command = [sys.executable, "-m", "lightning_mav", "train", "clip"]
        command += [*arguments("clip", 2, micro_world), *more, *options]
        subprocess.run(command, cwd=tmp_path / name, check=True, timeout=200)
        found.append(load_weights(tmp_path / name / "outputs/micro/weights/clip.safetensors").state_dict())
    for key, tensor in found[0].items():
        torch.testing.assert_close(found[1][key], tensor, atol=2e-3, rtol=1e-2, msg=key)


@pytest.mark.slow
@pytest.mark.timeout(900)  # compiling took 217 s on two cores
def test_compiled_network_trains_as_the_plain_one_does(fit, monkeypatch):
    monkeypatch.setattr("lightning_mav.training.checks.is_on_processor", lambda _: False)  # it refuses those
    _, weights = fit("sr_h", 2, fresh=True)
    plain = load_weights(weights).state_dict()
    _, weights = fit("sr_h", 2, "--compile=true", fresh=True)
    compiled = load_weights(weights).state_dict()
    assert plain.keys() == compiled.keys()
    for name, tensor in plain.items():
        torch.testing.assert_close(compiled[name], tensor, rtol=1e-2, atol=1e-3, msg=name)
