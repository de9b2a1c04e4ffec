"""``mav evaluate``: its report has everything, and its mistakes leave nothing."""

import dataclasses
import os

import pytest
import torch
from PIL import Image

from helpers.tiny_cascade import TINY, save_tiny_cascade
from lightning_mav import cli
from lightning_mav.cascade import Cascade
from lightning_mav.cli.evaluate import main
from lightning_mav.evaluation.report import load_report
from lightning_mav.evaluation.worlds import MicroSettings, baselines, choose_prompts, load_micro_settings
from lightning_mav.evaluation.worlds.report import tables
from lightning_mav.evaluation.worlds.sampling import CascadeSampler, without_time
from lightning_mav.stage_table import stages
from lightning_mav.training.runs import config_folder
from lightning_mav.utils.configured import from_config
from lightning_mav.utils.errors import UsageError
from lightning_mav.weights import load_weights
from lightning_mav.worlds.micro.world import SHAPES


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_tiny_cascade(tmp_path_factory.mktemp("weights"))


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


def test_frame_rates_share_their_noise_unless_untrained(weights):
    cascade = Cascade.from_pretrained(weights, until="decoder")
    cascade.decoder = without_time(cascade.decoder)  # deaf to the rate, so that the noise is all that counts
    sampler, embed = CascadeSampler(cascade, MicroSettings(steps=1)), torch.randn(2, 8)
    assert sampler.key_frames(embed).equal(sampler.key_frames(embed, 12.0))
    untrained = [sampler.key_frames(embed, fps, untrained=True) for fps in (6.0, 12.0)]
    assert not untrained[0].allclose(untrained[1], atol=0.1)
    assert sampler.seconds.keys() == {"decoder", "decoder 12 fps", "untrained", "untrained 12 fps"}


def test_cosines_are_not_rounded_where_networks_run_in_bf16(weights, monkeypatch):
    sampler = CascadeSampler(Cascade.from_pretrained(weights, until="decoder"), MicroSettings())
    prompts = choose_prompts(2)
    true_embed = torch.randn(len(prompts.texts), 8)
    monkeypatch.setattr(sampler.cascade.clip, "encode_image", lambda images: true_embed)
    in_bf16 = torch.autocast("cpu", dtype=torch.bfloat16)
    monkeypatch.setattr(baselines, "autocast_context", lambda device: in_bf16)
    image_embed = true_embed + torch.randn_like(true_embed)
    (row,) = baselines.compare_prior(sampler, prompts, image_embed)
    expected = torch.nn.functional.cosine_similarity(image_embed, true_embed).mean().item()
    assert row["value"] == pytest.approx(expected, abs=1e-5)


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
    moving = set() if stage == "image" else {"fps_response.png", "videos"}
    files = {"report.json", "report.md", "index.html", "contact_sheet.png", "sheets", *moving}
    assert set(os.listdir(out)) == files
    assert set(os.listdir(out / "sheets")) == {f"{shape}.png" for shape in SHAPES}
    with Image.open(out / "contact_sheet.png") as sheet:
        assert sheet.width == 1536
    report = load_report(out)
    for name in (*(sample.video for sample in report.samples), *(name for _, name in report.images)):
        assert (out / name).is_file()
    return report, (out / "report.md").read_text()


def assert_share(share, n):
    assert share.keys() == {"value", "low", "high", "n"}
    assert 0 <= share["low"] <= share["value"] <= share["high"] <= 1
    assert share["n"] == n


def test_cascade_report_has_everything(evaluated, capsys):
    whole, markdown = evaluated("cascade")
    report = whole.details
    for block in (report, report["decoder"], report["interpolation"], report["sr_lt"], report["sr_h"]):
        for key in ("appearance", "motion"):
            assert_share(block["seen"][key], 6)
            assert_share(block["held_out"][key], 6)
            assert_share(block["detectors"][key], 12)
    assert report["judged"] == "sr_h"
    assert report["video"] == {"num_frames": 16, "image_size": 48, "fps": 6.0}
    assert report["interpolation"]["video"] == {"num_frames": 76, "image_size": 8, "fps": 30.0}
    assert report["controls"].keys() == {"truth", "static", "jittered", "shuffled", "untrained"}
    for name, shares in report["controls"].items():
        for share in (shares["right"], shares["any"]):
            assert_share(share, 12)
        assert shares["right"]["value"] <= shares["any"]["value"], name
    assert report["fps_response"]["fps"] == [6.0, 12.0]
    for source in ("truth", "decoder", "untrained"):
        assert tuple(report["fps_response"][source]) == SHAPES
    assert report["stages"].keys() == {*stages(), "decoder_image"}
    for entry in report["stages"].values():
        assert entry["better"] == all(row["better"] for row in entry["comparisons"])
    baselines = [row["baseline"] for row in report["stages"]["interpolation"]["comparisons"]]
    assert baselines == ["repeated key frames", "blended key frames"]
    assert report["flicker"].keys() == {"sr_lt", "sr_h"}
    figures = {figure.name: figure for figure in whole.figures}
    assert {"motion, held out (decoder)", "motion, held out (sr_h)", "FVD", "IS", "CLIPSIM"} <= figures.keys()
    assert figures["FVD"].low <= figures["FVD"].value <= figures["FVD"].high
    assert figures["FVD"].n == len(whole.samples) == 12
    assert report["distances"].keys() == {"truth", "static", "jittered", "shuffled"}
    assert report["distances"]["truth"] < min(report["distances"]["shuffled"], figures["FVD"].value)
    assert {sample.label for sample in whole.samples} == {"seen", "held out"}
    assert whole.settings == vars(MicroSettings(steps=1, num_per_class=1, **TINY))
    assert whole.weights.keys() == stages().keys()
    assert all(len(entry["sha256"]) == 64 for entry in whole.weights.values())
    assert whole.seconds["total"] > whole.seconds["decoder"]
    printed = " ".join(capsys.readouterr().out.split())  # long titles are wrapped
    for table in tables(report):
        assert f"## {table.title}" in markdown
        assert table.title in printed
        assert all(len(row) == len(table.header) for row in table.rows)
    titles = {table.title for table in tables(report)}
    for name in ("decoder", "interpolation", "sr_lt", "sr_h"):
        assert {f"The shape that was read, {name}", f"The motion that was read, {name}"} <= titles


def test_decoder_is_judged_alone_and_the_same_each_time(evaluated):
    whole, _ = evaluated("decoder")
    report = whole.details
    assert report["judged"] == "decoder"
    assert report["seen"] == report["decoder"]["seen"]
    assert whole.weights.keys() == {"clip", "prior", "decoder"}
    assert report["stages"].keys() == {"clip", "prior", "decoder_image", "decoder"}
    again, _ = evaluated("decoder")
    assert whole.figures == again.figures
    for key in ("decoder", "controls", "distances", "stages", "fps_response"):
        assert report[key] == again.details[key]


def test_stills_are_judged(evaluated):
    whole, markdown = evaluated("image")
    report = whole.details
    assert [figure.name for figure in whole.figures] == [
        "appearance, seen (image)",
        "appearance, held out (image)",
    ]
    assert report["judged"] == "image"
    assert_share(report["held_out"]["appearance"], 6)
    assert "motion" not in report["seen"]
    assert report["controls"] == report["fps_response"] == {}
    assert "True videos and controls" not in markdown


def test_shipped_settings_are_those_that_are_documented():
    assert load_micro_settings(config_folder() / "eval" / "micro.yaml") == MicroSettings()
    changed = load_micro_settings(config_folder() / "eval" / "micro.yaml", seed=3, steps=None)
    assert changed == dataclasses.replace(MicroSettings(), seed=3, steps=None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nano"], "micro"),
        (["--bench", "nano"], "micro"),
        (["--stage", "sr_x"], "'cascade', 'decoder', 'image'|cascade, decoder, image"),
        (["--num-per-class", "0"], "of 1 or more"),
        (["--config", "/nowhere.yaml"], "/nowhere.yaml"),
        (["--weights", "no/where"], "no weights there"),
        (["--weights", "pico", "--stage", "image"], "SCALE=pico"),
    ],
)
def test_mistakes_are_named_and_leave_nothing(arguments, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        main([*arguments, "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_prompts", 3),
        ("fps", "fast"),
        ("frame_skip", 1),
        ("frame_skip", 16),
        ("num_windows", 0),
        ("speed_fps", []),
        ("speed_fps", [6]),
        ("speed_fps", [0.5]),
    ],
)
def test_wrong_settings_are_named(key, value, tmp_path):
    (tmp_path / "eval.yaml").write_text(f"{key}: {value}")
    remedy = ".*; keys are seed, fps" if key == "num_prompts" else ""
    with pytest.raises(UsageError, match=rf"eval\.yaml: .*{key}{remedy}"):
        load_micro_settings(tmp_path / "eval.yaml")
    (tmp_path / "eval.yaml").write_text("seed: 1")
    with pytest.raises(UsageError, match=rf"eval\.yaml with other {key}: .*{key}{remedy}"):
        load_micro_settings(tmp_path / "eval.yaml", **{key: value})


def test_what_is_no_yaml_is_said_in_a_line(tmp_path):
    (tmp_path / "eval.yaml").write_text("fps: 6\n\tseed: 1\n")
    with pytest.raises(UsageError, match=r"eval\.yaml: is no YAML \(.*line 2") as caught:
        load_micro_settings(tmp_path / "eval.yaml")
    assert len(str(caught.value).splitlines()) == 1


def test_missing_stage_is_named_with_its_command(tmp_path, capsys):
    folder = save_tiny_cascade(tmp_path / "weights")
    (folder / "sr_lt.safetensors").unlink()
    with pytest.raises(SystemExit) as caught:
        cli.main(["evaluate", "--weights", str(folder), "--out", str(tmp_path / "out")])
    assert caught.value.code == 2
    assert "make train-stage STAGE=sr_lt" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
