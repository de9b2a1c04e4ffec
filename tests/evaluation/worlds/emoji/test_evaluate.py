"""``mav evaluate emoji`` as a whole, on a drawn world with a tiny cascade and a tiny judge."""

import os
import re
import shutil

import pytest
import torch
import yaml

from helpers.tiny_cascade import save_tiny_cascade
from lightning_mav import cli
from lightning_mav.data.codecs.decode import decode_video
from lightning_mav.evaluation.features import registry
from lightning_mav.evaluation.report import load_report
from lightning_mav.evaluation.worlds.emoji.evaluate import judge_appearance
from lightning_mav.evaluation.worlds.emoji.judge import EmojiJudge
from lightning_mav.evaluation.worlds.emoji.prompts import choose_prompts
from lightning_mav.evaluation.worlds.emoji.settings import EmojiBench, load_emoji_bench
from lightning_mav.evaluation.worlds.emoji.truth import read_entries
from lightning_mav.evaluation.worlds.sampling import CascadeSampler
from lightning_mav.training.runs import config_folder
from lightning_mav.utils.errors import UsageError
from lightning_mav.weights import places, save_weights

FEW = {
    "num_seen": 3,
    "num_never": 1,
    "num_untrained": 2,
    "num_shuffles": 8,
    "num_final": 2,
    "num_enlarged": 3,
}
CONTROLS = {
    "generated", "true", "static", "shuffled", "jittered", "another's animation", "untrained temporal layers",
    "chance",
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("emoji evaluation")
    save_tiny_cascade(place / "weights")
    save_weights(EmojiJudge((8, 8, 16), 16), place / "outputs" / "emoji" / "weights" / "judge.safetensors")
    return place


def evaluate(place, world, stage, monkeypatch, **settings):
    monkeypatch.chdir(place)
    config = place / "few.yaml"
    config.write_text(yaml.safe_dump({"data": str(world), **FEW, **settings}))
    out = place / f"{stage} {world.parent.name}"
    arguments = {"stage": stage, "weights": place / "weights", "out": out, "steps": 1, "config": config}
    cli.main(["evaluate", "emoji", *(f"--{key}={value}" for key, value in arguments.items())])
    report = load_report(out)
    for name in (*(sample.video for sample in report.samples), *(name for _, name in report.images)):
        assert (out / name).is_file()
    assert (out / "index.html").is_file()
    for table in report.tables:
        assert table.rows, table.title
        assert all(len(row) == len(table.header) for row in table.rows)
    for figure in report.figures:
        assert figure.low <= figure.value <= figure.high
    return report


def test_decoder_report_has_every_control_and_ceiling(place, emoji_world, monkeypatch):
    report = evaluate(place, emoji_world, "decoder", monkeypatch)
    details = report.details
    kinds = ("seen", "hidden tone", "hidden thing")
    assert details["appearance"].keys() == {
        *kinds, *(f"{kind}, true clips" for kind in kinds), "never animated", "videos of other prompts",
    }  # fmt: skip
    things, tones, seen = details["motion"].values()
    assert things.keys() >= CONTROLS | {"true, in another tone"}
    assert tones.keys() == CONTROLS | {"true, in another tone"}
    assert seen.keys() >= CONTROLS - {"untrained temporal layers"}
    assert things["generated"]["top 1"]["n"] == 4  # a tone each of two people and of two things without
    assert things["true, in another tone"]["top 1"]["n"] == 2
    assert things["untrained temporal layers"]["top 1"]["n"] == 2
    for name in ("seen", "hidden"):
        controls = ("generated", "static", "shuffled", "true, from another phase")
        assert {f"{name}, {kind}" for kind in controls} <= details["fvd"].keys()
    assert details["amounts"].keys() == {
        "seen, generated", "seen, true", "hidden, generated", "hidden, true", "never animated, generated",
    }  # fmt: skip
    assert details["words"].keys() == {
        "names of training", "names of another package, never seen",
        "names of another package, within captions", "names of other emoji",
    }  # fmt: skip
    assert details["stages"] == {}
    num = sum(details["appearance"][kind]["both"]["n"] for kind in (*kinds, "never animated"))
    assert len(report.samples) == num
    assert len(report.images) == 4
    names = {figure.name for figure in report.figures}
    assert {
        "appearance, hidden thing",
        "FVD, hidden",
        "own animation top 5, hidden thing, 4 animations",
    } <= names
    again = evaluate(place, emoji_world, "decoder", monkeypatch)
    assert again.details == details


def test_cascade_report_has_final_videos_and_bicubic(place, emoji_world, monkeypatch):
    report = evaluate(place, emoji_world, "cascade", monkeypatch)
    details = report.details
    assert {"final videos", "key frames of these"} <= details["appearance"].keys()
    assert details["appearance"]["final videos"]["both"]["n"] == 2
    folder = place / f"cascade {emoji_world.parent.name}"
    shown = [decode_video((folder / one.video).read_bytes(), "mp4", None) for one in report.samples]
    lengths = sorted(len(frames) for frames, _ in shown)
    fps, frame_skip = report.settings["fps"], report.settings["frame_skip"]
    assert (
        lengths == [16] * (len(shown) - 2) + [15 * frame_skip + 1] * 2
    )  # key frames, but for two final videos
    assert all(times[-1] == pytest.approx(15 / fps, abs=0.01) for _, times in shown)
    assert details["stages"].keys() == {"sr_lt", "sr_h"}
    metrics = {name: [row["metric"] for row in one["comparisons"]] for name, one in details["stages"].items()}
    # Pictures of 32 px are too small to be compared with final videos of 48 px.
    assert metrics == {"sr_lt": ["PSNR of stills, dB", "PSNR of clips, dB"], "sr_h": []}
    assert details["stages"]["sr_lt"]["flicker"].keys() == {"generated", "bicubic"}


def test_stills_are_judged_without_motion(place, emoji_world, monkeypatch):
    report = evaluate(place, emoji_world, "image", monkeypatch)
    assert report.details["motion"] == report.details["fvd"] == {}
    assert report.samples == []
    assert "hidden thing" in report.details["appearance"]


def test_a_world_without_hidden_tones_validation_and_other_names_is_judged(
    place, make_emoji_world, monkeypatch
):
    world = make_emoji_world(hidden_tones=0.0, validation=0.0)
    (world / "other_names.json").unlink()
    report = evaluate(place, world, "cascade", monkeypatch)
    hidden, seen = report.details["motion"]
    assert hidden.startswith("hidden thing")
    assert seen.startswith("seen")
    assert report.details["words"].keys() == {"names of training", "names of other emoji"}
    assert [row["metric"] for row in report.details["stages"]["sr_lt"]["comparisons"]] == [
        "PSNR of stills, dB"
    ]


def test_a_world_where_nothing_is_hidden_is_judged(place, make_emoji_world, monkeypatch):
    world = make_emoji_world(hidden_tones=0.0, hidden_things=0.0)
    report = evaluate(place, world, "decoder", monkeypatch)
    (seen,) = report.details["motion"]
    assert seen.startswith("seen")
    assert report.details["appearance"].keys() == {
        "seen", "seen, true clips", "never animated", "videos of other prompts",
    }  # fmt: skip


def test_the_truth_is_all_right_and_other_prompts_are_wrong(emoji_world):
    entries = read_entries(emoji_world)
    prompts = choose_prompts(entries, EmojiBench())
    rows = [*range(len(prompts.entries))]
    codes = [entry.code for entry in entries]
    own = torch.tensor([codes.index(entry.code) for entry in prompts.entries])
    right = judge_appearance(prompts, entries, rows, own)
    assert {name: share["value"] for name, share in right.items()} == {"both": 1, "thing": 1, "tone": 1}
    assert right["tone"]["n"] == sum(bool(entry.tones) for entry in prompts.entries) > 0
    assert judge_appearance(prompts, entries, rows, own.roll(1))["both"]["value"] == 0
    one = next(row for row, entry in enumerate(prompts.entries) if entry.tones)
    other = next(
        i for i, e in enumerate(entries)
        if e.thing == prompts.entries[one].thing and e.tones and e.tones != prompts.entries[one].tones
    )  # fmt: skip
    shares = judge_appearance(prompts, entries, [one], torch.tensor([other]))
    assert {name: share["value"] for name, share in shares.items()} == {"both": 0, "thing": 1, "tone": 0}


def test_shipped_settings_are_those_that_are_documented():
    assert load_emoji_bench(config_folder() / "eval" / "emoji.yaml") == EmojiBench()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--weights="], "the name of the weights is empty"),
        (["--num-per-class", "3"], "--num-per-class is for micro"),
        (["--stage", "sr_x"], "'cascade', 'decoder', 'image'|cascade, decoder, image"),
        ([], "no weights .*SCALE=emoji|outputs/emoji/weights"),  # not those of micro
        (["--weights", "WEIGHTS", "--stage", "decoder"], "mav weights train emoji_judge"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(arguments, message, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(places, "SHIPPED", tmp_path / "nothing")
    arguments = [str(place / "weights") if one == "WEIGHTS" else one for one in arguments]
    with pytest.raises(UsageError, match=message):
        cli.run(["evaluate", "emoji", *arguments, "--out", str(tmp_path / "out")])
    assert os.listdir(tmp_path) == []


def test_a_missing_world_is_named_with_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="make world WORLD=emoji"):  # weights and judge are shipped
        cli.run(["evaluate", "emoji", "--stage", "decoder", "--out", str(tmp_path / "out")])
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda world, _: (world / "other_names.json").write_text("5"), "other_names.json"),
        (lambda world, _: shutil.rmtree(world / "videos-val"), "no shard .*videos-val"),
        (lambda world, patch: patch.setattr(registry, "SHIPPED", world), "micro_video: there is no"),
    ],
)
def test_what_is_missing_or_damaged_is_said_before_sampling(
    damage, message, place, emoji_world, tmp_path, monkeypatch, capsys
):
    world = shutil.copytree(emoji_world, tmp_path / "w")
    damage(world, monkeypatch)
    monkeypatch.setattr(CascadeSampler, "embeds", lambda *_: pytest.fail("it samples"))
    with pytest.raises(SystemExit):
        evaluate(place, world, "cascade", monkeypatch)
    assert re.search(message, capsys.readouterr().err.splitlines()[-1])


def test_a_path_of_data_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "eval.yaml").write_text("data: ~/emoji")
    assert load_emoji_bench(tmp_path / "eval.yaml").data == str(tmp_path / "emoji")


@pytest.mark.parametrize(
    ("key", "value"), [("num_seen", 0), ("num_shuffles", 1), ("fps", 40), ("frame_skip", 1)]
)
def test_wrong_settings_are_named(key, value, tmp_path):
    (tmp_path / "eval.yaml").write_text(f"{key}: {value}")
    with pytest.raises(UsageError, match=rf"eval\.yaml: .*{key}"):
        load_emoji_bench(tmp_path / "eval.yaml")
