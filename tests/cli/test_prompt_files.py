"""``prompts.json`` and ``prompts.safetensors`` go together, and ``mav weights prompts`` mends them."""

import json
import resource

import pytest
import torch

from helpers.shards import png, write_shard
from helpers.tiny_cascade import D, save_tiny_cascade
from lightning_mav.cascade import Cascade
from lightning_mav.cli.weights import main as weights
from lightning_mav.clip import Clip
from lightning_mav.diffusion import GaussianDiffusion
from lightning_mav.prompts import KnownPrompts, NamePictures, read_known, write_known
from lightning_mav.utils.errors import UsageError
from lightning_mav.weights import places, save_weights

NAMES = ["ball", "red ring", "a blue star: dark"]


@pytest.fixture
def folder(tmp_path):
    """Weights, and beside them three names and captioned pictures of them."""
    write_shard(tmp_path / "0.tar", [{"txt": name, "png": png(80 * i)} for i, name in enumerate(NAMES)])
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    return save_tiny_cascade(tmp_path / "weights")


def write_both(folder):
    files = ["--names", str(folder.parent / "names.txt"), "--images", str(folder.parent / "0.tar")]
    weights(["prompts", str(folder), *files])


@pytest.mark.parametrize(("limit", "file"), [(16, "prompts.json"), (8192, "prompts.safetensors")])
def test_without_room_both_old_files_stay(tmp_path, limit, file):
    (tmp_path / "clip.safetensors").touch()
    old = KnownPrompts(names=NAMES)
    old.embeds = torch.eye(3, 9000)
    write_known(old, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    new = KnownPrompts(names=["cat", "dog", "eel"])
    new.embeds = torch.eye(3, 9000).flip(0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))  # a file cannot grow beyond it
        with pytest.raises(UsageError, match=rf"/{file}: cannot be written .*; make room"):
            write_known(new, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def relist(folder, change):
    path = folder / "prompts.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"names": change(content["names"])}))


def replace(folder, module, name="prompts"):
    save_weights(module, folder / f"{name}.safetensors")


def dangling(folder):
    (folder / "prompts.safetensors").unlink()
    (folder / "prompts.safetensors").symlink_to("nowhere")


def other_clip(folder):
    vision = {"patch_size": 4, "width": 16, "head_width": 8, "layers": 1}
    text = {"context_length": 77, "width": 16, "heads": 2, "layers": 1}
    replace(folder, Clip(D, image_size=8, vision=vision, text=text), "clip")


DAMAGES = {
    "cut": lambda folder: (folder / "prompts.safetensors").write_bytes(b"gone"),
    "gone": lambda folder: (folder / "prompts.safetensors").unlink(),
    "dangling": dangling,
    "another module": lambda folder: replace(folder, GaussianDiffusion()),
    "of another size": lambda folder: replace(folder, NamePictures(len(NAMES), D + 1)),
    "of other pictures": lambda folder: replace(folder, NamePictures(len(NAMES) - 1, D)),
    "a name less": lambda folder: relist(folder, lambda names: names[1:]),
    "other order": lambda folder: relist(folder, lambda names: names[::-1]),
    "names gone": lambda folder: (folder / "prompts.json").unlink(),
    "other CLIP": other_clip,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_does_not_go_together_is_refused_and_the_named_command_mends_it(folder, damage):
    write_both(folder)
    DAMAGES[damage](folder)
    with pytest.raises(UsageError) as error:
        Cascade.from_pretrained(folder, "cpu", until="decoder", text_only=True)
    (line,) = str(error.value).splitlines()
    assert "prompts.safetensors" in line
    assert "mav weights prompts FOLDER --names FILE --images SHARDS" in line
    write_both(folder)
    cascade = Cascade.from_pretrained(folder, "cpu", until="decoder", text_only=True)
    assert cascade.known.embeds.shape == (len(NAMES), D)
    assert cascade.nearest_names(NAMES)


def test_pictures_of_earlier_versions_are_read(folder):
    write_both(folder)
    replace(folder, NamePictures(len(NAMES), D))  # says neither of which names nor of which CLIP it is
    assert read_known(folder, D).embeds.shape == (len(NAMES), D)
    shipped = read_known(places.SHIPPED / "emoji", 128)
    assert len(shipped.embeds) == len(shipped.names) > 3000


def test_new_names_remove_the_old_pictures_for_good(folder):
    write_both(folder)
    (folder.parent / "names.txt").write_text("cat")
    weights(["prompts", str(folder), "--names", str(folder.parent / "names.txt")])
    assert read_known(folder) == KnownPrompts(names=["cat"])
    assert "prompts.safetensors" not in (folder / "SHA256SUMS").read_text()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ("", "urls is empty: name a folder of shards"),
        ("pipe:cat 0.tar", "no command is run to get shards"),
        ("captionless.tar", "no caption"),
        ("pictureless.tar", "member missing: none ends in png, jpg, jpeg, webp"),
    ],
)
def test_unusable_images_are_refused_and_change_nothing(folder, images, message, monkeypatch):
    monkeypatch.chdir(folder.parent)
    write_both(folder)
    write_shard(folder.parent / "captionless.tar", [{"png": png(0)}] * 3)
    write_shard(folder.parent / "pictureless.tar", [{"txt": name} for name in NAMES])
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UsageError, match=message) as error:
        weights(["prompts", str(folder), "--names", "names.txt", "--images", images])
    assert len(str(error.value).splitlines()) == 1
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
