"""``mav evaluate apps``: its report has everything, and its mistakes leave nothing."""

import hashlib
import os
import shutil

import pytest
import torch
import yaml

from helpers.places import ROOT
from helpers.tiny_cascade import save_tiny_cascade
from lightning_mav import cli
from lightning_mav.cli.evaluate import main
from lightning_mav.evaluation.report import load_report, replace_section
from lightning_mav.evaluation.worlds.apps.settings import AppsSettings, load_apps_settings
from lightning_mav.training.runs import config_folder
from lightning_mav.utils.errors import UsageError
from lightning_mav.weights import load_weights, save_weights

FEW = {"num": 2, "num_shown": 1, "rates": [8.0], "skips": [5]}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_tiny_cascade(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def evaluate(weights, tmp_path_factory):
    place = tmp_path_factory.mktemp("apps")
    config = place / "few.yaml"
    config.write_text(yaml.safe_dump(FEW))

    def run(name, **others):
        out = place / name
        given = {"weights": weights, "out": out, "steps": 1, "config": config, **others}
        main(["apps", *(f"--{key}={value}" for key, value in given.items())])
        return load_report(out), out

    return run


@pytest.fixture(scope="module")
def first(evaluate):
    return evaluate("first")


def test_the_report_has_every_trial_with_bars_and_controls(first):
    report, out = first
    assert {"report.json", "report.md", "index.html", "videos"} <= set(os.listdir(out))
    for name in (*(sample.video for sample in report.samples), *(name for _, name in report.images)):
        assert (out / name).is_file()
    commands = {name.split(",")[0] for name in report.details}
    assert commands == {"animate", "interpolate", "extend", "loop", "vary", "morph"}
    assert len(report.samples) == len(report.images) == len(report.details) == 11
    bars, *others = report.tables
    assert len(bars.rows) == len(report.figures) == 21
    assert [table.title.split(",")[0].lower() for table in others] == list(
        dict.fromkeys(name.split(",")[0] for name in report.details)
    )
    for figure in report.figures:
        assert figure.low <= figure.value <= figure.high
        assert figure.n == 2
        assert figure.settings["reached"] in (True, False)
    for measures in report.details.values():
        assert all("generated" in kinds and len(kinds) > 2 for kinds in measures.values())
    assert report.weights.keys() == {"clip", "prior", "decoder", "interpolation"}


def test_another_interpolation_changes_its_own_trials_alone(first, evaluate, weights, tmp_path):
    other = load_weights(weights / "interpolation.safetensors")
    for parameter in other.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    path = tmp_path / "other.safetensors"
    save_weights(other, path)
    second, _ = evaluate("second", interpolation=path)
    assert second.weights["interpolation"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    changed = {name for name, found in first[0].details.items() if found != second.details[name]}
    assert not changed & {"vary", "animate, by decoder"}
    assert {name.split(",")[0] for name in changed} == {"interpolate", "extend", "loop", "morph"}


def test_a_section_of_a_page_is_replaced_and_nothing_else(first, evaluate, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- apps:begin -->\nold\n<!-- apps:end -->\nafter\n")
    report, _ = evaluate("again", docs=page)
    assert report.details == first[0].details  # the same each time
    text = page.read_text()
    assert text.startswith("before\n<!-- apps:begin -->\n\n| application | measure | measured |")
    assert text.endswith("\n\n<!-- apps:end -->\nafter\n")
    assert "old" not in text
    assert text.count("\n| ") == len(report.tables[0].rows) + 2
    assert report.weights["interpolation"]["sha256"][:8] in text
    replace_section(page, report)
    assert page.read_text() == text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["apps", "--stage", "decoder"], "--stage decoder: apps judges applications"),
        (["micro", "--stage", "decoder", "--interpolation", "F"], "--interpolation: --stage decoder"),
        (["apps", "--interpolation", "/nowhere.safetensors"], "/nowhere.safetensors"),
        (["apps", "--docs", "/nowhere.md"], "/nowhere.md"),
        (
            ["apps", "--docs", str(ROOT / "README.md")],
            "has no section of apps: put lines <!-- apps:begin -->",
        ),
        (["apps", "--num-per-class", "3"], "--num-per-class is for micro"),
        (["apps_emoji"], "make world WORLD=emoji"),
    ],
)
def test_mistakes_are_named_and_leave_nothing(arguments, message, weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=message):
        main([*arguments, "--weights", str(weights), "--out", str(tmp_path / "out")])
    assert os.listdir(tmp_path) == []


def test_an_interpolation_of_another_kind_is_refused(weights, tmp_path, capsys):
    path = shutil.copy(weights / "decoder.safetensors", tmp_path)
    with pytest.raises(SystemExit) as ended:
        cli.main(["evaluate", "apps", f"--weights={weights}", f"--interpolation={path}"])
    assert ended.value.code == 2
    assert "holds a Decoder; put a Interpolation there" in capsys.readouterr().err


def test_shipped_settings_are_those_that_are_documented():
    folder = config_folder() / "eval"
    assert load_apps_settings(folder / "apps.yaml") == AppsSettings()
    emoji = load_apps_settings(folder / "apps_emoji.yaml")
    assert (emoji.world, emoji.animate_motion) == ("emoji", None)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("world", "nano"),
        ("num", 1),
        ("rates", []),
        ("rates", [0]),
        ("skips", [1]),
        ("skips", [16]),
        ("skips", [2.5]),
        ("animate_motion", 1.1),
        ("vary_appearance", -1),
    ],
)
def test_wrong_settings_are_named(key, value, tmp_path):
    (tmp_path / "eval.yaml").write_text(yaml.safe_dump({key: value}))
    with pytest.raises(UsageError, match=rf"eval\.yaml: .*{key}"):
        load_apps_settings(tmp_path / "eval.yaml")
