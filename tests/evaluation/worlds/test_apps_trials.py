"""Trials of the applications: the truth reaches every bar, and what is broken does not."""

import math

import pytest
import torch

from helpers.tiny_cascade import save_tiny_cascade
from lightning_mav.cascade import Cascade
from lightning_mav.evaluation.worlds.apps.evaluate import make_trials
from lightning_mav.evaluation.worlds.apps.making import loop_trial
from lightning_mav.evaluation.worlds.apps.settings import AppsSettings
from lightning_mav.evaluation.worlds.apps.trials import Bar, reached, try_out
from lightning_mav.evaluation.worlds.apps.worlds import MicroWorld
from lightning_mav.evaluation.worlds.sampling import CascadeSampler
from lightning_mav.worlds.micro.world import Scenes, rasterise

SETTINGS = AppsSettings(num=12, rates=[8.0], skips=[2, 5])
SEAM = "seam / largest inner step"


def seeded():
    return torch.Generator().manual_seed(0)


def trials_at(size, num):
    return {trial.name: trial for trial in make_trials(MicroWorld(num, size), SETTINGS, 16, seeded())}


@pytest.fixture(scope="module")
def trials():
    return trials_at(16, 12)


@pytest.fixture(scope="module")
def outcomes(trials):
    """Returns for a trial and a video, which may be one of the others, whether each bar is reached."""

    def judge(name, video):
        trial = trials[name]
        drawn = trial.others[video] if isinstance(video, str) else video
        trial.draw = lambda sampler, name: drawn
        return {(one.bar.measure, one.bar.over): one.met for one in try_out(trial, None).outcomes()}

    return judge


NAMES = [
    "animate, by decoder",
    "animate, by interpolation",
    "interpolate, skip 2",
    "interpolate, skip 5",
    "extend, 8 frames after, 8 fps",
    "extend, 8 frames before, 8 fps",
    "loop, from one end to another, 8 fps",
    "extend, to twice the length, 8 fps",
    "loop, 8 fps",
    "vary",
    "morph, one thing",
    "morph, two things",
]


def test_all_applications_are_tried(trials):
    assert list(trials) == NAMES


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("loop, 8 fps", "vary")])
def test_the_truth_reaches_every_bar(name, outcomes):
    found = outcomes(name, "blended" if name == "morph, two things" else "true")
    assert found
    assert set(found.values()) == {True}


def test_a_variation_must_show_the_same_in_other_pixels(outcomes):
    difference = ("mean difference of pixels, of 255", None)
    assert outcomes("vary", "another true clip of it") == {("appearance", None): True, difference: True}
    assert outcomes("vary", "the same again") == {("appearance", None): True, difference: False}
    assert outcomes("vary", "another's") == {("appearance", None): False, difference: True}


@pytest.mark.parametrize("by", ["decoder", "interpolation"])
def test_an_image_must_stay_what_it_is_and_move(by, outcomes):
    name, looks, moves = f"animate, by {by}", ("appearance", None), ("motion", None)
    assert outcomes(name, "static") == {looks: True, moves: False}
    assert outcomes(name, "shuffled") == {looks: True, moves: False}
    assert outcomes(name, "another's") == {looks: False, moves: False}


@pytest.mark.parametrize("name", [name for name in NAMES if "8 frames" in name or "end to another" in name])
def test_what_goes_on_must_be_nearer_to_the_truth_than_frames_that_stay(name, outcomes):
    for kind in ("repeated", "another's"):
        found = outcomes(name, kind)
        assert set(found.values()) == {False}
        assert ("motion", "repeated") in found or "end to another" in name


@pytest.mark.parametrize("skip", [2, 5])
def test_frames_between_must_be_better_than_a_blend(skip, outcomes):
    name = f"interpolate, skip {skip}"
    assert outcomes(name, "blended") == {("PSNR, dB", "repeated"): True, ("PSNR, dB", "blended"): False}
    assert set(outcomes(name, "repeated").values()) == {False}


def test_a_broken_seam_is_seen(trials, outcomes):
    name = "extend, to twice the length, 8 fps"
    assert outcomes(name, "repeated") == {("motion", None): False, (SEAM, None): True}
    assert outcomes(name, "another's") == {("motion", None): False, (SEAM, None): False}
    late = trials[name].others["true"].clone()
    late[:, :, 32:-8] = late[:, :, 40:].clone()  # goes on, but a second of it is left out
    late[:, :, -8:] = late[:, :, [-9]]
    assert not outcomes(name, late)[SEAM, None]
    windows = trials[name].others["true"].clone()
    windows[:, :, 40:] = windows[:, :, 40:].roll(1, dims=0)
    trial = trials[name]
    assert outcomes(name, windows)[SEAM, None]
    assert trial.judge(windows)["largest seam of all windows / largest inner step"].mean() > 2


def orbit(num_frames):
    """One round of a triangle, 24 frames long."""
    angle = torch.arange(num_frames) / 24 * 2 * math.pi
    places = torch.stack(
        [0.4 * angle.cos(), 0.4 * angle.sin(), torch.full_like(angle, 0.4), 0 * angle], dim=1
    )
    appearances = torch.tensor([[3, 0, 0, 0], [3, 4, 0, 2]])
    return rasterise(Scenes(appearances, places.expand(2, -1, -1)), 16)


def test_a_round_closes_a_loop_and_part_of_it_does_not():
    whole = orbit(24)
    trial = loop_trial(whole[:, :, :16], 8.0, 16)
    found = {kind: trial.judge(video) for kind, video in trial.others.items()} | {"true": trial.judge(whole)}
    assert (found["true"][SEAM] < 1.1).all()
    assert (found["nothing added"][SEAM] > 1.5).all()
    way = "largest step on the way back / largest inner step"
    assert (found["true"][way] < 1.1).all()
    for kind in ("nothing added", "repeated"):
        assert (found[kind][way] > 1.5).all(), kind
    (seam,) = trial.bars
    for kind, closed in (("blended", True), ("nothing added", False)):
        assert reached(seam, found[kind], found).met == closed


def test_a_morph_must_keep_its_ends_and_go_evenly(trials, outcomes):
    error, uneven = ("error of the ends, of 255", None), ("largest step / mean step", None)
    for name in ("morph, one thing", "morph, two things"):
        assert outcomes(name, "repeated") == {error: True, uneven: False}
        for place in (0, -1):
            wrong = trials[name].others["blended"].clone()
            wrong[:, :, place] = wrong[:, :, 8].clone()
            assert not outcomes(name, wrong)[error]
    still = trials["morph, one thing"].others["blended"][:, :, :1].expand(-1, -1, 16, -1, -1)
    assert (trials["morph, one thing"].judge(still)["largest step / mean step"] == 1).all()


def test_a_gain_is_counted_video_by_video():
    far, near = torch.linspace(0, 50, 20), torch.linspace(0, 50, 20) + 1
    found = reached(Bar("x", 0.0, over="b"), {"x": near}, {"b": {"x": far}})
    assert found.met
    assert found.found["low"] == pytest.approx(found.found["high"], abs=1e-3) == pytest.approx(1, abs=1e-3)
    assert not reached(Bar("x", 0.0, over="b"), {"x": far}, {"b": {"x": far}}).met
    unsure = far + torch.tensor([2.0, -1.5]).repeat(10)
    found = reached(Bar("x", 0.0, over="b"), {"x": unsure}, {"b": {"x": far}})
    assert found.found["value"] > 0
    assert not found.met


def test_networks_are_asked_for_what_is_judged(tmp_path):
    cascade = Cascade.from_pretrained(save_tiny_cascade(tmp_path), until="interpolation")
    cascade.precision = "32-true"
    sampler = CascadeSampler(cascade, AppsSettings(steps=1))
    for trial in trials_at(8, 2).values():
        video = trial.draw(sampler, trial.name)
        for kind, other in trial.others.items():
            assert video.shape == other.shape or kind == "nothing added", trial.name
        others = [trial.others[kind] for kind in ("true", "another's") if kind in trial.others]
        if len(others) == 2 and "animate" not in trial.name:
            given = _same_frames(*others)
            assert 0 < given.sum() < len(given)
            torch.testing.assert_close(video[:, :, given], others[0][:, :, given])
            assert (video[:, :, ~given] - others[0][:, :, ~given]).abs().mean() > 0.01


def _same_frames(a, b):
    return (a == b).transpose(0, 2).flatten(1).all(dim=1)
