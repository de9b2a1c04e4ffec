"""What can be seen of a training: how far it is, its settings, and samples from the first step on."""

import re

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_mav.training.progress import StepProgressBar

ACCUMULATE = "--trainer.accumulate_grad_batches=2"


@pytest.fixture
def lines(capfd):
    """Returns the lines about steps since the last call."""
    return lambda: [line for line in capfd.readouterr().err.splitlines() if line.startswith("step ")]


def test_lines_without_a_terminal_count_steps_also_of_a_resumed_run(fit, lines):
    options = ["--trainer.log_every_n_steps=2", ACCUMULATE]
    fit("sr_h", 3, *options, fresh=True)
    numbers = r"train/loss [\d.e-]+(, val/loss [\d.e-]+)?, \d+\.\d\d it/s, \d:\d\d:\d\d left"
    first, last = lines()
    assert re.fullmatch(rf"step 2 of 3, {numbers}", first)
    assert re.fullmatch(rf"step 3 of 3, {numbers}", last)
    assert last.endswith("0:00:00 left")
    fit("sr_h", 7, *options)
    assert [line.split(",")[0] for line in lines()] == ["step 4 of 7", "step 6 of 7", "step 7 of 7"]


def test_bar_counts_steps_and_goes_on_where_a_run_is_resumed(fit, lines, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    seen, update = [], StepProgressBar._update

    def note(self, bar, current, *args, **kwargs):
        if bar == self.train_progress_bar_id:
            seen.append((self.train_progress_bar.completed, current, self.train_progress_bar.total))
        update(self, bar, current, *args, **kwargs)

    monkeypatch.setattr(StepProgressBar, "_update", note)
    fit("sr_h", 2, ACCUMULATE, fresh=True)
    fit("sr_h", 4, ACCUMULATE)
    assert seen == [(0, 1, 2), (1, 2, 2), (2, 3, 4), (3, 4, 4)]
    assert lines() == []


def test_tensorboard_has_settings_and_samples_from_the_first_step_on(fit):
    folder, _ = fit("sr_h", 2, fresh=True)
    fit("sr_h", 4)
    events = EventAccumulator(str(folder), size_guidance={"images": 0})
    events.Reload()
    assert [image.step for image in events.Images("samples")] == [0, 2, 4]
    assert "_hparams_/session_start_info" in events.summary_metadata
    assert "hp_metric" not in events.Tags()["scalars"]
    (config, *_) = events.Tensors("config/text_summary")
    assert b"max_steps: 2" in config.tensor_proto.string_val[0]
