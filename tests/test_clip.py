"""CLIP: any text tokenises, encoders agree with open_clip's, files of real models load."""

import copy
import gzip
import json
import warnings

import open_clip
import pytest
import torch
import torch.nn.functional as F
from lightning import Trainer
from safetensors.torch import save_file
from torch.utils.data import DataLoader, IterableDataset

from lightning_mav.clip import Clip
from lightning_mav.nn.bpe import VOCABULARIES, learn_merges, write_merges
from lightning_mav.stages import ClipStage
from lightning_mav.stages.clip import contrastive_loss
from lightning_mav.utils.configured import from_config
from lightning_mav.worlds.micro.vocabulary import texts

VISION = {"width": 32, "layers": 1, "patch_size": 4, "head_width": 16}
TEXT = {"width": 32, "heads": 2, "layers": 2, "context_length": 77}


@pytest.fixture(scope="module")
def clip():
    torch.manual_seed(0)
    return Clip(16, image_size=16, vision=VISION, text=TEXT).eval()


def test_words_of_the_world_are_single_tokens(clip):
    for text in texts():
        assert len(clip.tokenizer.encode(text)) == len(text.split())


def test_shipped_vocabulary_is_what_its_recipe_gives(tmp_path, clip):
    made = tmp_path / "made.txt.gz"
    write_merges(learn_merges(texts()), made)
    assert open_clip.tokenizer.SimpleTokenizer(str(made)).encoder == clip.tokenizer.encoder
    assert gzip.decompress(made.read_bytes()) == gzip.decompress((VOCABULARIES / "micro.txt.gz").read_bytes())


def test_a_smaller_vocabulary_is_the_start_of_the_whole_one():
    assert learn_merges(texts(), 40) == learn_merges(texts())[:40]
    assert learn_merges(texts(), 0) == []


def test_a_second_vocabulary_is_a_file_in_the_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("lightning_mav.clip.VOCABULARIES", tmp_path)
    write_merges(learn_merges(["a grey square"]), tmp_path / "second.txt.gz")
    clip = Clip(16, image_size=16, vision=None, text=TEXT, bpe="second")
    assert len(clip.tokenizer.encode("grey square")) == 2 < len(clip.tokenizer.encode("red"))


def test_vocabulary_has_no_gaps(clip):
    tokenizer = clip.tokenizer
    assert "" not in tokenizer.encoder
    assert sorted(tokenizer.encoder.values()) == list(range(tokenizer.vocab_size))
    assert tokenizer.eot_token_id == tokenizer.vocab_size - 1


@pytest.mark.parametrize(
    "text", ["", "a red ball", "D\u00e9j\u00e0-vu?", "\u732b \U0001f600", "x\n\ty", "&amp; 12,5%"]
)
def test_any_text_tokenises(clip, text):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (tokens,) = clip.tokenize([text])
    count = len(clip.tokenizer.encode(text))
    assert tokens[0] == clip.tokenizer.sot_token_id
    assert tokens[count + 1] == clip.tokenizer.eot_token_id
    assert not tokens[count + 2 :].any()


def test_text_too_long_is_cut_with_a_warning(clip):
    text = "a large red ball rolls " + "on a white background " * 30
    with pytest.warns(
        UserWarning, match=r'"a large red ball rolls on \.\.\." is longer than 77 .*background'
    ):
        (tokens,) = clip.tokenize([text])
    assert tokens[-1] == clip.tokenizer.eot_token_id
    assert tokens.tolist()[1:-1] == clip.tokenizer.encode(text)[:75]


def test_text_encoder_is_that_of_open_clip(clip):
    text_tokens = clip.tokenize(["a red ball", "", "a small blue star on a dark background"])
    text_embed, text_hidden, text_mask = clip.encode_text(text_tokens)
    torch.testing.assert_close(text_embed, clip.model.encode_text(text_tokens))
    assert text_hidden.shape == (3, 77, 32)
    assert text_mask.sum(dim=1).tolist() == [5, 2, 10]
    assert not text_hidden[~text_mask].any()
    # The embedding is read from the end token.
    end = text_hidden[torch.arange(3), text_mask.sum(dim=1) - 1]
    torch.testing.assert_close(end @ clip.model.text_projection, text_embed)


def test_batch_neighbours_do_not_matter(clip):
    together = clip.encode_text(clip.tokenize(["a red ball", "a blue ring on a white background"]))[0]
    torch.testing.assert_close(together[:1], clip.encode_text(clip.tokenize(["a red ball"]))[0])


def test_images_of_any_size_are_resized(clip):
    image = torch.full((2, 3, 16, 16), 0.3)
    expected = clip.encode_image(image)
    torch.testing.assert_close(clip.encode_image(torch.full((2, 3, 40, 32), 0.3)), expected)
    torch.testing.assert_close(expected, clip.model.encode_image(image))


def test_a_larger_network_input_shows_no_more_than_the_image_size():
    torch.manual_seed(0)
    clip = Clip(
        16, image_size=16, vision={"width": 8, "layers": [1, 1, 1, 1], "image_size": 32}, text=TEXT
    ).eval()
    image = torch.rand(2, 3, 48, 48) * 2 - 1
    small = F.interpolate(image, (16, 16), mode="bicubic", antialias=True).clamp(-1, 1)
    torch.testing.assert_close(clip.encode_image(image), clip.encode_image(small))


def test_embeddings_are_not_normalised_and_similarity_ignores_their_length(clip):
    image_embed = clip.encode_image(torch.rand(4, 3, 16, 16) * 2 - 1)
    assert 0.3 < image_embed.square().mean().sqrt() < 3
    torch.testing.assert_close(clip.similarity(image_embed, 3 * image_embed), torch.ones(4))


def test_config_rebuilds_it(clip):
    twin = from_config(json.loads(json.dumps(clip.config)))
    assert {k: v.shape for k, v in twin.state_dict().items()} == {
        k: v.shape for k, v in clip.state_dict().items()
    }


def test_unknown_vocabulary_and_too_few_embeddings_are_refused():
    with pytest.raises(ValueError, match="got 'mini'"):
        Clip(16, image_size=16, vision=VISION, text=TEXT, bpe="mini")
    with pytest.raises(ValueError, match="got 100"):
        Clip(16, image_size=16, vision=VISION, text={**TEXT, "vocab_size": 100})


@pytest.fixture
def tiny_open_clip(tmp_path):
    """Registers a model as open_clip's own configs do, and saves weights as its checkpoints are."""
    config = {
        "embed_dim": 16,
        "vision_cfg": {**VISION, "image_size": 32, "patch_size": 8},
        "text_cfg": {**TEXT, "vocab_size": 49408, "width": 16, "layers": 1},
        "quick_gelu": True,
    }
    (tmp_path / "tiny-quickgelu.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "tiny-quickgelu.json")
    torch.manual_seed(1)
    return open_clip.create_model("tiny-quickgelu").eval(), tmp_path


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning", "ignore:'torch.load'"
)
@pytest.mark.parametrize("ending", ["pt", "safetensors", "jit.pt"])
def test_real_weights_load_through_open_clip(tiny_open_clip, ending):
    model, folder = tiny_open_clip
    path = folder / f"weights.{ending}"
    if ending == "pt":
        torch.save({"state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}}, path)
    elif ending == "safetensors":
        save_file(model.state_dict(), path)
    else:  # OpenAI's own files are TorchScript archives
        traced, example = (
            copy.deepcopy(model),
            (torch.zeros(1, 3, 32, 32), torch.zeros(1, 77, dtype=torch.long)),
        )
        traced.__dict__["attn_mask"] = traced._buffers.pop("attn_mask")  # a constant there, not a weight
        torch.jit.trace(traced, example, check_trace=False).save(path)
    clip = Clip.from_open_clip("tiny-quickgelu", pretrained=path)

    image = torch.rand(2, 3, 32, 32)
    text_tokens = clip.tokenize(["a dog", "an astronaut riding a horse"])
    torch.testing.assert_close(text_tokens, open_clip.tokenize(["a dog", "an astronaut riding a horse"]))
    torch.testing.assert_close(clip.encode_text(text_tokens)[0], model.encode_text(text_tokens))
    mean, std = (
        torch.tensor(value).view(3, 1, 1)
        for value in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    )
    torch.testing.assert_close(clip.encode_image(2 * image - 1), model.encode_image((image - mean) / std))
    twin = from_config(clip.config)
    twin.load_state_dict(clip.state_dict())
    torch.testing.assert_close(twin.encode_image(image), clip.encode_image(image))


def test_unknown_open_clip_model_is_refused():
    with pytest.raises(ValueError, match="no model 'ViT-Z'"):
        Clip.from_open_clip("ViT-Z")


def test_loss_is_zero_when_only_right_pairs_are_near():
    embed = 10 * torch.eye(4)[[0, 1, 2, 0]]
    same = (embed[:, None] == embed).all(dim=-1)
    assert contrastive_loss(embed, embed, same, torch.tensor(100.0)) < 1e-6
    assert contrastive_loss(embed, embed.roll(1, 0), same, torch.tensor(100.0)) > 10


def test_loss_knows_no_order_no_length_and_no_side():
    torch.manual_seed(0)
    image_embed, text_embed, scale = torch.randn(6, 4), torch.randn(6, 4), torch.tensor(7.0)
    same = torch.eye(6, dtype=torch.bool)
    same[0, 5] = same[5, 0] = True
    expected = contrastive_loss(image_embed, text_embed, same, scale)
    order = torch.randperm(6)
    shuffled = contrastive_loss(image_embed[order], 3 * text_embed[order], same[order][:, order], scale)
    torch.testing.assert_close(shuffled, expected)
    torch.testing.assert_close(contrastive_loss(text_embed, image_embed, same, scale), expected)


def test_loss_without_repeated_texts_is_cross_entropy():
    torch.manual_seed(0)
    image_embed, text_embed, scale = torch.randn(5, 4), torch.randn(5, 4), torch.tensor(3.0)
    logits = scale * F.normalize(image_embed, dim=-1) @ F.normalize(text_embed, dim=-1).T
    expected = (F.cross_entropy(logits, torch.arange(5)) + F.cross_entropy(logits.T, torch.arange(5))) / 2
    loss = contrastive_loss(image_embed, text_embed, torch.eye(5, dtype=torch.bool), scale)
    torch.testing.assert_close(loss, expected)


class Pairs(IterableDataset):
    def __iter__(self):
        yield from [{"image": torch.randn(4, 3, 16, 16), "text": ["a red ball", "a blue ring"] * 2}] * 2


@pytest.mark.filterwarnings("ignore")
def test_stage_trains_and_keeps_the_temperature_in_range():
    stage = ClipStage(Clip(16, image_size=16, vision=VISION, text=TEXT), max_logit_scale=2.0)
    trainer = Trainer(
        max_steps=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    before = {name: parameter.clone() for name, parameter in stage.named_parameters()}
    loader = DataLoader(Pairs(), batch_size=None)
    trainer.fit(stage, loader, loader)
    assert {"train/loss", "val/loss", "val/accuracy"} <= trainer.callback_metrics.keys()
    assert [
        name for name, parameter in stage.named_parameters() if torch.equal(parameter, before[name])
    ] == []
    assert stage.model.model.logit_scale.exp() <= 2.001
    assert sum(len(group["params"]) for group in stage.parameter_groups()) == len(before)


def test_pairs_with_the_same_text_belong_together():
    stage = ClipStage(Clip(16, image_size=16, vision=VISION, text=TEXT))
    texts = ["a red ball", "a blue ring", "A red  ball"]
    same = stage.embed({"image": torch.zeros(3, 3, 16, 16), "text": texts})[2]
    assert same.tolist() == [[True, False, True], [False, True, False], [True, False, True]]
