"""Training for a given time."""

import itertools
import types

import pytest
import torch
from lightning import LightningModule, Trainer
from torch.utils.data import DataLoader

from lightning_mav.training import budget
from lightning_mav.training.budget import TimeBudget


class Model(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.shares = []

    def training_step(self, batch, batch_idx):
        self.shares.append(self.trainer.global_step / self.trainer.max_steps)
        return self.layer(batch).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


@pytest.mark.parametrize(("seconds", "pace"), [(50, 0.5), (20, 0.1)])
def test_steps_are_as_many_as_the_time_allows(seconds, pace, tmp_path, monkeypatch):
    clock = itertools.count()  # asked once before the first step and once after each
    monkeypatch.setattr(budget, "time", types.SimpleNamespace(perf_counter=lambda: pace * next(clock)))
    model = Model()
    trainer = Trainer(
        default_root_dir=tmp_path,
        max_steps=1_000_000,
        callbacks=[TimeBudget(seconds)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        accelerator="cpu",
    )
    trainer.fit(model, DataLoader(torch.zeros(10_000, 1)))
    expected = seconds / pace
    assert abs(trainer.global_step - expected) <= 2
    assert model.shares[-1] > 0.97  # a schedule over max_steps is at its end
    half = len(model.shares) // 2
    assert abs(model.shares[half] - 0.5) < 0.05


def test_a_time_that_is_none_is_refused():
    with pytest.raises(ValueError, match="seconds"):
        TimeBudget(0)
