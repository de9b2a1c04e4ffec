"""The text half of CLIP learns from phrases, with the image half as it was."""

import gzip
import json
import math

import pytest
import torch
import torch.nn.functional as F
import yaml

from helpers.runs import MODEL
from lightning_mav.cli import main
from lightning_mav.datamodules import PhraseImages, PhraseShards
from lightning_mav.datamodules.phrases import Phrases
from lightning_mav.training.runs import all_runs, find_run
from lightning_mav.utils.errors import UsageError
from lightning_mav.weights import load_weights, read_training

NUM = 24
WORDS = [f"word{'abcdefghijklmnopqrstuvwx'[number]}" for number in range(NUM)]


def write_phrases(path, entries):
    lines = [json.dumps(dict(zip(("text", "images", "shares"), entry, strict=True))) for entry in entries]
    path.write_bytes(gzip.compress("\n".join(lines).encode()))


@pytest.fixture(scope="module")
def scale(micro_world, tmp_path_factory):
    """A scale that extends the micro one and adds a text phase."""
    root = tmp_path_factory.mktemp("scales")
    folder = root / "tiny"
    folder.mkdir()
    (root / "tiny.yaml").write_text("extends: micro\n")
    one_each = [(word, [number], [1.0]) for number, word in enumerate(WORDS)]
    write_phrases(root / "phrases.gz", [*one_each, ("any", [0, 1], [0.5, 0.5])])
    urls = {"urls": str(micro_world / "images"), "cache_dir": str(root / "cache"), "batch_size": 25}
    text = {
        "model": {
            "init_args": {
                "clip": {"init_args": {"text": {"width": 32, "heads": 2, "layers": 1}}},
                "init_from": "tiny/clip_image",
                "lr": 1e-2,
                "warmup_steps": 1,
            }
        },
        "data": {"init_args": {**urls, "phrases": str(root / "phrases.gz"), "image_size": 16}},
        "ema": {"decay": 0.5},
    }
    (folder / "clip_text.yaml").write_text(yaml.safe_dump(text))
    return folder


@pytest.fixture(scope="module")
def trained(scale, micro_world, tmp_path_factory):
    """Weights after both phases."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("runs"))
        images = [f"--data.root={micro_world}", "--data.num_images=24", "--data.num_val_images=8"]
        images += ["--data.source_size=48", "--data.batch_size=8"]
        steps = ["--trainer.accelerator=cpu", "--trainer.val_check_interval=1000"]
        start = ["train", "clip", "--scale", str(scale)]
        model = [line for line in MODEL["clip"] if ".text=" not in line]
        main([*start, *MODEL["clip"], *images, *steps, "--trainer.max_steps=20"])
        main([*start, "--phase", "text", *model, *steps, "--trainer.max_steps=60"])
        main([*start, "--phase", "text", *model, *steps, "--trainer.max_steps=120"])
        weights = [*(scale.parent.parent.glob("runs*/outputs/tiny/weights/*.safetensors"))]
    return {path.stem: path for path in weights}


def test_the_image_half_is_the_same_bit_for_bit(trained):
    before, after = (load_weights(trained[name]) for name in ("clip_image", "clip"))
    image = torch.rand(4, 3, 16, 16) * 2 - 1
    assert torch.equal(before.encode_image(image), after.encode_image(image))
    assert after.text_width == 32 != before.text_width


def test_phrases_find_the_images_that_they_mean(trained, scale, micro_world):
    assert read_training(trained["clip"]) == {"run": "clip", "step": 120}
    clip = load_weights(trained["clip"])
    data = PhraseShards(str(micro_world / "images"), phrases=str(scale.parent / "phrases.gz"), image_size=16)
    image_embed = F.normalize(clip.encode_image(data.images()), dim=-1)
    text_embed = F.normalize(clip.encode_text(clip.tokenize([*WORDS, "any"]))[0], dim=-1)
    found = (text_embed @ image_embed.T).argsort(dim=1, descending=True)
    right = (found[:NUM, 0] == torch.arange(NUM)).float().mean()
    assert right > 0.5  # chance is 1 in 24; this image half has learnt for 20 steps
    assert {0, 1} <= set(found[NUM, :6].tolist())


def test_only_scales_with_a_layer_for_it_have_the_phase(scale):
    assert [run.name for run in all_runs(str(scale))][:3] == ["clip_image", "clip", "prior"]
    assert [run.name for run in all_runs("micro")][:2] == ["clip", "prior"]
    assert find_run("clip", None, str(scale)).name == "clip_image"
    with pytest.raises(UsageError, match="no PHASE 'text' of stage clip; it has image"):
        find_run("clip", "text", "micro")


def test_targets_are_those_of_the_file(scale, micro_world):
    data = PhraseShards(str(micro_world / "images"), phrases=str(scale.parent / "phrases.gz"), image_size=16)
    batch = next(iter(data.train_dataloader()))
    assert batch["target"].shape == (512, NUM)
    torch.testing.assert_close(batch["target"].sum(dim=1), torch.ones(512))
    for text, target in zip(batch["text"], batch["target"], strict=True):
        assert target.nonzero().flatten().tolist() == ([0, 1] if text == "any" else [WORDS.index(text)])


def test_images_are_those_of_captions_or_of_what_a_phrase_means_most(micro_world, tmp_path):
    write_phrases(tmp_path / "phrases.gz", [("one", [3], [1.0]), ("some", [5, 9, 2], [0.5, 0.3, 0.2])])
    options = {"phrases": str(tmp_path / "phrases.gz"), "image_size": 16, "batch_size": 4000}
    data = PhraseImages(str(micro_world / "images"), captions_per_phrase=3, **options)
    images, batch = data.images(), next(iter(data.train_dataloader()))
    assert batch["image"].shape == (4000, 3, 16, 16)
    which = (batch["image"][:, None] == images).flatten(2).all(dim=2)
    assert (which.sum(dim=1) == 1).all()  # the images differ
    is_phrase = torch.tensor([text in ("one", "some") for text in batch["text"]])
    assert is_phrase.sum() == 1000  # one of four in every round
    captions = data.store.texts
    for text, row in zip(batch["text"], which, strict=True):
        assert text in ("one", "some") or captions[int(row.nonzero())] == text
    assert (which[~is_phrase].float().mean(dim=0) - 1 / NUM).abs().max() < 0.01  # each as often
    drawn = {text: which[[t == text for t in batch["text"]]].float().mean(dim=0) for text in ("one", "some")}
    assert drawn["one"][3] == 1
    assert drawn["some"][5] == pytest.approx(5 / 8, abs=0.07)  # 500 draws: three deviations
    assert drawn["some"][9] == pytest.approx(3 / 8, abs=0.07)


@pytest.mark.parametrize("kind", [PhraseImages, PhraseShards])
@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([("a", [NUM], [1.0])], f"outside 0 to {NUM - 1}"),
        ([("a", [-1], [1.0])], f"outside 0 to {NUM - 1}"),
        ([("a", [1, 2], [1.0])], "not one share"),
        ([("a", [0, 1], [1.0]), ("b", [2], [0.5, 0.5])], "line 1: not one share"),
        ([("a", [0], [1.0]), ("b", [], [])], "line 2: .*no image"),
        ([("a", [1, 1], [0.5, 0.5])], "one twice"),
        ([("a", [1.7], [1.0])], f"an image outside 0 to {NUM - 1}"),
        ([("a", [2**70], [1.0])], f"outside 0 to {NUM - 1}; {NUM} images are read"),
        ([("a", ["1"], [1.0])], "an image outside"),
        *(([("a", [1], [share])], "a share that is not") for share in (0, -1.0, math.nan, 1e300, 1e-60, "1")),
        *(([(text, [1], [1.0])], "text is blank") for text in (None, " ", 3, "\ud800")),
        ([("a", 3, [1.0])], "line 1: not text, images and shares"),
        ([], "no phrase"),
    ],
)
def test_a_wrong_file_of_phrases_is_one_line(kind, entries, message, micro_world, tmp_path):
    write_phrases(tmp_path / "bad.gz", entries)
    data = kind(str(micro_world / "images"), phrases=str(tmp_path / "bad.gz"), image_size=16)
    with pytest.raises(UsageError, match=message):
        data.train_dataloader()


def test_a_missing_file_of_phrases_names_the_command(micro_world, tmp_path):
    for path, message in (("nowhere.gz", "there is no nowhere.gz: "), (tmp_path, r"\(Is a directory\)")):
        data = PhraseShards(str(micro_world / "images"), phrases=str(path), image_size=16)
        with pytest.raises(UsageError, match=f"{message}.*mav world emoji --phrases"):
            data.train_dataloader()
    with pytest.raises(ValueError, match="phrases is empty"):
        PhraseShards(str(micro_world / "images"), phrases="", image_size=16)


def test_every_damage_to_a_file_of_phrases_is_one_line(tmp_path):
    write_phrases(tmp_path / "good.gz", [(word, [number], [1.0]) for number, word in enumerate(WORDS)])
    good, bad, said = (tmp_path / "good.gz").read_bytes(), tmp_path / "bad.gz", []
    files = [good[:place] + bytes([good[place] ^ 255]) + good[place + 1 :] for place in range(len(good))]
    files += [good[:place] for place in range(0, len(good), 9)]
    files += [gzip.compress(data) for data in (b"[" * 100_000, b"\xff\n", b"\n", b"5\n", b"{}\n")]
    for data in files:
        bad.write_bytes(data)
        try:
            assert Phrases.read(bad, NUM).texts == WORDS  # a byte of the header that says nothing
        except UsageError as error:
            said.append(str(error))
    assert len(said) > len(files) - 12
    assert all(line.startswith(f"{bad}: is not a usable file of phrases (") for line in said)
    assert not any("\n" in line for line in said)
