"""The instrument: perfect videos score 1, noise scores 0, and what has no motion is given none."""

import json
import os

import pytest
import torch
from PIL import Image
from tiny_cascade import save_tiny_cascade

from lightning_mav import cli
from lightning_mav.cascade import STAGES
from lightning_mav.commands.evaluate import main
from lightning_mav.commands.runs import config_folder
from lightning_mav.configured import from_config
from lightning_mav.errors import UsageError
from lightning_mav.evaluation import Settings, choose_prompts, load_settings, read, score, wilson
from lightning_mav.evaluation.baselines import flicker, movement
from lightning_mav.evaluation.controls import jittered, share_with_motion, shuffled, static
from lightning_mav.evaluation.drawing import without_time
from lightning_mav.evaluation.scores import read_truth
from lightning_mav.metrics import psnr
from lightning_mav.micro.world import render_videos
from lightning_mav.weights import load_weights

TINY = {
    "batch_size": 6, "num_final_per_class": 1, "num_renders": 12, "num_final_renders": 12, "num_untrained": 4,
    "num_clip_renders": 1, "num_windows": 3, "num_sr_videos": 2, "num_sr_images": 3, "num_noise_videos": 1,
}  # fmt: skip


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
    assert sum(found["confusion"]["shape"]["star"].values()) == 8


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
    video = render_videos(choose_prompts(8).appearances, 8.0, 16, 16, seeded())
    assert share_with_motion(video)["value"] > 0.95
    for control in (static(video), jittered(video, seeded()), shuffled(video, seeded())):
        assert control.shape == video.shape
        assert share_with_motion(control)["value"] <= 0.1


def test_figures_of_baselines():
    truth = render_videos(choose_prompts(1).appearances, 8.0, 16, 16, seeded())
    assert movement(static(truth)) == 0
    assert movement(shuffled(truth, seeded())) > movement(truth)
    assert flicker(truth, truth) < 1 / 255
    assert psnr(truth, truth + 0.2) == pytest.approx(20, abs=1e-3)


def test_without_time_frames_are_independent(weights):
    decoder = load_weights(weights / "decoder.safetensors")
    fresh = without_time(decoder)
    x_t, t, embed = torch.randn(2, 3, 4, 8, 8), torch.tensor([10, 900]), torch.randn(2, 8)
    fps = torch.tensor([4.0, 8.0])
    with torch.no_grad():
        alone = [fresh.net(x_t[:, :, [i]], t, image_embed=embed, fps=fps) for i in range(4)]
        together = fresh.net(x_t, t, image_embed=embed, fps=fps)
        trained = decoder.net(x_t, t, image_embed=embed, fps=fps)
    torch.testing.assert_close(together, torch.cat(alone, dim=2), atol=1e-4, rtol=1e-4)
    assert not together.allclose(trained, atol=1e-2)
    assert from_config(decoder.config).config == decoder.config


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_tiny_cascade(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def evaluated(weights, tmp_path_factory):
    return lambda stage: _evaluate(stage, weights, tmp_path_factory.mktemp(stage))


def _evaluate(stage, weights, folder):
    config = folder / "tiny.yaml"
    config.write_text("\n".join(f"{key}: {value}" for key, value in TINY.items()))
    out = folder / "new" / "report"
    arguments = {
        "stage": stage,
        "weights": weights,
        "out": out,
        "steps": 1,
        "num-per-class": 1,
        "config": config,
    }
    main(["micro", *(f"--{key}={value}" for key, value in arguments.items())])
    assert set(os.listdir(out)) == {"report.json", "report.md", "contact_sheet.png"}
    with Image.open(out / "contact_sheet.png") as sheet:
        assert sheet.width == 1536
    return json.loads((out / "report.json").read_text()), (out / "report.md").read_text()


def assert_share(share, n):
    assert share.keys() == {"value", "low", "high", "n"}
    assert 0 <= share["low"] <= share["value"] <= share["high"] <= 1
    assert share["n"] == n


def test_cascade_report_has_everything(evaluated, capsys):
    report, markdown = evaluated("cascade")
    for block in (report, report["decoder"], report["interpolation"], report["sr_lt"], report["sr_h"]):
        for key in ("appearance", "motion"):
            assert_share(block["seen"][key], 6)
            assert_share(block["held_out"][key], 6)
            assert_share(block["detectors"][key], 12)
    assert report["judged"] == "sr_h"
    assert report["video"] == {"num_frames": 16, "image_size": 48, "fps": 6.0}
    assert report["interpolation"]["video"] == {"num_frames": 76, "image_size": 8, "fps": 30.0}
    assert report["controls"].keys() == {"static", "jittered", "shuffled", "untrained"}
    assert report["stages"].keys() == {*STAGES, "decoder_image"}
    for entry in report["stages"].values():
        assert entry["better"] == all(row["better"] for row in entry["comparisons"])
    baselines = [row["baseline"] for row in report["stages"]["interpolation"]["comparisons"]]
    assert baselines == ["repeated key frames", "blended key frames"]
    assert report["flicker"].keys() == {"sr_lt", "sr_h"}
    assert report["settings"] == vars(Settings(steps=1, num_per_class=1, **TINY))
    assert report["weights"].keys() == STAGES.keys()
    assert all(len(entry["sha256"]) == 64 for entry in report["weights"].values())
    assert report["seconds"]["total"] > report["seconds"]["decoder"]
    assert "## Stages beside their baselines" in markdown
    assert "Right, percent" in capsys.readouterr().out


def test_decoder_is_judged_alone_and_the_same_each_time(evaluated):
    report, _ = evaluated("decoder")
    assert report["judged"] == "decoder"
    assert report["seen"] == report["decoder"]["seen"]
    assert report["weights"].keys() == {"clip", "prior", "decoder"}
    assert report["stages"].keys() == {"clip", "prior", "decoder_image", "decoder"}
    again, _ = evaluated("decoder")
    for key in ("decoder", "controls", "stages"):
        assert report[key] == again[key]


def test_stills_are_judged(evaluated):
    report, markdown = evaluated("image")
    assert report["judged"] == "image"
    assert_share(report["held_out"]["appearance"], 6)
    assert "motion" not in report["seen"]
    assert report["controls"] == {}
    assert "controls" not in markdown.lower()


def test_shipped_settings_are_those_that_are_documented():
    assert load_settings(config_folder() / "eval" / "micro.yaml") == Settings()
    assert load_settings(config_folder() / "eval" / "micro.yaml", seed=3, steps=None).seed == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nano"], "micro"),
        (["--bench", "nano"], "micro"),
        (["--stage", "sr_x"], "'cascade', 'decoder', 'image'|cascade, decoder, image"),
        (["--num-per-class", "0"], "of 1 or more"),
        (["--config", "/nowhere.yaml"], "/nowhere.yaml"),
        (["--weights", "no/where"], "no weights there"),
        (["--weights", "nano", "--stage", "image"], "SCALE=nano"),
    ],
)
def test_mistakes_are_named_and_leave_nothing(arguments, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        main([*arguments, "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("key", "value"), [("num_prompts", 3), ("fps", "fast"), ("frame_skip", 1), ("num_windows", 0)]
)
def test_wrong_settings_are_named(key, value, tmp_path):
    (tmp_path / "eval.yaml").write_text(f"{key}: {value}")
    with pytest.raises(UsageError, match=rf"eval\.yaml: .*{key}.*; keys are seed, fps"):
        load_settings(tmp_path / "eval.yaml")


def test_missing_stage_is_named_with_its_command(tmp_path, capsys):
    folder = save_tiny_cascade(tmp_path / "weights")
    (folder / "sr_lt.safetensors").unlink()
    with pytest.raises(SystemExit) as caught:
        cli.main(["evaluate", "--weights", str(folder), "--out", str(tmp_path / "out")])
    assert caught.value.code == 2
    assert "make train-stage STAGE=sr_lt" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
