"""The frame-rate response: 1 of true clips, 0 of clips deaf to the rate, nothing where nothing moves."""

import functools
import json

import pytest
import torch

from lightning_mav.evaluation.intervals import bootstrap
from lightning_mav.evaluation.worlds import choose_prompts
from lightning_mav.evaluation.worlds.controls import static
from lightning_mav.evaluation.worlds.plot import plot_response
from lightning_mav.evaluation.worlds.speeds import AT_REST, SOURCES, log_slope, response, responses, speeds
from lightning_mav.worlds.micro.world import SHAPES, rasterise, render_videos, sample_trajectories

RATES = (6.0, 24.0)
NUM_PER_CLASS = 32  # twice as many of each shape


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@functools.cache
def appearances():
    return choose_prompts(NUM_PER_CLASS).appearances


@functools.cache
def true_videos(fps):
    return render_videos(appearances(), fps, 16, 16, seeded())


@functools.cache
def true_responses():
    return responses({fps: true_videos(fps) for fps in RATES}, appearances(), seeded())


@pytest.mark.parametrize("shape", SHAPES)
def test_true_clips_have_a_slope_of_one(shape):
    found = true_responses()[shape]
    assert found["n"] == 2 * NUM_PER_CLASS
    assert found["slope"] == pytest.approx(1, abs=0.1)
    assert found["low"] < found["slope"] < found["high"] < found["low"] + 0.3


def test_clips_deaf_to_the_rate_have_a_slope_of_zero():
    video, shown = true_videos(6.0)[:24], appearances()[:24]
    for found in responses(dict.fromkeys(RATES, video), shown, seeded()).values():
        assert found["slope"] == pytest.approx(0, abs=1e-9)
        assert found["low"] is found["high"] is None  # of four clips


def test_what_rests_has_no_slope_and_stays_valid_json():
    shown, still = appearances()[:24], static(true_videos(6.0)[:24])
    found = responses(dict.fromkeys(RATES, still), shown, seeded())
    for entry in found.values():
        assert max(entry["speed"]) < AT_REST
        assert entry["slope"] is entry["low"] is entry["high"] is None
        assert entry["n"] == 4
    json.dumps(found, allow_nan=False)


def test_what_is_unclear_has_no_speed():
    noise = torch.rand(12, 3, 16, 16, 16, generator=seeded()) * 2 - 1
    assert speeds(noise, appearances()[:12, 0]).isnan().all()
    found = responses({6.0: true_videos(6.0)[:12], 24.0: noise}, appearances()[:12], seeded())
    for entry in found.values():
        assert entry == {"speed": [None, None], "slope": None, "low": None, "high": None, "n": 0}
    json.dumps(found, allow_nan=False)


def test_speed_is_in_halves_of_the_frame():
    """A square of 6 px moves a pixel a frame, an eighth of a half."""
    video = torch.ones(1, 3, 8, 16, 16)
    for frame in range(8):
        video[:, 1:, frame, 5:11, frame + 1 : frame + 7] = -1
    assert speeds(video, torch.tensor([2])).item() == pytest.approx(1 / 8, rel=1e-3)


def test_speed_of_a_star_is_in_radians():
    stars = appearances()[appearances()[:, 0] == SHAPES.index("star")]
    scenes = sample_trajectories(stars, 6.0, 16, seeded())
    turned = scenes.places[:, :, 3].diff(dim=1).abs().mean(dim=1)
    torch.testing.assert_close(speeds(rasterise(scenes, 16), stars[:, 0]).float(), turned, rtol=0.05, atol=0)


def test_slope_and_interval_of_known_speeds():
    rates = (4.0, 8.0, 16.0)
    own = torch.rand(200, 1, generator=seeded(), dtype=torch.double) + 0.5
    for power in (0.5, 1.0, 2.0):
        speed = own * (1 / torch.tensor(rates, dtype=torch.double)) ** power
        found = response(speed, rates, seeded())
        assert found["slope"] == pytest.approx(power)
        assert found["low"] == pytest.approx(power)
    noisy = speed * torch.rand(speed.shape, generator=seeded(1), dtype=torch.double)
    found = response(noisy, rates, seeded())
    assert found["low"] < 2 < found["high"]
    assert log_slope(speed[0], rates).item() == pytest.approx(2)


def test_bootstrap_of_a_mean_is_the_normal_interval():
    sample = torch.randn(400, generator=seeded(), dtype=torch.double)
    low, high = bootstrap(lambda samples: samples.mean(dim=1), sample, seeded(), num=4000)
    half = 1.96 * sample.std().item() / 20
    assert low == pytest.approx(sample.mean().item() - half, abs=0.01)
    assert high == pytest.approx(sample.mean().item() + half, abs=0.01)


def test_plot_has_a_panel_of_each_shape_whatever_was_measured():
    nothing = {shape: {"speed": [None, None], "slope": None, "n": 0} for shape in SHAPES}
    still = {shape: {"speed": [0.0, 0.0], "slope": None, "n": 4} for shape in SHAPES}
    empty = plot_response({"fps": RATES, **dict.fromkeys(SOURCES, nothing)})
    for sources in ((true_responses(), still, nothing), (still, still, still)):
        plot = plot_response({"fps": RATES, **dict(zip(SOURCES, sources, strict=True))})
        assert plot.size == empty.size
        for panel in range(len(SHAPES)):
            box = (panel * 256, 0, (panel + 1) * 256, plot.height)
            assert plot.crop(box).tobytes() != empty.crop(box).tobytes()
