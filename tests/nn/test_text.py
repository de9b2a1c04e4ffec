"""The text half alone is what open_clip computes, to the bit."""

import pickle

import open_clip
import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer, default_bpe

from lightning_mav.clip import Clip, _find_vocabulary, text_half
from lightning_mav.nn.bpe import VOCABULARIES
from lightning_mav.nn.text import Tokenizer
from lightning_mav.weights import SHIPPED, load_weights, save_weights

TEXTS = [
    "",
    "a large red ball on a white background",
    "An Astronaut's horse, it'll've ridden -- 1024 times!!",
    "D\u00e9j\u00e0-vu? \u732b \U0001f600 \u0130stanbul \u00ad",
    "l\u00e2\u20ac\u2122horizon &amp;amp; 12,5%\n\t<b>",
    "aaaa aaaaa banana hahahaha",
    "end <end_of_text> <START_of_text> start",
]
VISION = {"width": 16, "layers": 1, "patch_size": 8, "head_width": 8}


@pytest.fixture(
    scope="module", params=[str(VOCABULARIES / "micro.txt.gz"), default_bpe()], ids=["micro", "openai"]
)
def tokenizers(request):
    return Tokenizer(request.param), SimpleTokenizer(request.param)


@pytest.mark.parametrize("text", TEXTS)
def test_tokens_are_those_of_open_clip(tokenizers, text):
    own, theirs = tokenizers
    tokens = own.encode(text)
    assert tokens == theirs.encode(text)
    assert own.decode(tokens) == theirs.decode(tokens)
    assert own.decode(tokens[1::2]) == theirs.decode(tokens[1::2])  # broken characters among them


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text",
    [
        "ab" * 5_000_000,
        " " * 5_000_000 + "ball",
        "word " * 1_000_000,
        "&amp;" * 1_000_000,
        "\ud800" * 1_000_000,
    ],
    ids=["one word", "spaces", "words", "entities", "halves of characters"],
)
def test_a_text_of_megabytes_has_the_tokens_of_its_start(tokenizers, text):
    own, theirs = tokenizers
    start = " ".join(text[:5_100_000].split())[:1000].replace("\ud800", "?")
    assert own.encode(text)[:75] == theirs.encode(start)[:75]
    assert len(own.encode(text)) < 10_000


def test_vocabulary_is_that_of_open_clip(tokenizers):
    own, theirs = tokenizers
    assert own.encoder == theirs.encoder
    assert (own.sot_token_id, own.eot_token_id) == (theirs.sot_token_id, theirs.eot_token_id)


def test_openai_vocabulary_is_found():
    assert str(_find_vocabulary("openai")) == default_bpe()


def test_tokenizer_pickles():  # a CLIP does, as processes that are spawned need
    tokenizer = Tokenizer(VOCABULARIES / "micro.txt.gz")
    assert pickle.loads(pickle.dumps(tokenizer)).encode("a red ball") == tokenizer.encode("a red ball")


@pytest.mark.parametrize("quick_gelu", [False, True])
def test_text_half_embeds_as_the_whole(tmp_path, quick_gelu):
    torch.manual_seed(0)
    text = {"width": 32, "heads": 2, "layers": 2}
    whole = Clip(16, image_size=16, vision=VISION, text=text, quick_gelu=quick_gelu).eval()
    path = save_weights(whole, tmp_path / "clip.safetensors")
    compare(load_weights(path), load_weights(path, text_half))


def test_shipped_text_half_embeds_as_the_whole():
    path = SHIPPED / "micro" / "clip.safetensors"
    compare(load_weights(path), load_weights(path, text_half))


@torch.inference_mode()
def compare(whole, half):
    assert isinstance(whole.model, open_clip.CLIP)
    assert not isinstance(half.model, open_clip.CLIP)
    assert half.text_width == whole.text_width
    text_tokens = half.tokenize(TEXTS)
    assert text_tokens.equal(whole.tokenize(TEXTS))
    for mine, theirs in zip(half.encode_text(text_tokens), whole.encode_text(text_tokens), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)


def test_text_half_refuses_images_and_can_be_saved(tmp_path):
    path = save_weights(
        load_weights(SHIPPED / "micro" / "clip.safetensors", text_half), tmp_path / "clip.safetensors"
    )
    half = load_weights(path)
    with pytest.raises(ValueError, match="only the text half"):
        half.encode_image(torch.zeros(1, 3, 16, 16))


def test_what_only_open_clip_can_build_stays_whole(tmp_path):
    text = {"width": 32, "heads": 2, "layers": 1, "ls_init_value": 0.1}
    path = save_weights(
        Clip(16, image_size=16, vision=VISION, text=text).eval(), tmp_path / "clip.safetensors"
    )
    assert isinstance(load_weights(path, text_half).model, open_clip.CLIP)
