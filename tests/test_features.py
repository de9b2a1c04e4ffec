"""Feature networks: called as their authors do, resized as the contract says, and missed in one line."""

import hashlib

import numpy as np
import pytest
import torch
from cleanfid.resize import build_resizer
from torch import nn

from lightning_mav.cli import main
from lightning_mav.errors import UsageError
from lightning_mav.features import FEATURES, find_features, load_features
from lightning_mav.features.micro import HEADS
from lightning_mav.features.micro_training import accuracy, train
from lightning_mav.features.resize import Input, prepare
from lightning_mav.features.sensitivity import DAMAGES, draw_videos, measure
from lightning_mav.metrics import frechet_inception_distance


class I3D(nn.Module):
    """Keeps the calling convention of i3d_torchscript.pt: it tells what it was given by its features."""

    def forward(
        self, x: torch.Tensor, rescale: bool = True, resize: bool = True, return_features: bool = False
    ) -> torch.Tensor:
        """Returns 400 logits if it is called as FVD calls it."""
        assert not rescale
        assert not resize
        assert return_features
        assert x.shape[1:2] == (3,)
        assert x.shape[3:] == (224, 224)
        values = torch.stack([x.amin(dim=(1, 2, 3, 4)), x.amax(dim=(1, 2, 3, 4))], dim=1)
        return torch.nn.functional.pad(values, (0, 398))


class C3D(nn.Module):
    """Keeps the convention of the C3D whose softmax is part of it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns 101 probabilities."""
        assert x.shape[2] == 16
        return torch.nn.functional.pad(x.mean(dim=(2, 3, 4)), (0, 98)).softmax(dim=1)


class Layers(nn.Module):
    """The layers of Inception up to its pooled features."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns 2048 features."""
        assert x.shape[1:] == (3, 299, 299)
        return torch.nn.functional.pad(x.mean(dim=(2, 3)), (0, 2045))


class Inception(nn.Module):
    """Keeps the convention of inception-2015-12-05.pt, whose ``layers`` want (x - 128) / 128."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = Layers()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns features of images in [0, 255]."""
        return self.layers((x - 128) / 128)


NETWORKS = {"i3d": I3D(), "c3d": C3D(), "inception": Inception()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    for name, network in NETWORKS.items():
        torch.jit.script(network).save(folder / FEATURES[name].file)
    return folder


@pytest.fixture
def unpinned(monkeypatch):
    """Files that a test made have other checksums than the real ones."""
    for name in NETWORKS:
        spec = FEATURES[name]
        monkeypatch.setitem(FEATURES, name, type(spec)(**vars(spec) | {"sha256": None}))


@pytest.mark.usefixtures("unpinned")
def test_networks_are_called_as_their_authors_do(folder):
    video = torch.full((2, 3, 16, 30, 40), -1.0)
    video[1] = 1.0
    i3d = load_features("i3d", folder)
    torch.testing.assert_close(i3d(video)[:, :2], torch.tensor([[-1.0, -1.0], [1.0, 1.0]]))
    assert load_features("c3d", folder)(video).exp().sum(dim=1).tolist() == pytest.approx([1, 1])
    inception = load_features("inception", folder)
    expected = [[-1.0], [(255 - 128) / 128]]
    assert inception(video[:, :, :1])[:, :1].tolist() == pytest.approx(np.array(expected))
    assert (
        i3d.settings()["sha256"] == hashlib.sha256((folder / "i3d_torchscript.pt").read_bytes()).hexdigest()
    )
    assert {"size", "filter", "antialias", "crop", "low", "high", "quantise"} <= i3d.settings().keys()


@pytest.mark.usefixtures("unpinned")
def test_fid_is_torchmetrics_on_our_network(folder):
    metric = frechet_inception_distance(load_features("inception", folder))
    image = torch.rand(4, 3, 1, 8, 8) * 2 - 1
    metric.update(image, real=True)
    metric.update(image, real=False)
    assert float(metric.compute()) == pytest.approx(0, abs=1e-4)


@pytest.mark.usefixtures("unpinned")
@pytest.mark.parametrize(("name", "num_frames"), [("i3d", 8), ("c3d", 15), ("inception", 2)])
def test_wrong_lengths_are_refused(folder, name, num_frames):
    with pytest.raises(ValueError, match=f"{name} takes videos"):
        load_features(name, folder)(torch.zeros(1, 3, num_frames, 8, 8))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_missing_file_says_what_to_fetch_and_where_to_put_it(name, tmp_path, capsys, monkeypatch):
    spec = FEATURES[name]
    monkeypatch.setenv("MAV_FEATURES", str(tmp_path))
    with pytest.raises(UsageError) as error:
        load_features(name)
    for part in (name, spec.file, spec.source, str(tmp_path)):
        assert part in str(error.value)
    assert "\n" not in str(error.value)
    main(["weights", "path", name])
    assert capsys.readouterr().out.strip() == str(find_features(name)) == str(tmp_path / spec.file)


def test_another_file_of_the_same_name_is_refused(folder, tmp_path, capsys):
    with pytest.raises(UsageError, match="has the sha256"):
        load_features("i3d", folder)  # what the test made is not the real one
    with pytest.raises(SystemExit) as caught:
        main(["weights", "check", "--folder", str(folder)])
    assert caught.value.code == 2
    printed = capsys.readouterr()
    assert str(folder / "i3d_torchscript.pt") in printed.err
    (tmp_path / "c3d_ucf101.pt").write_bytes(b"no archive")
    with pytest.raises(UsageError, match="no TorchScript"):
        load_features("c3d", tmp_path)


def test_shipped_weights_are_whole(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(["weights", "check"])
    assert "have their checksums" in capsys.readouterr().out
    main(["weights", "list"])
    listed = capsys.readouterr().out
    assert all(name in listed for name in (*FEATURES, "micro/decoder"))
    assert listed.count("missing") == len(NETWORKS)
    with pytest.raises(SystemExit):
        main(["weights", "path", "i4d"])


@pytest.mark.parametrize("size", [(64, 64), (240, 320), (17, 33), (299, 299)])
def test_resizing_is_clean_fids(size):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    expected = build_resizer("clean")(pixels)
    video = torch.from_numpy(pixels).permute(2, 0, 1)[None, :, None] / 127.5 - 1
    ours = prepare(video, FEATURES["inception"].input)[0, :, 0].permute(1, 2, 0)
    np.testing.assert_allclose(ours.numpy(), expected, atol=1e-4)


def test_contract_is_kept():
    video = torch.rand(2, 3, 4, 10, 20) * 2 - 1
    contract = Input(5, "bilinear", antialias=True, crop="square", quantise=True, low=-1, high=1)
    out = prepare(video, contract)
    assert out.shape == (2, 3, 4, 5, 5)
    assert out.min() >= -1
    assert out.max() <= 1
    # The middle square alone counts, and what a file could not hold does not.
    changed = video.clone()
    changed[..., :5], changed[..., 15:] = 0, 0
    assert prepare(changed, contract).equal(out)
    assert prepare(((video + 1) * 127.5).round() / 127.5 - 1, contract).allclose(out, atol=1e-6)
    with pytest.raises(ValueError, match="a size needs a filter"):
        Input(5, None, antialias=False, crop="none", quantise=False, low=0, high=1)


def test_fvd_rises_with_every_damage():
    distances = measure(load_features("micro_video"), 192)
    (floor,) = distances.pop("none")
    assert distances.keys() == DAMAGES.keys()
    for name, values in distances.items():
        steps = [floor, *values]
        assert steps == sorted(steps), name
        assert values[-1] > 3 * floor, name


def test_damages_keep_what_they_do_not_touch():
    video, generator = draw_videos(4, 0), torch.Generator().manual_seed(0)
    for name, damage in DAMAGES.items():
        damaged = damage(video, 0.5, generator)
        assert damaged.shape == video.shape
        assert not damaged.equal(video), name
    same = DAMAGES["shuffle"](video, 1.0, generator)
    for a, b in zip(same, video, strict=True):  # the same frames, in another order
        assert sorted(map(float, a.sum(dim=(0, 2, 3)))) == pytest.approx(
            sorted(map(float, b.sum(dim=(0, 2, 3))))
        )
    frozen = DAMAGES["freeze"](video, 1.0, generator)
    assert frozen.equal(video[:, :, :1].expand_as(video))


def test_training_repeats_itself_and_learns():
    networks = [train(seed, num_steps=3) for seed in (0, 0, 1)]
    states = [network.state_dict() for network in networks]
    assert all(states[0][name].equal(states[1][name]) for name in states[0])
    assert not all(states[0][name].equal(states[2][name]) for name in states[0])
    shipped = load_features("micro_video").network
    right = accuracy(shipped, 128, mixed=False)
    assert {*HEADS} < right.keys()
    assert min(right["shape"], right["colour"], right["motion"]) > 0.9
    assert accuracy(networks[0], 64, mixed=False)["thing"] < 0.2
