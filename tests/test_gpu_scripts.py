"""What is prepared for a GPU runs on a processor at a small size."""

import json

import pytest
import torch

from benchmarks.gpu import karlo


def test_karlo_plans_and_measures_into_one_file(tmp_path):
    out = tmp_path / "new" / "karlo.json"
    common = ["--tiny", f"--out={out}"]
    karlo.main([*common, "--plan", "--batches", "1", "2"])
    karlo.main([*common, "--steps=2", "--batches", "2"])
    found = json.loads(out.read_text())
    assert [*found] == ["1", "2"]
    both = found["2"]
    assert both["planned_tflop_per_step"] == pytest.approx(both["tflop_per_step"], rel=0.03)
    assert both["tflops"] == pytest.approx(both["tflop_per_step"] / both["ms_per_step"] * 1e3, rel=0.01)
    assert both["planned_gb"] > found["1"]["planned_gb"] > 0
    assert both["mfu"] is None
    assert "tflops" not in found["1"]


def test_karlo_keeps_to_its_time_and_goes_on_after_a_size_without_room(tmp_path, monkeypatch):
    out, begun = tmp_path / "karlo.json", []

    class Training:
        def __init__(self, name, precision, *, batch, **sizes):
            begun.append(batch)
            raise torch.OutOfMemoryError

    monkeypatch.setattr(karlo, "Training", Training)
    karlo.main(["--tiny", f"--out={out}", "--batches", "1", "2"])
    assert begun == [1, 2]
    assert json.loads(out.read_text())["1"]["error"] == "out of memory"
    karlo.main(["--tiny", f"--out={out}", "--batches", "4", "--seconds=-1"])
    assert begun == [1, 2]
