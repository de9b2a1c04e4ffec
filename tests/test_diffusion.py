"""The forward process, its parametrisations and the samplers, against their definitions."""

import math

import pytest
import torch

from lightning_mav.diffusion import GaussianDiffusion, Sampler, make_betas
from lightning_mav.models import DiffusionModel
from lightning_mav.models.base import guided

SCHEDULERS = [
    "diffusers.DDPMScheduler",
    "diffusers.DDIMScheduler",
    "diffusers.DPMSolverMultistepScheduler",
    "diffusers.EulerDiscreteScheduler",
    "diffusers.UniPCMultistepScheduler",
]


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_noise_grows_from_nothing_to_nearly_all(schedule):
    alphas_cumprod = GaussianDiffusion(schedule).alphas_cumprod
    assert alphas_cumprod[0] > 0.999
    assert alphas_cumprod[-1] < 1e-4
    assert (alphas_cumprod.diff() < 0).all()


def test_schedules_agree_with_diffusers():
    from diffusers import DDPMScheduler

    theirs = DDPMScheduler(beta_schedule="squaredcos_cap_v2").betas
    torch.testing.assert_close(make_betas("cosine", 1000).float(), theirs, rtol=1e-5, atol=1e-7)
    theirs = DDPMScheduler(beta_schedule="linear").betas
    torch.testing.assert_close(make_betas("linear", 1000).float(), theirs, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("prediction", ["eps", "v", "x_0"])
def test_target_leads_back_to_x_0_and_eps(prediction):
    diffusion = GaussianDiffusion(prediction=prediction)
    x_0, eps, t = torch.randn(5, 3, 2, 4, 4), torch.randn(5, 3, 2, 4, 4), torch.tensor([1, 50, 400, 700, 900])
    x_t, target = diffusion.q_sample(x_0, t, eps), diffusion.target(x_0, t, eps)
    torch.testing.assert_close(diffusion.to_x_0(target, x_t, t), x_0, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(diffusion.to_eps(target, x_t, t), eps, rtol=1e-3, atol=1e-3)


def test_noised_data_keeps_its_variance():
    diffusion, x_0 = GaussianDiffusion(), torch.randn(200_000, 1)
    for step in (10, 500, 990):
        x_t = diffusion.q_sample(x_0, torch.full((len(x_0),), step), torch.randn_like(x_0))
        assert x_t.std().item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("timesteps", ["uniform", "logit_normal"])
def test_timesteps_cover_the_range(timesteps):
    t = GaussianDiffusion(timesteps=timesteps).sample_timesteps(10_000)
    assert t.min() >= 0
    assert t.max() <= 999
    middle = ((t >= 250) & (t < 750)).float().mean().item()
    assert middle == pytest.approx(0.5 if timesteps == "uniform" else 0.64, abs=0.02)


@pytest.mark.parametrize("logit_mean", [-1.0, 0.0, 0.8])
def test_median_of_the_timesteps_follows_the_mean_of_their_logits(logit_mean):
    diffusion = GaussianDiffusion(timesteps="logit_normal", logit_mean=logit_mean)
    median = diffusion.sample_timesteps(10_000).float().median().item()
    assert median == pytest.approx(1000 / (1 + math.exp(-logit_mean)), abs=5)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("num_steps", [1, 7, 20])
def test_sampler_with_an_oracle_returns_x_0(scheduler, num_steps):
    x_0 = torch.rand(2, 3, 2, 4, 4) * 2 - 1
    sampler = Sampler(scheduler, num_steps=num_steps)
    out = sampler.sample(lambda x_t, t: x_0, torch.randn_like(x_0), GaussianDiffusion())
    torch.testing.assert_close(out, x_0, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("spacing", ["use_karras_sigmas", "use_lu_lambdas"])
@pytest.mark.parametrize("num_steps", [1, 2, 3, 6, 10])
def test_uneven_spacing_works_with_any_number_of_steps(spacing, num_steps):
    # Rounded to whole timesteps, some are alike.
    x_0 = torch.rand(2, 3, 2, 4, 4) * 2 - 1
    sampler = Sampler(num_steps=num_steps, scheduler_args={spacing: True})
    out = sampler.sample(lambda x_t, t: x_0, torch.randn_like(x_0), GaussianDiffusion())
    torch.testing.assert_close(out, x_0, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("scheduler", ["diffusers.DDIMScheduler", "diffusers.DPMSolverMultistepScheduler"])
def test_sampler_draws_the_data_distribution(scheduler):
    """For data N(m, s^2) the best denoiser is known, and sampling with it must give the data back."""
    diffusion, mean, std = GaussianDiffusion(), 0.4, 0.3

    def denoiser(x_t, t):
        a, s = diffusion.coefficients(t, x_t)
        return mean + a * std**2 / (a**2 * std**2 + s**2) * (x_t - a * mean)

    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(20_000, 1, generator=generator)
    out = Sampler(scheduler, num_steps=50).sample(denoiser, noise, diffusion)
    assert out.mean().item() == pytest.approx(mean, abs=0.02)
    assert out.std().item() == pytest.approx(std, rel=0.08)


def test_stochastic_sampler_follows_its_generator():
    def draw(seed):
        generator = torch.Generator().manual_seed(seed)
        sampler = Sampler("diffusers.DDPMScheduler", num_steps=5)
        return sampler.sample(
            lambda x_t, t: 0.5 * x_t, torch.ones(1, 4), GaussianDiffusion(), generator=generator
        )

    assert torch.equal(draw(0), draw(0))
    assert not torch.equal(draw(0), draw(1))


def test_progress_counts_every_step():
    seen = []
    Sampler(num_steps=4).sample(
        lambda x_t, t: x_t, torch.ones(1, 1), GaussianDiffusion(), progress=lambda *args: seen.append(args)
    )
    assert seen == [(i, 4) for i in range(1, 5)]


class Fake(torch.nn.Module):
    """Predicts its condition, or -1 where it is dropped."""

    def conditions(self, *, value, drop=None):
        return value if drop is None else torch.where(drop, -torch.ones_like(value), value)

    def forward(self, x_t, t, *, conditions=None, **cond):
        out = self.conditions(**cond) if conditions is None else conditions
        return out.view(-1, 1).expand_as(x_t)


class FakeModel(DiffusionModel):
    def __init__(self, diffusion):
        super().__init__(Fake(), diffusion, Sampler(num_steps=3))


def test_guidance_extrapolates_from_the_unconditional():
    model, x_t, t = FakeModel(GaussianDiffusion(prediction="x_0")), torch.zeros(2, 3), torch.tensor([5, 6])
    value = torch.tensor([-0.5, -0.8])
    for scale, expected in ((1.0, value), (0.0, -torch.ones(2)), (2.0, -1 + 2 * (value + 1))):
        cond = {"value": value} if scale == 1.0 else guided({"value": value}, x_t)
        out = model.predict_x_0(x_t, t, model.net.conditions(**cond), scale)
        torch.testing.assert_close(out[:, 0], expected.clamp(-1, 1))


def test_loss_of_a_perfect_prediction_is_zero():
    model = FakeModel(GaussianDiffusion(prediction="x_0"))
    value = torch.tensor([0.3, -0.2])
    assert model.loss(value.view(-1, 1).expand(2, 3), value=value).item() == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize(
    "build",
    [
        lambda: GaussianDiffusion("sine"),
        lambda: GaussianDiffusion(prediction="score"),
        lambda: GaussianDiffusion(timesteps="often"),
        lambda: Sampler("os.system"),
        lambda: Sampler(num_steps=0),
    ],
)
def test_unknown_choices_are_refused(build):
    with pytest.raises(ValueError, match="got"):
        build()


def test_missing_scheduler_is_named():
    with pytest.raises(ValueError, match="NoSuchScheduler"):
        Sampler("diffusers.NoSuchScheduler").build_scheduler(GaussianDiffusion())
