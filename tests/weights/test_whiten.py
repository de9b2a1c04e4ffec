"""The prior's whitening: exact for any batches, order and number of processes; bound to its CLIP."""

import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.shards import png, write_shard
from lightning_mav.cli import main
from lightning_mav.clip import Clip, Whitening
from lightning_mav.clip.whitening import LEAST_STD, Moments
from lightning_mav.data.codecs.decode import decode_image
from lightning_mav.data.codecs.pixels import from_uint8
from lightning_mav.weights import load_weights, read_training, save_weights

VISION = {"width": 16, "layers": 1, "patch_size": 4, "head_width": 8}
TEXT = {"width": 16, "heads": 2, "layers": 1, "context_length": 77}


def make_clip(seed=0, embed_dim=8):
    torch.manual_seed(seed)
    return Clip(embed_dim, image_size=8, vision=VISION, text=TEXT).eval()


def picture(number):
    data = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (12, 20, 3), np.uint8)
    Image.fromarray(pixels // (1 + number % 5)).save(data, "PNG")
    return data.getvalue()


PICTURES = [picture(number) for number in range(61)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whitening")
    save_weights(make_clip(), folder / "clip.safetensors", dtype="fp32")
    (folder / "images").mkdir()
    for name, part in {"0": PICTURES[:40], "1": PICTURES[40:]}.items():
        samples = [{"png": data, "txt": "a picture"} for data in part]
        write_shard(folder / "images" / f"0000{name}.tar", samples)
    return folder


@pytest.fixture(scope="module")
def embeds(folder):
    image = torch.stack([decode_image(data, "png", 8) for data in PICTURES])
    with torch.no_grad():
        return load_weights(folder / "clip.safetensors").encode_image(from_uint8(image)).double().numpy()


def run(folder, out, *arguments, shards=None, least=2):
    given = ["--clip", str(folder / "clip.safetensors"), "--out", str(out), "--min-images", str(least)]
    main(["weights", "whiten", str(shards or folder / "images"), *given, *arguments])


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_it_is_the_mean_and_deviation_of_all_embeddings(folder, embeds, tmp_path, batch_size, workers):
    run(folder, tmp_path / "w.safetensors", f"--batch-size={batch_size}", f"--workers={workers}")
    found = load_weights(tmp_path / "w.safetensors")
    np.testing.assert_allclose(found.mean, embeds.mean(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.std, embeds.std(axis=0, ddof=1), rtol=1e-5)
    assert read_training(tmp_path / "w.safetensors")["images"] == 61
    whitened = (torch.from_numpy(embeds) - found.mean) / found.std
    torch.testing.assert_close(whitened.mean(dim=0), torch.zeros(8).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(whitened.std(dim=0), torch.ones(8).double(), atol=1e-5, rtol=0)


def test_order_of_shards_does_not_matter(folder, tmp_path):
    (tmp_path / "swapped").mkdir()
    for old, new in {"00000": "00001", "00001": "00000"}.items():
        (tmp_path / "swapped" / f"{new}.tar").write_bytes((folder / "images" / f"{old}.tar").read_bytes())
    run(folder, tmp_path / "a.safetensors")
    run(folder, tmp_path / "b.safetensors", shards=tmp_path / "swapped")
    one, other = (load_weights(tmp_path / f"{name}.safetensors") for name in "ab")
    torch.testing.assert_close(one.mean, other.mean)
    torch.testing.assert_close(one.std, other.std)


def test_a_mean_far_from_zero_loses_no_digits():
    x = 1e7 + torch.randn(1000, 4, dtype=torch.float64)
    moments = Moments(4)
    for part in x.split(7):
        moments.update(part)
    std = (moments.squares / (moments.count - 1)).sqrt()
    torch.testing.assert_close(std, x.std(dim=0), rtol=1e-7, atol=0)


def test_a_dimension_that_never_changes_is_not_blown_up():
    moments = Moments(8)
    moments.update(torch.ones(5, 8))
    assert moments.whitening(make_clip()).std.eq(torch.tensor(LEAST_STD)).all()


def test_broken_images_are_skipped_with_a_warning(folder, embeds, tmp_path, capsys):
    samples = [{"png": data} for data in PICTURES] * 4
    samples.insert(5, {"png": PICTURES[0][:100]})
    write_shard(tmp_path / "00000.tar", samples)
    run(folder, tmp_path / "w.safetensors", shards=tmp_path / "00000.tar")
    assert re.search(r"mav: warning: skipped .*00005", capsys.readouterr().err)
    assert read_training(tmp_path / "w.safetensors")["images"] == 244
    np.testing.assert_allclose(
        load_weights(tmp_path / "w.safetensors").mean, embeds.mean(axis=0), rtol=1e-5, atol=1e-6
    )


def test_only_so_many_images_are_read(folder, embeds, tmp_path):
    run(folder, tmp_path / "w.safetensors", "--max-images=20", "--batch-size=8")
    assert read_training(tmp_path / "w.safetensors")["images"] == 20
    found = load_weights(tmp_path / "w.safetensors").mean
    np.testing.assert_allclose(found, embeds[:20].mean(axis=0), rtol=1e-5, atol=1e-6)


def refused(capsys, *arguments, **named):
    capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        run(*arguments, **named)
    return capsys.readouterr().err.splitlines()[-1]


def test_bad_input_is_refused_in_one_line(folder, tmp_path, capsys):
    out = tmp_path / "w.safetensors"
    assert "has 61 usable images, fewer than --min-images 1000" in refused(capsys, folder, out, least=1000)
    assert "is less than --min-images 50" in refused(capsys, folder, out, "--max-images=20", least=50)
    assert "there are no shards" in refused(capsys, folder, out, shards=tmp_path)
    assert "ends in .safetensors" in refused(capsys, folder, tmp_path / "w.pt")
    assert "must be a whole number" in refused(capsys, folder, out, "--batch-size=0")
    write_shard(tmp_path / "00000.tar", [{"png": png(9)[:40]}, *({"png": data} for data in PICTURES)] * 5)
    message = refused(capsys, folder, out, shards=tmp_path / "00000.tar")
    assert "of 310 samples read are broken" in message or "samples read are broken, more than" in message
    assert not out.exists()


def test_a_clip_of_text_alone_or_another_module_is_refused(folder, tmp_path, capsys):
    run(folder, tmp_path / "w.safetensors")
    message = refused(capsys, folder, tmp_path / "x.safetensors", "--clip", str(tmp_path / "w.safetensors"))
    assert "holds a Whitening; put a Clip there" in message


def test_an_interruption_leaves_nothing_behind(folder, tmp_path, monkeypatch, capsys):
    number, encode = iter(range(99)), Clip.encode_image

    def encode_image(self, image):
        if next(number) == 3:
            raise KeyboardInterrupt
        return encode(self, image)

    monkeypatch.setattr(Clip, "encode_image", encode_image)
    with pytest.raises(SystemExit, match="130"):
        run(folder, tmp_path / "out" / "w.safetensors", "--batch-size=8")
    assert [*tmp_path.iterdir()] == []


def test_it_knows_its_clip(folder, tmp_path):
    run(folder, tmp_path / "w.safetensors")
    found = load_weights(tmp_path / "w.safetensors")
    assert isinstance(found, Whitening)
    assert found.belongs_to(make_clip())
    assert found.belongs_to(make_clip().bfloat16().float())  # rounded
    assert not found.belongs_to(make_clip(seed=1))
    assert not found.belongs_to(make_clip(embed_dim=9))
