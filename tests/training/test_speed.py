"""What TensorBoard says of a run's speed is what its own clock says, and measuring changes nothing."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from helpers.runs import arguments, assert_equal
from lightning_mav.nn import Pseudo3DUNet
from lightning_mav.stages.base import Stage
from lightning_mav.training import speed
from lightning_mav.training.cards import peak_of
from lightning_mav.training.plan import make_plan
from lightning_mav.training.runs import find_run
from lightning_mav.training.speed import SpeedMonitor, batch_size, count_operations
from lightning_mav.utils.precision import planned_for
from lightning_mav.weights import load_weights

BATCH = {"image": {"frames": torch.ones(9, 2)}, "video": {"fps": torch.ones(5), "frames": torch.ones(5, 2)}}


class Run:
    """A run on a clock that moves only when told to: each batch takes 2 seconds, and 1 to be waited for."""

    def __init__(self, monkeypatch, device="cpu", accumulate=2):
        self.now, self.accumulate, self.num_batches, self.logged = 0.0, accumulate, 0, []
        monkeypatch.setattr(speed, "clock", lambda: self.now)
        self.monitor = SpeedMonitor()
        self.trainer = SimpleNamespace(
            global_step=40, log_every_n_steps=2, world_size=3, precision="bf16-mixed"
        )
        self.module = SimpleNamespace(
            device=torch.device(device), automatic_optimization=True, log_dict=self.log
        )
        self.monitor.on_train_start(self.trainer, self.module)

    def log(self, values, batch_size):
        self.logged.append((self.trainer.global_step, values))

    def step(self, seconds=2.0):
        for _ in range(self.accumulate):
            self.now += 1.0
            self.monitor.on_train_batch_start(self.trainer, self.module, BATCH, self.num_batches)
            self.now += seconds
            self.num_batches += 1
            self.trainer.global_step += self.num_batches % self.accumulate == 0
            self.monitor.on_train_batch_end(self.trainer, self.module, None, BATCH, self.num_batches - 1)

    def validate(self):
        self.monitor.on_validation_start(self.trainer, self.module)
        self.now += 1000.0

    def save(self):
        self.monitor.on_save_checkpoint(self.trainer, self.module, {})
        self.now += 500.0


def test_speed_is_that_of_the_clock_whatever_happens_between_steps(monkeypatch):
    run = Run(monkeypatch)
    run.step(seconds=300.0)  # compiles
    for step in range(42, 47):
        run.step()
        if step == 43:
            run.validate()
        if step in (43, 45):
            run.save()
    steps, values = zip(*run.logged, strict=True)
    assert steps == (42, 44, 46)
    # Of the batch after a pause the wait is no training time; it was spent on other things.
    for found, seconds in zip(values, (6.0, 12.0 - 1.0, 12.0 - 1.0), strict=True):
        num_steps = 1 if seconds == 6.0 else 2
        assert found["speed/steps_per_second"] == pytest.approx(num_steps / seconds)
        assert found["speed/samples_per_second"] == pytest.approx(num_steps * 2 * 5 * 3 / seconds)
        assert found.keys() == {"speed/steps_per_second", "speed/samples_per_second"}


def test_mfu_and_memory_of_a_card(monkeypatch):
    most = 3e9
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: most)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: steps_again.append(1))
    monkeypatch.setattr(speed, "count_operations", lambda *_: 7e12)
    run, steps_again = Run(monkeypatch, "cuda:0"), []
    for _ in range(4):
        run.step()
    run.validate()
    most = 9e9
    run.step()
    assert steps_again == [1]
    most = 4e9
    run.step()
    first, second, last = (values for _, values in run.logged)
    assert first["speed/mfu"] == pytest.approx(2 * 7e12 / 6.0 / 989e12)
    assert second["speed/mfu"] == pytest.approx(first["speed/mfu"])
    assert second["speed/peak_gb"] == 3
    assert last["speed/peak_gb"] == 4
    assert peak_of(run.module.device, "32-true") is None
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "another")
    assert peak_of(run.module.device, "bf16-mixed") is None


class Module(nn.Module):
    """A network in training behind a frozen one."""

    def __init__(self, **settings):
        super().__init__()
        self.frozen = nn.Conv2d(3, 3, 3, padding=1)
        sizes = {"channels": 16, "channel_mults": (1, 2), "num_blocks": 1, "attention_levels": ()}
        self.net = Pseudo3DUNet(**sizes, head_channels=8, norm_groups=4, **settings)
        self.log("a", 1)

    def log(self, *_):
        self.num_logged = getattr(self, "num_logged", 0) + 1

    log_dict = log

    def training_step(self, batch, batch_idx):
        with torch.no_grad():
            frames = self.frozen(batch[:, :, 0])
        self.log("loss", 1)
        return self.net(frames[:, :, None], torch.ones(len(batch))).square().mean()


def test_operations_are_those_of_a_step_that_computes_nothing_twice():
    batch = torch.randn(2, 3, 1, 16, 16)
    trainer = SimpleNamespace(precision_plugin=SimpleNamespace(train_step_context=nullcontext))
    with planned_for("cuda"):
        module = Module()
        with FlopCounterMode(display=False) as counter:
            module.training_step(batch, 0).backward()
        recomputing = Module(checkpoint=True)
        found = count_operations(trainer, recomputing, batch)
    assert found == pytest.approx(counter.get_total_flops(), rel=0.02)
    assert recomputing.num_logged == 1
    assert all(p.grad is None for p in recomputing.parameters())


@pytest.mark.slow
def test_a_run_shows_its_speed_and_measuring_changes_nothing(fit, micro_world, monkeypatch):
    more = ["--trainer.log_every_n_steps=2", "--trainer.precision=bf16-mixed"]
    _, weights = fit("sr_h", 6, *more, fresh=True)
    plain = load_weights(weights).state_dict()
    seen = []
    monkeypatch.setattr(speed, "peak_of", lambda device, precision: seen.append(precision) or 1e15)
    counted = []
    monkeypatch.setattr(
        speed, "count_operations", lambda *args: counted.append(count_operations(*args)) or counted[-1]
    )
    folder, weights = fit("sr_h", 6, *more, fresh=True)
    assert_equal(load_weights(weights).state_dict(), plain)
    events = EventAccumulator(str(folder))
    events.Reload()
    for name in ("samples_per_second", "steps_per_second", "mfu"):
        values = events.Scalars(f"speed/{name}")
        assert [value.step for value in values] == [1, 3, 5]  # as Lightning counts: 2, 4 and 6 are complete
        assert all(value.value > 0 for value in values)
    assert seen == ["bf16-mixed"]
    plan = make_plan(find_run("sr_h", None, "micro"), "micro", overrides=arguments("sr_h", 6, micro_world))
    assert counted == [pytest.approx(plan["flops"]["batch"], rel=0.05)]


def test_samples_of_a_batch():
    assert batch_size(BATCH) == 5
    assert batch_size({"text": ["a", "b"], "target": torch.ones(2, 7)}) == 2
    assert batch_size([torch.ones(()), torch.ones(4, 1)]) == 4


@pytest.mark.parametrize(
    ("precision", "fused"), [("bf16-mixed", True), ("32-true", True), ("16-mixed", False)]
)
def test_adamw_is_fused_unless_gradients_are_scaled(precision, fused):
    stage = Stage(nn.Linear(2, 2))
    stage._trainer = SimpleNamespace(precision=precision, max_steps=10)
    assert stage.configure_optimizers()["optimizer"].defaults["fused"] is fused
