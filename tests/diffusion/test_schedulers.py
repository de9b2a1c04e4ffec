"""Every scheduler of the list draws a known Gaussian, whatever the network predicts, and shares its noise."""

import pytest
import torch
from torch import nn

from lightning_mav.diffusion import SCHEDULERS, GaussianDiffusion, Sampler, SeededNoise, fork_seed
from lightning_mav.models import SRH, SRLT, DiffusionModel, Interpolation

# Of diffusers' own use of numpy.
pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")

NUM_STEPS = 100
MEAN, STD = 0.3, 0.5
FIRST_ORDER = (
    "DDIM",
    "DDPM",
    "EulerDiscrete",
    "EulerAncestralDiscrete",
    "UnCLIP",
)  # their error falls with 1 / steps
STOCHASTIC = {
    "ancestral": ("diffusers.DDPMScheduler", {}),
    "ddim": ("diffusers.DDIMScheduler", {"eta": 0.7}),
    "sde of several steps": ("diffusers.DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "sde of one step": ("diffusers.DPMSolverSinglestepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "euler": ("diffusers.EulerAncestralDiscreteScheduler", {}),
    "churned": ("diffusers.EulerDiscreteScheduler", {"s_churn": 5.0}),
    "sa": ("diffusers.SASolverScheduler", {}),
    "karlo": ("diffusers.UnCLIPScheduler", {}),
}


class Best(nn.Module):
    """The best prediction for data N(MEAN, STD^2), which sampling must turn into that data."""

    def __init__(self, diffusion):
        super().__init__()
        self.diffusion = diffusion

    def conditions(self):
        return None

    def forward(self, x_t, t, conditions=None):
        a, s = self.diffusion.coefficients(t, x_t)
        x_0 = MEAN + a * STD**2 / (a**2 * STD**2 + s**2) * (x_t - a * MEAN)
        eps = s / (a**2 * STD**2 + s**2) * (x_t - a * MEAN)
        return {"x_0": x_0, "eps": eps, "v": a * eps - s * x_0}[self.diffusion.prediction]


def draw(scheduler, diffusion, **args):
    sampler = Sampler(scheduler, num_steps=NUM_STEPS, threshold="none", scheduler_args=args)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(10_000, 1, generator=generator)
    out = DiffusionModel(Best(diffusion), diffusion, sampler).denoise(noise, generator=generator)
    return out.mean().item(), out.std().item()


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
@pytest.mark.parametrize(
    ("prediction", "zero_terminal_snr"), [("eps", False), ("v", False), ("x_0", False), ("v", True)]
)
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_every_scheduler_draws_the_data_from_every_prediction(
    scheduler, prediction, schedule, zero_terminal_snr
):
    mean, std = draw(
        scheduler, GaussianDiffusion(schedule, prediction=prediction, zero_terminal_snr=zero_terminal_snr)
    )
    name = scheduler.removeprefix("diffusers.").removesuffix("Scheduler")
    assert mean == pytest.approx(MEAN, abs=0.02)
    assert std == pytest.approx(STD, rel=0.06 if name in FIRST_ORDER else 0.025)


@pytest.mark.parametrize(("scheduler", "args"), STOCHASTIC.values(), ids=STOCHASTIC)
def test_noise_added_on_the_way_leaves_the_data_as_it_is(scheduler, args):
    mean, std = draw(scheduler, GaussianDiffusion(prediction="v"), **args)
    assert mean == pytest.approx(MEAN, abs=0.02)
    assert std == pytest.approx(STD, rel=0.06)


def test_a_single_step_draws_no_noise_on_the_way():
    diffusion, noise = GaussianDiffusion(prediction="x_0"), torch.randn(50, 1)
    name, args = STOCHASTIC["sde of several steps"]
    drawn = [
        DiffusionModel(Best(diffusion), diffusion, Sampler(name, num_steps=1, scheduler_args=own)).denoise(
            noise, generator=torch.Generator().manual_seed(seed)
        )
        for seed, own in enumerate((args, args, {}))
    ]
    torch.testing.assert_close(drawn[0], drawn[1])
    torch.testing.assert_close(drawn[0], drawn[2])


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("DPMSolverMultistep", {"use_karras_sigmas": True}),
        ("DPMSolverMultistep", {"use_lu_lambdas": True}),
        ("DPMSolverMultistep", {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}),
        ("DPMSolverMultistep", {"solver_order": 3, "timestep_spacing": "linspace"}),
        ("DPMSolverSinglestep", {"solver_order": 3}),
        ("DDIM", {"timestep_spacing": "leading", "set_alpha_to_one": False}),
        ("DDPM", {"variance_type": "fixed_large"}),
        ("DEISMultistep", {"use_karras_sigmas": True}),
        ("SASolver", {"algorithm_type": "noise_prediction"}),
        ("UniPCMultistep", {"solver_order": 3, "disable_corrector": [0, 1]}),
    ],
)
def test_arguments_of_schedulers_keep_the_data(name, args):
    mean, std = draw(f"diffusers.{name}Scheduler", GaussianDiffusion(prediction="v"), **args)
    assert mean == pytest.approx(MEAN, abs=0.02)
    assert std == pytest.approx(STD, rel=0.04)


@pytest.mark.parametrize(
    "name",
    ["Heun", "HeunDiscrete", "IPNDM", "KDPM2Discrete", "PNDM", "LCM", "DPMSolverSDE", "EDMEuler"],
)
def test_others_are_refused_in_one_line_that_names_the_list(name):
    with pytest.raises(ValueError, match=r"must be one of diffusers\.DDIMScheduler, ") as caught:
        Sampler(f"diffusers.{name}Scheduler")
    assert all(scheduler in str(caught.value) for scheduler in SCHEDULERS)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"prediction_type": "epsilon"}, "prediction of GaussianDiffusion"),
        ({"thresholding": True}, "threshold, threshold_percentile and threshold_max of Sampler"),
        ({"clip_sample": True}, "threshold and threshold_range of Sampler"),
        ({"rescale_betas_zero_snr": True}, "zero_terminal_snr of GaussianDiffusion"),
        ({"beta_schedule": "linear"}, "schedule and num_timesteps of GaussianDiffusion"),
        ({"use_flow_sigmas": True}, "use_flow_sigmas=True: it does not draw the data"),
        ({"use_beta_sigmas": True}, "use_beta_sigmas=True"),
        ({"solver_type": "bh1"}, "solver_type='bh1'"),
        ({"variance_type": "learned_range"}, "variance_type='learned_range'"),
        ({"nothing": 1}, "nothing"),
        ({"algorithm_type": "best"}, "best"),
    ],
)
def test_arguments_that_cannot_hold_are_refused(args, message):
    with pytest.raises(ValueError, match=message) as caught:
        Sampler(scheduler_args=args)
    assert len(str(caught.value).splitlines()) == 1


def test_zero_terminal_snr_needs_a_prediction_and_a_spacing_that_are_defined():
    with pytest.raises(ValueError, match="zero_terminal_snr needs prediction 'v' or 'x_0', got 'eps'"):
        GaussianDiffusion(prediction="eps", zero_terminal_snr=True)
    diffusion = GaussianDiffusion(prediction="v", zero_terminal_snr=True)
    leading = Sampler("diffusers.DDIMScheduler", scheduler_args={"timestep_spacing": "leading"})
    with pytest.raises(ValueError, match="must be 'trailing', got 'leading'"):
        DiffusionModel(Best(diffusion), diffusion, leading)


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_zero_terminal_snr_keeps_the_first_step_and_empties_the_last(schedule):
    plain = GaussianDiffusion(schedule, prediction="v").alphas_cumprod
    zero = GaussianDiffusion(schedule, prediction="v", zero_terminal_snr=True)
    assert zero.alphas_cumprod[-1] == 0
    assert zero.alphas_cumprod[0] == pytest.approx(plain[0].item(), rel=1e-6)
    assert (zero.alphas_cumprod.diff() < 0).all()
    told = (1 - torch.tensor(zero.betas, dtype=torch.double)).cumprod(0)  # what schedulers make of it
    torch.testing.assert_close(told[:-1].float(), zero.alphas_cumprod[:-1])
    assert 0 < told[-1] <= 2**-24


class Shifted(nn.Module):
    """Predicts ``x_0`` from each frame alone: a little of its noise, and its condition."""

    def conditions(self, *, x_cond, **_):
        return x_cond

    def forward(self, x_t, t, *, conditions):
        return 0.3 * x_t + 0.2 * conditions[:, :3] + 0.4


def stage(cls, scheduler, args, **kwargs):
    sampler = Sampler(
        scheduler, num_steps=6, scheduler_args=args, threshold=kwargs.pop("threshold", "static")
    )
    return cls(Shifted(), GaussianDiffusion(prediction="x_0"), sampler, **kwargs)


def seed():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("threshold", ["static", "dynamic"])
@pytest.mark.parametrize(("scheduler", "args"), STOCHASTIC.values(), ids=STOCHASTIC)
def test_sr_h_gives_identical_frames_for_identical_frames(scheduler, args, threshold):
    model = stage(SRH, scheduler, args, scale=2, threshold=threshold)
    video = torch.rand(2, 3, 1, 4, 4).expand(-1, -1, 7, -1, -1)
    outs = [model.sample(video, generator=seed(), chunk_size=chunk_size) for chunk_size in (7, 3, 1)]
    for out in outs:
        torch.testing.assert_close(out, outs[0][:, :, :1].expand_as(out), rtol=0, atol=1e-6)
    assert not torch.equal(outs[0][0], outs[0][1])
    assert not torch.equal(outs[0], model.sample(video, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("threshold", ["static", "dynamic"])
@pytest.mark.parametrize(("scheduler", "args"), STOCHASTIC.values(), ids=STOCHASTIC)
def test_a_frame_of_sr_h_depends_on_no_other(scheduler, args, threshold):
    model = stage(SRH, scheduler, args, scale=2, threshold=threshold)
    video = 3 * torch.rand(1, 3, 7, 4, 4) - 1
    whole = model.sample(video, generator=seed())
    for chunk_size in (1, 2, 4):
        torch.testing.assert_close(model.sample(video, generator=seed(), chunk_size=chunk_size), whole)
    torch.testing.assert_close(model.sample(video[:, :, 3:4], generator=seed()), whole[:, :, 3:4])


@pytest.mark.parametrize("threshold", ["static", "dynamic"])
@pytest.mark.parametrize(("scheduler", "args"), STOCHASTIC.values(), ids=STOCHASTIC)
def test_windows_of_sr_lt_share_the_noise_of_every_step(scheduler, args, threshold):
    # Of a network that looks at each frame alone, a video in windows is what it would be without.
    model = stage(SRLT, scheduler, args, scale=2, num_frames=8, overlap=4, threshold=threshold)
    video = torch.rand(1, 3, 20, 4, 4)
    windows = [8, *[4] * 3]  # frames that are new in each: their first noise is drawn window by window
    generator = seed()
    noise = torch.cat([model.sample_frame_noise(video, num, generator) for num in windows], dim=3)
    out = model.sample(video, generator=seed())
    model.num_frames = 20
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "sample_frame_noise", lambda *_: noise)
        torch.testing.assert_close(model.sample(video, generator=seed()), out)


@pytest.mark.parametrize(("scheduler", "args"), STOCHASTIC.values(), ids=STOCHASTIC)
@pytest.mark.parametrize("max_windows", [1, 2, 4])
def test_interpolation_does_not_depend_on_the_windows_at_once(max_windows, scheduler, args, monkeypatch):
    model = stage(Interpolation, scheduler, args)
    video, fps = torch.rand(2, 3, 16, 2, 2), torch.tensor([8.0, 8.0])
    expected = model.sample(video, None, fps, generator=seed())
    monkeypatch.setattr("lightning_mav.models.interpolation.MAX_WINDOWS", max_windows)
    torch.testing.assert_close(model.sample(video, None, fps, generator=seed()), expected)
    assert not torch.equal(expected[:1, :, 1:5], expected[:1, :, 16:20])  # each window has its own noise


@pytest.mark.parametrize(("scheduler", "args"), STOCHASTIC.values(), ids=STOCHASTIC)
def test_other_stages_draw_noise_for_each_frame(scheduler, args):
    sampler = Sampler(scheduler, num_steps=6, scheduler_args=args)
    generator = torch.Generator().manual_seed(0)
    out = sampler.sample(
        lambda x_t, t: 0.3 * x_t, torch.ones(2, 3, 4, 2, 2), GaussianDiffusion(), generator=generator
    )
    values = out.flatten()
    assert len(values.unique()) == len(values)
    again = sampler.sample(
        lambda x_t, t: 0.3 * x_t, torch.ones(2, 3, 4, 2, 2), GaussianDiffusion(), generator=seed()
    )
    assert torch.equal(out, again)


@pytest.mark.parametrize(("scheduler", "args"), STOCHASTIC.values(), ids=STOCHASTIC)
def test_every_step_has_noise_of_its_own(scheduler, args):
    sampler, draws = Sampler(scheduler, num_steps=6, scheduler_args=args), []

    def step_noise(draw, shape):
        draws.append(draw)
        return SeededNoise(0, (0,), dim=2)(draw, shape)

    sampler.sample(
        lambda x_t, t: 0.3 * x_t, torch.ones(1, 3, 4, 2, 2), GaussianDiffusion(), step_noise=step_noise
    )
    assert draws == list(range(len(draws)))
    assert len(draws) >= 2
    noises = [SeededNoise(0, (0,), dim=2)(draw, (1, 3, 4, 2, 2)) for draw in draws]
    assert noises[0].shape == (1, 3, 1, 2, 2)
    assert not torch.equal(noises[0], noises[1])


def test_seed_of_the_steps_follows_the_generator_and_leaves_it_as_it_is():
    generators = [torch.Generator().manual_seed(i) for i in (0, 0, 1)]
    first, same, other = map(fork_seed, generators)
    assert first == same != other
    assert fork_seed(generators[0]) == first
    assert torch.equal(generators[0].get_state(), torch.Generator().manual_seed(0).get_state())
    torch.randn(1, generator=generators[0])
    assert fork_seed(generators[0]) != first
    assert fork_seed(None) != fork_seed(None)


class Broad(Best):
    """Also gives the variances of its steps: between the least and the most, as ``output`` says."""

    def __init__(self, diffusion, output):
        super().__init__(diffusion)
        self.output = output

    def forward(self, x_t, t, conditions=None):
        prediction = super().forward(x_t, t)
        return torch.cat([prediction, torch.full_like(prediction, self.output)], dim=1)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_only_one_scheduler_adds_noise_of_learnt_variances(scheduler):
    diffusion = GaussianDiffusion(prediction="v", learned_variance=True)
    spread = {}
    for output in (-1.0, 1.0):
        sampler = Sampler(scheduler, num_steps=20, threshold="none")
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(10_000, 1, generator=generator)
        model = DiffusionModel(Broad(diffusion, output), diffusion, sampler)
        out = model.denoise(noise, generator=generator)
        assert out.mean().item() == pytest.approx(MEAN, abs=0.03)
        spread[output] = out.std().item()
    if "UnCLIP" in scheduler:  # the least suits data without noise, the most data that are noise
        assert spread[-1.0] < STD < spread[1.0] < 1
    else:
        assert spread[-1.0] == spread[1.0]


def test_karlos_scheduler_cannot_take_one_step():
    with pytest.raises(ValueError, match="UnCLIPScheduler needs at least 2 steps, got 1"):
        Sampler("diffusers.UnCLIPScheduler", num_steps=1)
    sampler, diffusion = Sampler("diffusers.UnCLIPScheduler"), GaussianDiffusion()
    with pytest.raises(ValueError, match="at least 2 steps"):
        sampler.sample(lambda x_t, t: x_t, torch.zeros(1, 1), diffusion, num_steps=1)
