"""The applications on the emoji: hidden animations, and the judges of that world."""

import types

import pytest
import torch

from lightning_mav.evaluation.worlds.apps import worlds
from lightning_mav.evaluation.worlds.apps.evaluate import make_trials
from lightning_mav.evaluation.worlds.apps.settings import AppsSettings
from lightning_mav.evaluation.worlds.apps.worlds import make_world
from lightning_mav.evaluation.worlds.emoji.truth import THINGS, TONES_HIDDEN


class ColourJudge:
    """Finds the still whose colours are nearest."""

    def of_images(self, images):
        return torch.nn.functional.normalize(images.mean(dim=(2, 3)) + 0.01, dim=1)

    def of_videos(self, videos):
        return torch.cat([self.of_images(video.movedim(1, 0)).mean(dim=0, keepdim=True) for video in videos])


@pytest.fixture
def world(emoji_world, monkeypatch):
    monkeypatch.setattr(worlds, "load_judge", ColourJudge)
    cascade = types.SimpleNamespace(decoder=types.SimpleNamespace(image_size=16))
    return make_world(cascade, AppsSettings(world="emoji", data=str(emoji_world), num=6))


def test_hidden_animations_are_used_and_are_right(world):
    assert {entry.animation for entry in world.entries} == {THINGS, TONES_HIDDEN}
    assert len(world.labels) == 6
    clips = world.clips(8.0, 16, torch.Generator().manual_seed(0))
    assert clips.shape == (6, 3, 16, 16, 16)
    assert world.appearance(clips).all()
    assert world.appearance(clips.roll(1, dims=0)).sum() <= 1
    assert world.motion(clips, 8.0).shape == (6,)


def test_each_hidden_thing_may_be_the_own_animation(world):
    for entry in world.entries:
        tones = [one for code, one in world.animations.items() if code.startswith(entry.thing)]
        assert any(world.shown[entry.thing] is one for one in tones)


def test_all_trials_judge_the_truth(world):
    settings = AppsSettings(world="emoji", num=6, rates=[8.0], skips=[2])
    for trial in make_trials(world, settings, 16, torch.Generator().manual_seed(0)):
        for video in trial.others.values():
            assert all(len(values) == 6 for values in trial.judge(video).values()), trial.name
