"""Feature networks: resizing as others do it, files that are asked in their own way, errors that help."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from cleanfid.resize import build_resizer
from torch import Tensor, nn

from lightning_mav import cli
from lightning_mav.data.codecs.pixels import from_uint8
from lightning_mav.evaluation.features import FEATURES, load_features
from lightning_mav.evaluation.features import registry as registry_module
from lightning_mav.evaluation.features.micro import MicroVideoNetwork
from lightning_mav.evaluation.features.micro_training import accuracy, sample_batch, train
from lightning_mav.evaluation.features.resize import InputContract, prepare
from lightning_mav.evaluation.metrics import VideoInceptionScore, frechet_inception_distance, inception_score
from lightning_mav.utils.errors import UsageError
from lightning_mav.weights import sha256


class TinyI3D(nn.Module):
    """What i3d_torchscript.pt takes: the pixels' range and number show in its features."""

    def forward(self, x: Tensor, rescale: bool = True, resize: bool = True, return_features: bool = False):
        assert not rescale
        assert not resize
        assert return_features
        assert x.shape[3] == 224
        return x.mean(dim=(2, 3, 4)).repeat(1, 134)[:, :400]


class TinyC3D(nn.Module):
    """Takes 0 to 255, returns probabilities."""

    def forward(self, x: Tensor):
        return (x.mean(dim=(2, 3, 4)).repeat(1, 34)[:, :101] * torch.arange(101) / 1000).softmax(dim=1)


class Scale(nn.Module):
    def forward(self, x: Tensor):
        assert x.shape[2] == 299
        return x.mean(dim=(2, 3)).repeat(1, 683)[:, :2048, None, None]


class TinyInception(nn.Module):
    """Has the layers that clean-fid asks, around the resizing in ``forward``."""

    def __init__(self):
        super().__init__()
        self.layers = Scale()

    def forward(self, x: Tensor, return_features: bool = False):
        return self.layers(x * 0)


TINY = {"i3d": TinyI3D, "c3d": TinyC3D, "inception": TinyInception}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with tiny files of the same calling conventions, whose checksums the registry knows."""
    for name, network in TINY.items():
        path = tmp_path / "features" / FEATURES[name].file
        path.parent.mkdir(exist_ok=True)
        torch.jit.script(network()).save(str(path))
        spec = dataclasses.replace(FEATURES[name], sha256=None if name == "c3d" else sha256(path))
        monkeypatch.setitem(FEATURES, name, spec)
    monkeypatch.setenv(registry_module.VARIABLE, str(tmp_path / "features"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "features"


@pytest.mark.parametrize("size", [(64, 64), (240, 320), (400, 300), (299, 299), (17, 33)])
def test_resizing_for_inception_is_clean_fids(size):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    expected = torch.from_numpy(build_resizer("clean")(pixels)).movedim(-1, 0)
    video = from_uint8(torch.from_numpy(pixels).movedim(-1, 0))[None, :, None]
    found = prepare(video, FEATURES["inception"].input)[0, :, 0]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_what_needs_no_resizing_is_kept():
    video = from_uint8(torch.randint(0, 256, (2, 3, 4, 32, 32)))
    torch.testing.assert_close(prepare(video, FEATURES["micro_video"].input), video, atol=1e-6, rtol=0)
    torch.testing.assert_close(prepare(video, FEATURES["c3d"].input), (video + 1) * 127.5)


def test_the_middle_square_is_cut_out():
    video = torch.full((1, 3, 2, 20, 60), -1.0)
    video[..., 20:40] = 1
    torch.testing.assert_close(prepare(video, FEATURES["i3d"].input), torch.ones(1, 3, 2, 224, 224))
    assert prepare(video, FEATURES["inception"].input).eq(0).any()


def test_pixels_are_rounded_as_in_a_file():
    video = torch.rand(1, 3, 4, 24, 24) * 2 - 1
    rounded = from_uint8(((video + 1) * 127.5).round())
    for spec in FEATURES.values():
        assert prepare(video, spec.input).equal(prepare(rounded, spec.input)), spec.name


def test_a_size_needs_a_filter():
    with pytest.raises(ValueError, match="a size needs a filter"):
        InputContract(5, None, antialias=False, crop="none", quantise=False, low=0, high=1)


def test_each_file_is_asked_in_its_own_way(folder):
    level = 0.5
    for name, expected in (("i3d", level), ("inception", ((level + 1) * 127.5 - 128) / 128)):
        network = load_features(name)
        assert network.sha256 == sha256(folder / FEATURES[name].file)
        features = network(torch.full((2, 3, 1 if name == "inception" else 16, 8, 8), level))
        assert features.shape == (2, network.num_features)
        assert features.dtype == torch.float32
        torch.testing.assert_close(features, torch.full_like(features, expected), atol=0.01, rtol=0)


def test_probabilities_score_as_they_are(folder):
    network, video = load_features("c3d"), torch.rand(4, 3, 16, 8, 8) * 2 - 1
    video *= torch.arange(4).view(4, 1, 1, 1, 1) / 3
    probabilities = TinyC3D()(prepare(video, FEATURES["c3d"].input))
    torch.testing.assert_close(network(video).exp(), probabilities)
    score = VideoInceptionScore(network)
    score.update(video)
    assert float(score.compute()) == pytest.approx(inception_score(probabilities.log()), rel=1e-6)
    assert network(video[:2]).equal(network(video)[:2])


@pytest.mark.slow
def test_fid_is_torchmetrics_on_our_network(folder):
    metric, image = frechet_inception_distance(load_features("inception")), torch.rand(4, 3, 1, 8, 8) * 2 - 1
    metric.update(image, real=True)
    metric.update(image, real=False)
    assert float(metric.compute()) == pytest.approx(0, abs=1e-4)


def test_wrong_numbers_of_frames_are_refused(folder):
    for name, num in (("c3d", 15), ("c3d", 17), ("inception", 2), ("i3d", 8)):
        with pytest.raises(ValueError, match=f"{name} takes .* frames"):
            load_features(name)(torch.zeros(1, 3, num, 8, 8))


def test_settings_are_plain_values_and_name_the_file(folder):
    for name in FEATURES:
        settings = load_features(name).settings()
        assert json.loads(json.dumps(settings)) == settings
        assert settings["name"] == name
        assert len(settings["sha256"]) == 64
        assert {"source", "size", "filter", "antialias", "crop", "low", "high", "frames", "output"} <= set(
            settings
        )


def test_what_is_wrong_with_a_file_is_said(folder):
    path = folder / FEATURES["i3d"].file
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(UsageError, match=r"i3d: .*has the sha256 .*, not .*fetch it again from https"):
        load_features("i3d")
    path.unlink()
    with pytest.raises(UsageError) as error_info:
        load_features("i3d")
    for word in ("i3d", path.name, FEATURES["i3d"].source, str(folder), "MAV_FEATURES"):
        assert word in str(error_info.value)
    (folder / FEATURES["c3d"].file).write_bytes(b"nothing")
    with pytest.raises(UsageError, match=r"c3d: .* is no TorchScript"):
        load_features("c3d")
    with pytest.raises(UsageError, match=r"no feature network 'i4d'; there are i3d, c3d"):
        load_features("i4d")


def test_another_network_in_the_file_is_noticed(folder):
    torch.jit.script(Other()).save(str(folder / FEATURES["c3d"].file))
    with pytest.raises(ValueError, match=r"c3d_ucf101.pt returned \(2, 3\) for 2 videos, not 101"):
        load_features("c3d")(torch.zeros(2, 3, 16, 8, 8))


class Other(nn.Module):
    def forward(self, x: Tensor):
        return x.mean(dim=(2, 3, 4))


def test_networks_stay_frozen(folder):
    network = load_features("micro_video")
    network.train()
    assert not any(module.training for module in network.modules())
    video = torch.zeros(1, 3, 16, 32, 32, requires_grad=True)
    assert not network(video).requires_grad


def run(capsys, *argv):
    cli.main(["weights", *argv])
    return capsys.readouterr().out


def test_weights_list_path_and_check(folder, capsys):
    (folder / FEATURES["inception"].file).unlink()
    shown = run(capsys, "list")
    lines = {line.split()[1]: line for line in shown.splitlines() if len(line.split()) > 2}
    assert "missing" in lines["inception"]
    assert FEATURES["inception"].source in lines["inception"]
    assert "MB" in lines["i3d"]
    assert "micro/decoder" in lines
    assert run(capsys, "path", "i3d").strip() == str(folder / FEATURES["i3d"].file)
    assert run(capsys, "path", "inception", "--folder", "x").strip() == "x/inception-2015-12-05.pt"
    assert run(capsys, "path", "micro/decoder").strip().endswith("decoder.safetensors")
    checked = run(capsys, "check")
    assert "c3d: no checksum is known" in checked
    assert "files have their checksums" in checked

    path = folder / FEATURES["i3d"].file
    path.write_bytes(b"damaged")
    with pytest.raises(SystemExit) as exit_info:
        cli.main(["weights", "check"])
    assert exit_info.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(path) in error
    with pytest.raises(SystemExit):
        cli.main(["weights", "path", "nothing"])
    assert "feature networks are i3d" in capsys.readouterr().err


def test_training_is_decided_by_the_seed(folder, capsys):
    a, b, c = (train(seed, num_steps=2) for seed in (0, 0, 1))
    states = [network.state_dict() for network in (a, b, c)]
    assert all(states[0][name].equal(states[1][name]) for name in states[0])
    assert not states[0]["features.weight"].equal(states[2]["features.weight"])


@pytest.mark.slow
def test_own_training_takes_the_place_of_what_is_shipped(folder, capsys):
    shipped = load_features("micro_video")
    out = run(capsys, "train", "micro_video", "--steps", "1", "--seed", "3")
    assert "right, true videos" in out
    own = load_features("micro_video")
    assert own.sha256 != shipped.sha256
    assert run(capsys, "path", "micro_video").strip() == "outputs/micro/weights/video_features.safetensors"


def test_shipped_network_is_small_and_sees_what_is_there(folder):
    features = load_features("micro_video")
    network = features.network
    assert isinstance(network, MicroVideoNetwork)
    assert sum(parameter.numel() for parameter in network.parameters()) <= 500_000
    assert registry_module.find_features("micro_video").stat().st_size <= 1_000_000
    for image_size in (16, 64):
        right = accuracy(network, 128, mixed=False, image_size=image_size)
        assert min(right[name] for name in ("shape", "colour", "size", "background", "motion")) > 0.9
    assert accuracy(network, 128, mixed=True)["motion"] > 0.7  # of which a sixth or less is chance
    batch = sample_batch(4, torch.Generator().manual_seed(0), mixed=False, image_size=32)
    logits = load_features("micro_video_logits")(batch.video)
    torch.testing.assert_close(logits, network.classify(features(batch.video))["thing"])
