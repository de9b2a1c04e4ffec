"""What is prepared for a GPU runs on a processor at a small size."""

import json

import pytest
import torch

from benchmarks.gpu import karlo
from benchmarks.gpu.interpolation import paper_form
from benchmarks.gpu.timed import deadline_in, last_step, until


@pytest.mark.slow
def test_karlo_plans_and_measures_into_one_file(tmp_path):
    out = tmp_path / "new" / "karlo.json"
    common = ["--tiny", f"--out={out}"]
    karlo.main([*common, "--plan", "--batches", "1", "2"])
    karlo.main([*common, "--steps=2", "--batches", "2"])
    found = json.loads(out.read_text())
    assert [*found] == ["1", "2"]
    planned, measured = found["2"], found["2"]["norms"]
    assert planned["planned_tflop_per_step"] == pytest.approx(measured["tflop_per_step"], rel=0.03)
    flops_per_second = measured["tflop_per_step"] / measured["ms_per_step"] * 1e3
    assert measured["tflops"] == pytest.approx(flops_per_second, rel=0.01)
    assert planned["planned_gb"] > found["1"]["planned_gb"] > 0
    assert measured["mfu"] is None
    assert "norms" not in found["1"]


def test_karlo_keeps_to_its_time_and_goes_on_after_a_size_without_room(tmp_path, monkeypatch):
    out, begun = tmp_path / "karlo.json", []

    class Training:
        def __init__(self, name, precision, *, batch, **sizes):
            begun.append(batch)
            raise torch.OutOfMemoryError

    monkeypatch.setattr(karlo, "Training", Training)
    karlo.main(["--tiny", f"--out={out}", "--batches", "1", "2"])
    assert begun == [1, 2]
    assert json.loads(out.read_text())["1"]["norms"]["error"] == "out of memory"
    karlo.main(["--tiny", f"--out={out}", "--batches", "4", "--seconds=-1"])
    assert begun == [1, 2]


def test_trainings_stop_early_enough_to_write_their_weights(tmp_path):
    options = dict(option.removeprefix("--").split("=") for option in until(deadline_in(100)))
    assert 50 <= int(options["trainer.callbacks.seconds"]) <= 55
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for name in ("step=90.ckpt", "step=1000.ckpt", "last.ckpt"):
        (folder / name).touch()
    assert last_step(tmp_path) == 1000


def test_forms_of_the_interpolation_are_those_of_the_ablation():
    assert "--model.blend=false" in paper_form()
    assert not any("between_prob" in option for option in paper_form())
