"""The forward process, its parametrisations and the samplers, against their definitions."""

import math

import pytest
import torch

from lightning_mav.diffusion import SCHEDULERS, GaussianDiffusion, Sampler, apply_threshold, make_betas
from lightning_mav.models import DiffusionModel
from lightning_mav.models.base import guided


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
    if "UnCLIP" in scheduler:  # which takes no single step
        num_steps = max(2, num_steps)
    x_0 = torch.rand(2, 3, 2, 4, 4) * 2 - 1
    sampler = Sampler(scheduler, num_steps=num_steps)
    out = sampler.sample(lambda x_t, t: x_0, torch.randn_like(x_0), GaussianDiffusion())
    # Two end at the lowest noise level, 0.0064, and not at none.
    tolerance = 0.04 if "DEIS" in scheduler or "SASolver" in scheduler else 0.02
    torch.testing.assert_close(out, x_0, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("spacing", ["use_karras_sigmas", "use_lu_lambdas"])
@pytest.mark.parametrize("num_steps", [1, 2, 3, 6, 10])
def test_uneven_spacing_works_with_any_number_of_steps(spacing, num_steps):
    # Rounded to whole timesteps, some are alike.
    x_0 = torch.rand(2, 3, 2, 4, 4) * 2 - 1
    sampler = Sampler(num_steps=num_steps, scheduler_args={spacing: True})
    out = sampler.sample(lambda x_t, t: x_0, torch.randn_like(x_0), GaussianDiffusion())
    torch.testing.assert_close(out, x_0, rtol=0.02, atol=0.02)


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
    def __init__(self, diffusion, **sampler):
        super().__init__(Fake(), diffusion, Sampler(num_steps=3, **sampler))


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
        lambda: Sampler(threshold="sometimes"),
        lambda: Sampler(threshold_range=0.0),
        lambda: Sampler(threshold_percentile=1.5),
        lambda: Sampler(threshold_max=-1.0),
        lambda: Sampler(guidance_rescale=1.1),
        lambda: Sampler(guidance_interval=[2.0, 1.0]),
        lambda: GaussianDiffusion(frame_noise="shared"),
        lambda: GaussianDiffusion(frame_noise_alpha=-1.0),
        lambda: GaussianDiffusion(frame_noise_alpha=float("nan")),
        lambda: Sampler(threshold_range=float("nan")),
        lambda: GaussianDiffusion(min_snr_gamma=0.0),
    ],
)
def test_unknown_choices_are_refused(build):
    with pytest.raises(ValueError, match="got"):
        build()


def test_static_threshold_clamps_and_none_leaves():
    x_0 = torch.tensor([[-3.0, -0.5, 0.2, 7.0]])
    assert apply_threshold(x_0, "static", 2.0).tolist() == [pytest.approx([-2.0, -0.5, 0.2, 2.0])]
    assert torch.equal(apply_threshold(x_0, "none", 2.0), x_0)


def test_dynamic_threshold_scales_each_sample_by_its_own_percentile():
    ramp = torch.linspace(-2, 2, 1001)[None]
    x_0 = torch.cat([ramp, 0.3 * ramp, 2 * ramp])
    out = apply_threshold(x_0, "dynamic", 1.0, percentile=0.9)
    torch.testing.assert_close(out[0], (ramp[0] / 1.8).clamp(-1, 1), rtol=0, atol=0.003)
    assert torch.equal(out[1], x_0[1])  # within the range: as it is
    torch.testing.assert_close(out[2], out[0])
    capped = apply_threshold(x_0, "dynamic", 1.0, percentile=0.9, maximum=1.5)
    torch.testing.assert_close(capped[0], (ramp[0] / 1.5).clamp(-1, 1))
    theirs = torch.quantile(x_0[0].abs(), 0.9)
    assert (x_0[0].clamp(-theirs, theirs) / theirs - out[0]).abs().max() < 0.005


def test_dynamic_threshold_takes_videos_of_any_size():
    video = torch.ones(1, 3, 4, 1200, 1200)  # torch.quantile refuses as many values
    assert apply_threshold(3 * video, "dynamic", 1.0).max() == 1


@pytest.mark.parametrize(("threshold", "highest"), [("static", 1.0), ("dynamic", 1.0), ("none", 8.0)])
def test_threshold_changes_what_guidance_gives(threshold, highest):
    # Guided strongly, half of the values leave the range: clamped they are alike, scaled they are not.
    model = FakeModel(GaussianDiffusion(prediction="x_0"), threshold=threshold, threshold_percentile=1.0)
    model.net.forward = lambda x_t, t, *, conditions: torch.tensor([[8.0, 4.0, 2.0, 0.4]]).expand_as(x_t)
    out = model.denoise(torch.randn(2, 4), value=torch.ones(2))
    scale = {"static": None, "dynamic": 8.0, "none": 1.0}[threshold]
    expected = torch.tensor([8.0, 4.0, 2.0, 0.4])
    expected = expected.clamp(max=1) if scale is None else expected / scale
    torch.testing.assert_close(out, expected.expand(2, -1), rtol=0.01, atol=0.01)
    assert out.max() == pytest.approx(highest, rel=0.01)


def test_range_of_the_threshold_can_be_set():
    out = {}
    for limit in (None, 10.0):
        model = FakeModel(GaussianDiffusion(prediction="x_0"), threshold_range=limit)
        model.limit = 5.0
        model.net.forward = lambda x_t, t, *, conditions: torch.full_like(x_t, 20.0)
        out[limit] = model.denoise(torch.randn(1, 2), value=torch.ones(1)).mean().item()
    assert out == {None: pytest.approx(5.0, rel=0.01), 10.0: pytest.approx(10.0, rel=0.01)}


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_rescaled_guidance_has_the_spread_of_the_conditional_prediction(share):
    model = FakeModel(GaussianDiffusion(prediction="x_0"), guidance_rescale=share, threshold="none")
    conditional, unconditional = torch.randn(2, 500), torch.randn(2, 500)
    model.net.forward = lambda *_, **__: torch.cat([conditional, unconditional])
    out = model.predict_x_0(torch.zeros(2, 500), torch.tensor([5, 5]), None, 4.0)
    guided_only = unconditional + 4 * (conditional - unconditional)
    expected = torch.lerp(guided_only.std(dim=1), conditional.std(dim=1), share)
    torch.testing.assert_close(out.std(dim=1), expected)


def test_guidance_interval_guides_between_two_noise_levels():
    diffusion = GaussianDiffusion(prediction="x_0")
    model = FakeModel(diffusion, guidance_scale=3.0, guidance_interval=[0.3, 3.0], threshold="none")
    seen, forward = {}, model.net.forward

    def spy(x_t, t, *, conditions):
        seen[int(t[0])] = len(x_t)
        return forward(x_t, t, conditions=conditions)

    model.net.forward = spy
    model.denoise(torch.randn(2, 3), num_steps=20, value=torch.tensor([0.5, -0.1]))
    sigma = {t: ((1 - a) / a).sqrt().item() for t, a in enumerate(diffusion.alphas_cumprod)}
    assert {t for t, size in seen.items() if size == 4} == {t for t in seen if 0.3 <= sigma[t] <= 3.0}
    assert set(seen.values()) == {2, 4}


@pytest.mark.parametrize("prediction", ["eps", "v", "x_0"])
def test_min_snr_weighs_the_error_of_x_0(prediction):
    diffusion = GaussianDiffusion(prediction=prediction, min_snr_gamma=5.0)
    t = torch.tensor([20, 300, 600, 900])
    x_0, eps = torch.randn(4, 50), torch.randn(4, 50)
    x_t, target = diffusion.q_sample(x_0, t, eps), diffusion.target(x_0, t, eps)
    wrong = target + 0.1 * torch.randn_like(target)
    error = (wrong - target).square().mean(dim=1)
    error_of_x_0 = (diffusion.to_x_0(wrong, x_t, t) - x_0).square().mean(dim=1)
    alpha_bar = diffusion.alphas_cumprod[t]
    weight = (alpha_bar / (1 - alpha_bar)).clamp(max=5)
    torch.testing.assert_close(diffusion.loss_weight(t) * error, weight * error_of_x_0, rtol=1e-3, atol=1e-6)
    assert GaussianDiffusion(prediction=prediction).loss_weight(t) == 1


def test_min_snr_reaches_the_loss():
    value = torch.tensor([0.3, -0.2])
    plain, weighted = (
        FakeModel(GaussianDiffusion(prediction="x_0", min_snr_gamma=gamma)) for gamma in (None, 5.0)
    )
    t, x_0 = torch.tensor([10, 900]), torch.zeros(2, 3)
    expected = plain.errors(x_0, t=t, value=value) * weighted.diffusion.loss_weight(t)
    torch.testing.assert_close(weighted.errors(x_0, t=t, value=value), expected)


@pytest.mark.parametrize("alpha", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("frame_noise", ["mixed", "progressive"])
def test_correlated_noise_has_the_covariance_of_its_definition(frame_noise, alpha):
    diffusion = GaussianDiffusion(frame_noise=frame_noise, frame_noise_alpha=alpha)
    noise = diffusion.correlate(torch.randn(40, 10, 4, 16, 16, generator=torch.Generator().manual_seed(0)))
    frames = noise.movedim(2, 0).flatten(1)
    places = torch.arange(4)
    if frame_noise == "mixed":  # one part shared, one for each
        expected = (alpha**2 + torch.eye(4)) / (1 + alpha**2)
    else:  # each frame is alpha parts of the one before and one part new
        expected = (alpha / (1 + alpha**2) ** 0.5) ** (places[:, None] - places).abs()
    torch.testing.assert_close(frames.cov(), expected, rtol=0, atol=0.015)


def test_correlated_noise_is_that_of_training_and_of_every_part_of_sampling():
    diffusion = GaussianDiffusion(prediction="x_0", frame_noise="mixed", frame_noise_alpha=1e4)
    seen = []

    class Spy(Fake):
        def forward(self, x_t, t, *, conditions=None, **cond):
            seen.append(x_t)
            return torch.zeros_like(x_t)

    model = DiffusionModel(Spy(), diffusion, Sampler("diffusers.DDPMScheduler", num_steps=3))
    x_0 = torch.zeros(1, 2, 5, 4, 4)
    model.errors(x_0, value=torch.zeros(1))
    out = model.denoise(torch.randn_like(x_0), value=torch.zeros(1))
    for x in (*seen, out):  # as good as all of it is shared
        torch.testing.assert_close(x, x[:, :, :1].expand_as(x), rtol=0, atol=1e-3)
    assert len(seen) == 4
    image = torch.randn(2, 3, 1, 4, 4)
    assert torch.equal(diffusion.correlate(image), image)
