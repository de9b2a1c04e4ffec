"""Stages with a CLIP from elsewhere: it is left alone and must fit; the prior takes its whitening."""

import pytest
import torch

from helpers.runs import arguments
from lightning_mav.clip import Clip, Whitening
from lightning_mav.clip.whitening import probe_of
from lightning_mav.training import train as training
from lightning_mav.training.runs import all_runs, find_run
from lightning_mav.training.train import train
from lightning_mav.utils.errors import UsageError
from lightning_mav.weights import load_weights, read_training, save_weights

VISION = {"layers": 1, "width": 16, "head_width": 8, "patch_size": 8}
TEXT = {"layers": 1, "width": 16, "heads": 2}


def make_clip(seed=0, embed_dim=16, **text):
    torch.manual_seed(seed)
    return Clip(embed_dim, image_size=16, vision=VISION, text={**TEXT, **text})


@pytest.fixture
def imported(tmp_path, monkeypatch):
    """A CLIP where scale micro looks for its own."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "outputs/micro/weights/clip.safetensors"
    save_weights(make_clip(), path, training={"source": "open_clip"}, dtype="fp32")
    return path


def run(name, steps, world, *more):
    found = {each.name: each for each in all_runs()}[name]
    return train(found, "micro", overrides=[*arguments(name, steps, world), *more])


def test_it_is_left_alone(imported, micro_world, capsys):
    before = imported.read_bytes()
    run("clip", 2, micro_world)
    assert "clip.safetensors records no step, so it was not trained here" in capsys.readouterr().out
    assert imported.read_bytes() == before
    assert not (imported.parents[1] / "clip").exists()


@pytest.fixture
def with_text_phase(imported):
    """A CLIP where scale emoji, which also trains the text half alone, looks for its own."""
    path = imported.parents[2] / "emoji/weights/clip.safetensors"
    path.parent.mkdir(parents=True)
    return imported.rename(path)


def test_what_it_would_be_trained_from_is_not_trained(with_text_phase, capsys):
    for phase, words in {"image": "clip_image is not needed", "text": "clip is finished"}.items():
        train(find_run("clip", phase, "emoji"), "emoji")
        assert words in capsys.readouterr().out
    assert [path.name for path in with_text_phase.parent.glob("*.safetensors")] == ["clip.safetensors"]


@pytest.mark.slow
def test_training_all_leaves_it_alone(with_text_phase, capfd, monkeypatch):
    before = with_text_phase.read_bytes()
    monkeypatch.setattr(training, "all_runs", lambda scale: [r for r in all_runs(scale) if r.stage == "clip"])
    training.train_all("emoji", [])
    printed = capfd.readouterr().out
    assert "clip_image is not needed" in printed
    assert "clip is finished" in printed
    assert with_text_phase.read_bytes() == before
    assert [each.name for each in with_text_phase.parents[1].iterdir()] == ["weights"]


def test_runs_after_a_run():
    assert find_run("decoder", "image").names_after == ["decoder"]
    assert find_run("decoder", "video").names_after == []
    assert find_run("clip", "image", "emoji").names_after == ["clip"]
    assert find_run("clip", "image", "micro").names_after == []


@pytest.mark.parametrize(
    ("stage", "change", "words"),
    [
        ("prior", {"embed_dim": 24}, "embed_dim of .* is 24, but the network of this stage is made for 16"),
        ("prior", {"width": 32}, "text_width of .* is 32, but"),
        ("prior", {"context_length": 40}, "context_length of .* is 40, but"),
        ("decoder_image", {"embed_dim": 24}, "embed_dim of .* is 24, but"),
        ("interpolation", {"embed_dim": 24}, "embed_dim of .* is 24, but"),
    ],
)
def test_another_width_is_one_line_before_training(imported, micro_world, capsys, stage, change, words):
    save_weights(make_clip(**change), imported, dtype="fp32")
    more = ["--model.init_from=null"] if stage == "interpolation" else []
    with pytest.raises(UsageError, match=words) as found:
        run(stage, 1, micro_world, *more)
    assert "\n" not in str(found.value)
    assert not (imported.parent / f"{stage}.safetensors").exists()


def test_what_is_no_clip_is_refused(imported, micro_world):
    save_weights(Whitening(16), imported)
    with pytest.raises(UsageError, match="holds a Whitening, no CLIP"):
        run("prior", 1, micro_world)


def write_whitening(folder, clip):
    found = Whitening(16)
    found.mean.uniform_(1, 2)
    found.std.uniform_(3, 4)
    with torch.no_grad():
        found.probe.copy_(probe_of(clip.eval()))
    save_weights(found, folder / "whitening.safetensors", dtype="fp32")
    return found


def test_the_prior_takes_the_constants_of_a_file(imported, micro_world):
    given = write_whitening(imported.parent, make_clip())
    run("prior", 1, micro_world, "--model.whitening=micro/whitening")
    weights = run("prior", 2, micro_world, "--model.whitening=micro/whitening")  # resumed
    net = load_weights(weights).net
    assert read_training(weights)["step"] == 2
    torch.testing.assert_close(net.clip_mean[0], given.mean, rtol=1e-3, atol=0)  # micro stores fp16
    torch.testing.assert_close(net.clip_std[0], given.std, rtol=1e-3, atol=0)


def test_without_a_file_they_are_measured(imported, micro_world):
    net = load_weights(run("prior", 1, micro_world)).net
    assert not net.clip_std.eq(1).all()
    assert net.clip_mean.abs().max() > 0


def test_constants_of_another_clip_are_refused(imported, micro_world):
    write_whitening(imported.parent, make_clip(seed=1))
    with pytest.raises(
        UsageError, match=r"was measured with another CLIP: make it with `mav weights whiten`"
    ):
        run("prior", 1, micro_world, "--model.whitening=micro/whitening")
    with pytest.raises(UsageError, match=r"clip.safetensors is none"):
        run("prior", 1, micro_world, "--model.whitening=micro/clip")
    with pytest.raises(UsageError, match=r"no weights at outputs/micro/weights/x.safetensors"):
        run("prior", 1, micro_world, "--model.whitening=micro/x")
