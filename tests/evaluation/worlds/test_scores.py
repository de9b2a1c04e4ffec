"""The instrument: perfect videos score 1, noise scores 0, and what has no motion is given none."""

import pytest
import torch

from lightning_mav.evaluation.metrics import psnr
from lightning_mav.evaluation.worlds import Evaluation, choose_prompts, read, score, wilson
from lightning_mav.evaluation.worlds.baselines import flicker, movement
from lightning_mav.evaluation.worlds.controls import jittered, motion_shares, shuffled, static
from lightning_mav.evaluation.worlds.scores import read_truth
from lightning_mav.evaluation.worlds.sheets import plot_sheet, plot_sheets
from lightning_mav.worlds.micro.world import SHAPES, render_videos


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662)],
)
def test_wilson_interval_has_known_values(count, n, low, high):
    share = wilson(torch.arange(n) < count)
    assert share["n"] == n
    assert share["value"] == count / n
    assert (share["low"], share["high"]) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_prompts_are_balanced_and_rightly_split():
    prompts = choose_prompts(8)
    shape, colour = prompts.appearances[:, 0], prompts.appearances[:, 1]
    assert len(prompts.appearances) == len(set(prompts.texts)) == 96
    assert prompts.held_out.sum() == 48
    assert torch.isin((colour - shape) % 8, torch.tensor([1, 5])).equal(prompts.held_out)
    for column, low in ((0, 16), (1, 8), (2, 40), (3, 28)):
        assert prompts.appearances[:, column].bincount().min() >= low
    first = prompts.first(24)
    assert first.appearances.equal(choose_prompts(2).appearances)
    assert (first.appearances[~first.held_out, 0].bincount() == 2).all()
    assert len(prompts.first(100).texts) == 100


def test_every_combination_has_its_turn():
    assert len(set(choose_prompts(36).texts)) == 288


def test_a_perfect_generator_scores_one_and_noise_zero():
    prompts = choose_prompts(4)
    video = render_videos(prompts.appearances, 8.0, 16, 16, seeded())
    for split in (found := score(prompts, read(video)))["seen"], found["held_out"]:
        assert all(share["value"] > 0.9 and share["n"] == 24 for share in split.values())
    assert found["confusion"]["motion"]["ball"]["bounce"] >= 7
    noise = torch.rand(video.shape, generator=seeded()) * 2 - 1
    for split in (found := score(prompts, read(noise)))["seen"], found["held_out"]:
        assert split["appearance"]["value"] == split["motion"]["value"] == 0


@pytest.mark.parametrize("image_size", [8, 16])  # at 8 px little is read right
@pytest.mark.parametrize("num_frames", [1, 8])
def test_rows_of_confusion_sum_to_what_was_asked_for(num_frames, image_size):
    prompts = choose_prompts(2)
    confusion = score(prompts, read_truth(prompts.appearances, 8.0, num_frames, image_size, seeded()))[
        "confusion"
    ]
    assert confusion.keys() == ({"shape"} if num_frames == 1 else {"shape", "motion"})
    for matrix in confusion.values():
        assert tuple(matrix) == SHAPES
        assert all(sum(row.values()) == 4 and list(row)[-1] == "other" for row in matrix.values())


def test_a_video_of_the_wrong_thing_is_wrong():
    prompts = choose_prompts(2)
    other = prompts.appearances.clone()
    other[:, 1] = (other[:, 1] + 1) % 8
    found = score(prompts, read(render_videos(other, 8.0, 16, 16, seeded())))
    assert found["seen"]["appearance"]["value"] == found["seen"]["everything"]["value"] == 0
    assert found["seen"]["shape"]["value"] == 1


def test_stills_have_no_motion():
    prompts = choose_prompts(2)
    found = score(prompts, read_truth(prompts.appearances, 8.0, 1, 16, seeded()))
    assert found["seen"]["appearance"]["value"] == 1
    assert "motion" not in found["seen"]


def test_controls_are_given_no_motion():
    appearances = choose_prompts(8).appearances
    video = render_videos(appearances, 8.0, 16, 16, seeded())
    assert motion_shares(video, appearances)["right"]["value"] > 0.95
    # Next of kin: all move, none as asked.
    wrong = motion_shares(video, appearances.roll(1, dims=0))
    assert wrong["right"]["value"] < 0.05 < 0.95 < wrong["any"]["value"]
    for control in (static(video), jittered(video, seeded()), shuffled(video, seeded())):
        assert control.shape == video.shape
        assert motion_shares(control, appearances)["any"]["value"] <= 0.1


def test_figures_of_baselines():
    truth = render_videos(choose_prompts(1).appearances, 8.0, 16, 16, seeded())
    assert movement(static(truth)) == 0
    assert movement(shuffled(truth, seeded())) > movement(truth)
    assert flicker(truth, truth) < 1 / 255
    off = torch.full((len(truth), 1, 1, 1, 1), 0.2)
    off[1] = 0.02
    assert psnr(truth, truth + off).tolist() == pytest.approx([20, 40, *[20] * (len(truth) - 2)], abs=1e-3)


@pytest.mark.parametrize(("num_frames", "num_per_class", "num_strips"), [(2, 5, 8), (2, 1, 2), (1, 5, 2)])
def test_sheets_show_each_shape_up_to_eight_times(num_frames, num_per_class, num_strips):
    prompts = choose_prompts(num_per_class)
    video = render_videos(prompts.appearances, 8.0, num_frames, 16, seeded())
    evaluation = Evaluation({}, prompts, video, 8.0, read(video), torch.zeros(len(video)), [])
    sheets, strip = plot_sheets(evaluation), plot_sheet(evaluation).height / 12
    assert tuple(sheets) == SHAPES
    assert all(sheet.height == num_strips * strip for sheet in sheets.values())
