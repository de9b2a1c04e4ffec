"""The average of the weights, which a stage writes as its weights file."""

import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import nn
from torch.optim.swa_utils import AveragedModel

from lightning_mav.training.average import EMA, grown_average


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.register_buffer("count", torch.tensor(0))


def averaged(decay, use_buffers=False):
    net = Net()
    return net, AveragedModel(net, multi_avg_fn=grown_average(decay), use_buffers=use_buffers)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.95])
def test_the_average_is_that_of_its_recurrence(decay):
    net, average = averaged(decay)
    expected = None
    for update in range(60):
        with torch.no_grad():
            net.layer.weight.normal_()
        average.update_parameters(net)
        share = min(decay, (1 + update) / (10 + update))
        now = net.layer.weight.detach().clone()
        expected = now if expected is None else share * expected + (1 - share) * now
    torch.testing.assert_close(average.module.layer.weight, expected)


def test_untrained_weights_have_no_share_in_a_short_training():
    net, average = averaged(0.999)
    average.update_parameters(net)  # untrained
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(7.0)
    for _ in range(500):
        average.update_parameters(net)
    assert (average.module.layer.weight - 7.0).abs().max() < 1e-3


def test_a_long_training_has_the_decay_that_was_asked_for():
    update, average, new = grown_average(0.9), torch.zeros(3), torch.ones(3)
    update([average], [new], torch.tensor(1000))
    torch.testing.assert_close(average, torch.full((3,), 0.1))


def test_counters_are_copied():
    net, average = averaged(0.9, use_buffers=True)
    for _ in range(3):
        net.count += 1
        average.update_parameters(net)
    assert average.module.count == 3


def test_all_weights_are_averaged_in_one_call(monkeypatch):
    calls, lerp = [], torch._foreach_lerp_
    monkeypatch.setattr(torch, "_foreach_lerp_", lambda *args: calls.append(len(args[0])) or lerp(*args))
    net, average = averaged(0.9)
    average.update_parameters(net)
    average.update_parameters(net)
    assert calls == [2]  # weight and bias, at the second update; the first copies


@pytest.mark.parametrize("decay", [-0.1, 1.5, float("nan")])
def test_a_decay_that_is_no_share_is_refused(decay):
    with pytest.raises(ValueError, match=r"decay"):
        EMA(decay=decay)


def test_checkpoints_of_runs_that_lightning_averaged_are_taken_up():
    assert EMA().state_key == EMAWeightAveraging().state_key
    assert EMA().state_dict().keys() == EMAWeightAveraging().state_dict().keys()
