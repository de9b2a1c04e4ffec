"""Learnt variances: what their loss is, and that it trains them alone."""

import math

import pytest
import torch
from diffusers import UnCLIPScheduler
from torch import nn

from lightning_mav.diffusion import GaussianDiffusion, Sampler
from lightning_mav.diffusion.variance import variational_bound
from lightning_mav.models import DiffusionModel
from lightning_mav.utils.errors import UsageError

T = torch.tensor([1, 400, 998])


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    x_0, eps = torch.randn(2, 3, 3, 4, 4, generator=generator)
    return x_0.clamp(-1, 1), eps


class Net(nn.Module):
    """Gives the same prediction and the same variances everywhere."""

    def __init__(self):
        super().__init__()
        self.prediction, self.variance = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))

    def conditions(self):
        return None

    def forward(self, x_t, t, conditions=None):
        halves = (torch.zeros_like(x_t) + value for value in (self.prediction, self.variance))
        return torch.cat([*halves], dim=1)


@pytest.mark.parametrize("output", [-1.0, 0.3, 1.0])
def test_the_bound_is_the_divergence_of_two_gaussians(data, output):
    (x_0, eps), diffusion = data, GaussianDiffusion(learned_variance=True)
    x_t, estimate = diffusion.q_sample(x_0, T, eps), torch.zeros_like(x_0)
    bound = variational_bound(diffusion.posterior, T, x_t, x_0, estimate, torch.full_like(x_0, output))
    scheduler = UnCLIPScheduler(variance_type="learned_range", prediction_type="sample", clip_sample=False)
    for i, t in enumerate(T.tolist()):
        low = scheduler._get_variance(t, predicted_variance=torch.tensor(-1.0), prev_timestep=t - 1)
        log = scheduler._get_variance(t, predicted_variance=torch.tensor(output), prev_timestep=t - 1)
        factor = (
            scheduler.betas[t] * scheduler.alphas_cumprod[t - 1].sqrt() / (1 - scheduler.alphas_cumprod[t])
        )
        true = torch.distributions.Normal(factor * x_0[i], (0.5 * low).exp())
        taken = torch.distributions.Normal(factor * estimate[i], (0.5 * log).exp())
        expected = torch.distributions.kl_divergence(true, taken).mean() / math.log(2)
        torch.testing.assert_close(bound[i], expected, rtol=2e-3, atol=1e-5)


def test_a_perfect_first_step_knows_every_pixel():
    pixels = torch.linspace(-1, 1, 256)[None]
    table = GaussianDiffusion(learned_variance=True).posterior
    table[2, 0] = table[3, 0] = 2 * math.log(1e-4)  # a thousandth of a pixel's bin
    t = torch.zeros(1, dtype=torch.long)
    assert variational_bound(table, t, pixels, pixels, pixels, torch.zeros(1, 256)).item() < 1e-6
    table[2, 0] = table[3, 0] = 2 * math.log(1.0)  # as wide as half the range: some eight bits are missing
    assert 6 < variational_bound(table, t, pixels, pixels, pixels, torch.zeros(1, 256)).item() < 10


def test_the_hybrid_loss_adds_a_term_that_trains_variances_alone(data):
    (x_0, eps), net = data, Net()
    diffusion = GaussianDiffusion(learned_variance=True)
    model = DiffusionModel(net, diffusion, Sampler())
    plain = eps.square().flatten(1).mean(dim=1)
    bound = model.errors(x_0, t=T, eps=eps) - plain
    x_t = diffusion.q_sample(x_0, T, eps)
    estimate, zeros = diffusion.to_x_0(torch.zeros_like(x_0), x_t, T), torch.zeros_like(x_0)
    table = diffusion.posterior
    torch.testing.assert_close(bound, variational_bound(table, T, x_t, x_0, estimate, zeros))
    model.loss(x_0, t=T, eps=eps).backward()
    torch.testing.assert_close(net.prediction.grad, -2 * eps.mean())
    assert net.variance.grad != 0


def test_training_finds_the_variance_of_the_true_step(data):
    # A network that knows x_0 should choose the least variance, one that knows nothing more.
    (x_0, eps), best = data, {}
    diffusion = GaussianDiffusion(learned_variance=True)
    t = torch.full((3,), 3)
    x_t = diffusion.q_sample(x_0, t, eps)
    for name, estimate in (("all", x_0), ("nothing", torch.zeros_like(x_0))):
        outputs = torch.linspace(-3, 3, 61)
        losses = [
            variational_bound(diffusion.posterior, t, x_t, x_0, estimate, torch.full_like(x_0, output)).mean()
            for output in outputs.tolist()
        ]
        best[name] = outputs[torch.stack(losses).argmin()].item()
    assert best["all"] == pytest.approx(-1, abs=0.15)
    assert best["nothing"] > -0.5


def test_a_network_without_variances_is_refused():
    model = DiffusionModel(nn.Identity(), GaussianDiffusion(learned_variance=True), Sampler())
    model.net.forward = lambda x_t, t: x_t
    with pytest.raises(UsageError, match="must return a tensor of twice as many channels"):
        model.loss(torch.zeros(2, 3, 4, 4))
