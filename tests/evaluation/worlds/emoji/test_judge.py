"""The judge: a short training tells a handful of stills apart, altered as they may be."""

import shutil

import pytest
import torch

from lightning_mav import cli
from lightning_mav.evaluation.worlds.emoji import judge_training
from lightning_mav.evaluation.worlds.emoji.judge import EmojiJudge, load_judge, nearest_still
from lightning_mav.evaluation.worlds.emoji.judge_training import (
    altered,
    judge_accuracy,
    train_judge,
    training_pictures,
    validation_clips,
)
from lightning_mav.evaluation.worlds.emoji.truth import SEEN, codes_of, read_entries
from lightning_mav.utils.errors import UsageError
from lightning_mav.weights import find_weights, places, read_training, save_weights


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch):
    monkeypatch.setattr(judge_training, "BATCH_SIZE", 48)


@pytest.fixture(scope="module")
def pictures(emoji_world):
    return training_pictures(emoji_world)


def test_pictures_are_stills_and_frames_of_seen_clips_alone(emoji_world, pictures):
    stills, frames, labels = pictures
    entries = read_entries(emoji_world)
    seen = codes_of(entries, SEEN)
    assert len(stills) == len(entries)
    assert len(frames) == len(labels) == 12 * len(seen)
    assert {entries[label].code for label in labels.tolist()} == set(seen)


@pytest.mark.slow
def test_a_short_training_tells_altered_stills_and_hidden_clips_apart(emoji_world, pictures):
    stills, frames, labels = pictures
    judge = train_judge(stills, frames, labels, num_steps=60)
    features = judge.of_images(stills)
    generator = torch.Generator().manual_seed(1)
    videos = torch.stack([altered(stills, generator) for _ in range(4)], dim=2)
    right = nearest_still(judge, features, videos) == torch.arange(len(stills))
    assert right.double().mean() > 0.9
    assert nearest_still(judge, features, stills[:, :, None]).tolist() == list(range(len(stills)))
    untrained = nearest_still(EmojiJudge().eval(), EmojiJudge().eval().of_images(stills), videos)
    assert (untrained == torch.arange(len(stills))).double().mean() < 0.5
    accuracy = judge_accuracy(judge, stills, validation_clips(emoji_world))
    assert accuracy["n"] == 4
    assert accuracy["value"] >= 0.75


def test_training_is_decided_by_the_seed(pictures):
    a, b, c = (train_judge(*pictures, num_steps=2, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(a[name].equal(b[name]) for name in a)
    assert not a["features.weight"].equal(c["features.weight"])


def test_stills_alone_are_enough_to_train_on(pictures):
    stills, frames, labels = pictures
    train_judge(stills, frames[:0], labels[:0], num_steps=1)


def test_features_have_length_1_for_images_of_any_size_and_number():
    judge = EmojiJudge((4, 8), 16).eval()
    for size, num in ((32, 300), (64, 2), (48, 1)):
        found = judge.of_images(torch.randn(num, 3, size, size))
        torch.testing.assert_close(found.norm(dim=1), torch.ones(num))
    video = torch.randn(2, 3, 5, 32, 32)
    expected = torch.stack([judge.of_images(one.movedim(1, 0)).mean(dim=0) for one in video])
    torch.testing.assert_close(
        judge.of_videos(video), torch.nn.functional.normalize(expected, dim=1), rtol=1e-4, atol=1e-5
    )


def test_the_command_trains_where_the_evaluation_looks(emoji_world, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(places, "SHIPPED", tmp_path / "nothing")
    with pytest.raises(
        UsageError, match=r"outputs/emoji/weights/judge\.safetensors.*mav weights train emoji_judge"
    ):
        load_judge()
    cli.main(["weights", "train", "emoji_judge", f"--data={emoji_world}", "--steps=2", "--seed=3"])
    assert "right, 4 clips not trained on" in capsys.readouterr().out
    path = find_weights("emoji/judge")
    assert str(path) == "outputs/emoji/weights/judge.safetensors"
    training = read_training(path)
    assert (training["seed"], training["steps"], training["accuracy"]["n"]) == (3, 2, 4)
    assert isinstance(load_judge(), EmojiJudge)


def test_a_world_without_clips_to_check_by_is_trained_on(make_emoji_world, tmp_path, capsys):
    world = make_emoji_world(validation=0.0)
    out = tmp_path / "judge.safetensors"
    cli.main(["weights", "train", "emoji_judge", f"--data={world}", "--steps=1", f"--out={out}"])
    assert "unknown, since this world has none" in capsys.readouterr().out
    assert out.is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["emoji_judge", "--data", "no/where"], "emoji.json: cannot be read"),
        (["micro_video", "--data", "data/emoji"], "--data is for emoji_judge"),
        (["judge"], "micro_video"),
    ],
)
def test_mistakes_are_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        cli.main(["weights", "train", *arguments])
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fault", ["validation", "folder"])
def test_faults_are_found_before_the_training(fault, emoji_world, tmp_path, monkeypatch):
    monkeypatch.setattr(judge_training, "train_judge", lambda *_, **__: pytest.fail("it trains"))
    world, out = shutil.copytree(emoji_world, tmp_path / "w"), tmp_path / "judge.safetensors"
    if fault == "validation":
        shutil.rmtree(world / "videos-val")
    else:
        out.mkdir()
    with pytest.raises(UsageError, match=r"no shard .*videos-val|judge\.safetensors: is no file; name one"):
        cli.run(["weights", "train", "emoji_judge", f"--data={world}", f"--out={out}"])


def test_another_network_in_its_place_is_refused(tmp_path, monkeypatch):
    from lightning_mav.diffusion import GaussianDiffusion

    monkeypatch.chdir(tmp_path)
    save_weights(GaussianDiffusion(), tmp_path / "outputs" / "emoji" / "weights" / "judge.safetensors")
    with pytest.raises(UsageError, match=r"judge\.safetensors: holds a GaussianDiffusion"):
        load_judge()
