"""CLIPs of open_clip's: every format gives what open_clip gives, and all else is refused in one line."""

import copy
import json
import pickle
import re

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from lightning_mav.cli import main
from lightning_mav.clip import Clip
from lightning_mav.clip.architectures import clip_arguments, picture_transform, preprocessing, smooth_picture
from lightning_mav.utils.torchscript import read_torchscript
from lightning_mav.weights import load_weights, read_training

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning", "ignore:'torch.load'"
)
VISION = {"width": 32, "layers": 2, "patch_size": 8, "head_width": 16, "image_size": 32}
TEXT = {"width": 16, "heads": 2, "layers": 2, "context_length": 77, "vocab_size": 49408}
CONFIGS = {
    "mini": {"embed_dim": 12, "vision_cfg": VISION, "text_cfg": TEXT},
    "mini-quickgelu": {"embed_dim": 12, "vision_cfg": VISION, "text_cfg": TEXT, "quick_gelu": True},
    "mini-custom": {"embed_dim": 12, "vision_cfg": VISION, "text_cfg": TEXT, "custom_text": True},
    "mini-short": {"embed_dim": 12, "vision_cfg": VISION, "text_cfg": {**TEXT, "context_length": 16}},
    "mini-resnet": {
        "embed_dim": 12,
        "vision_cfg": {"width": 8, "layers": [1, 1, 1, 1], "head_width": 64, "image_size": 64},
        "text_cfg": TEXT,
    },
    "mini-hf": {"embed_dim": 12, "vision_cfg": VISION, "text_cfg": {**TEXT, "hf_tokenizer_name": "a/b"}},
    "mini-pool": {"embed_dim": 12, "vision_cfg": VISION, "text_cfg": {**TEXT, "pool_type": "last"}},
}
TEXTS = ["a dog", "", "an astronaut riding a horse"]


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name, config in CONFIGS.items():
        (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)
    return folder


def make(name):
    """Builds one of open_clip's models, with weights that are not those of a new one."""
    torch.manual_seed(1)
    model = open_clip.create_model(name).eval()
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.add_(0.05 * torch.randn_like(tensor))
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var"):
            tensor.abs_()
    return model


def write(model, path, kind):
    """Writes weights as others do."""
    state = model.state_dict()
    if kind == "safetensors":
        save_file({name: tensor.clone() for name, tensor in state.items()}, path)
    elif kind == "state dict":
        torch.save(state, path)
    elif kind == "half":
        torch.save(
            {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()},
            path,
        )
    elif kind == "training":
        state = {f"module.{name}": tensor for name, tensor in state.items()}
        torch.save({"epoch": 3, "name": "x", "state_dict": state, "optimizer": {"lr": 0.1}}, path)
    else:
        write_archive(model, path)
    return path


def write_archive(model, path, half=False):
    """Writes a TorchScript archive with all that OpenAI's hold."""
    traced = copy.deepcopy(model)
    if hasattr(traced, "attn_mask"):
        traced.__dict__["attn_mask"] = traced._buffers.pop("attn_mask")
    for name, size in {"input_resolution": 32, "context_length": 77, "vocab_size": 49408}.items():
        traced.__dict__.pop(name, None)
        traced.register_buffer(name, torch.tensor(size))
    example = (torch.zeros(1, 3, 32, 32), torch.zeros(1, 77, dtype=torch.long))
    traced = torch.jit.trace(traced, example, check_trace=False)
    (traced.half() if half else traced).save(path)


def run(name, path, out, *arguments):
    main(["weights", "import", "clip", name, str(path), "--out", str(out), *arguments])


def refused(capsys, *arguments):
    with pytest.raises(SystemExit, match="2"):
        run(*arguments)
    (line,) = capsys.readouterr().err.splitlines()
    return line


def assert_same_embeddings(clip, model):
    tokenize = open_clip.tokenizer.SimpleTokenizer(context_length=clip.context_length)
    torch.testing.assert_close(clip.tokenize(TEXTS), tokenize(TEXTS))
    torch.testing.assert_close(clip.encode_text(clip.tokenize(TEXTS))[0], model.encode_text(tokenize(TEXTS)))
    size = clip.image_size
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8))
    image = torch.from_numpy(np.array(picture)).movedim(-1, 0)[None] / 127.5 - 1
    seen = picture_transform(clip)(picture)[None]
    torch.testing.assert_close(clip.encode_image(image), model.encode_image(seen), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["safetensors", "state dict", "half", "training", "archive"])
def test_every_format_gives_what_open_clip_gives(tmp_path, capsys, kind):
    model = make("mini-quickgelu")
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pt")
    run("mini-quickgelu", write(model, path, kind), tmp_path / "clip.safetensors")
    if kind == "half":
        model = model.half().float()
    assert_same_embeddings(load_weights(tmp_path / "clip.safetensors"), model)
    floats = [each for each in load_file(tmp_path / "clip.safetensors").values() if each.is_floating_point()]
    assert {each.dtype for each in floats} == {torch.float32}
    training = read_training(tmp_path / "clip.safetensors")
    assert "step" not in training  # it counts as finished
    assert max(training["differences"][what] for what in ("images", "texts")) <= 1e-5
    printed = capsys.readouterr().out
    assert "images" in printed
    assert "0 left over" in printed


@pytest.mark.parametrize("name", ["mini", "mini-custom", "mini-short", "mini-resnet"])
def test_every_plain_kind_of_model_is_taken(tmp_path, name):
    model = make(name)
    run(name, write(model, tmp_path / "w.pt", "state dict"), tmp_path / "clip.safetensors")
    assert_same_embeddings(load_weights(tmp_path / "clip.safetensors"), model)


def test_the_text_half_is_also_that_of_open_clip(tmp_path):
    from lightning_mav.clip import text_half

    model = make("mini-custom")
    run("mini-custom", write(model, tmp_path / "w.pt", "state dict"), tmp_path / "clip.safetensors")
    half = load_weights(tmp_path / "clip.safetensors", text_half)
    assert not any("visual" in name for name in half.state_dict())
    tokens = half.tokenize(TEXTS)
    torch.testing.assert_close(half.encode_text(tokens)[0], model.encode_text(tokens))


def test_an_archive_is_read_as_torch_reads_it(tmp_path):
    write_archive(make("mini-quickgelu"), tmp_path / "w.pt", half=True)  # as OpenAI's are
    theirs = torch.jit.load(tmp_path / "w.pt").state_dict()
    ours = read_torchscript(tmp_path / "w.pt")
    assert theirs.keys() <= ours.keys()
    assert ours["visual.proj"].dtype == torch.float16
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
    assert {name.rpartition(".")[2] for name in ours.keys() - theirs.keys()} <= {"attn_mask"}


class Code:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def damage(path, kind):
    tensors = torch.load(path)
    if kind == "missing":
        del tensors["visual.proj"]
    elif kind == "left over":
        tensors["visual.extra"] = torch.zeros(1)
    elif kind == "width":
        tensors["visual.proj"] = torch.zeros(32, 11)
    elif kind == "infinite":
        tensors["token_embedding.weight"][40_000, 3] = float("nan")
    elif kind == "foreign":
        tensors = {"a": torch.zeros(1)}
    elif kind == "no tensors":
        tensors = {"a": 1}
    elif kind == "code":
        path.write_bytes(pickle.dumps(Code(str(path.parent / "ran"))))
        return
    elif kind == "empty":
        path.write_bytes(b"")
        return
    elif kind == "truncated":
        path.write_bytes(path.read_bytes()[:100_000])
        return
    torch.save(tensors, path)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", r"is not mini: of its tensors, 1 missing \(first: visual.proj\)"),
        ("left over", r"is not mini: of its tensors, 1 left over \(first: visual.extra\)"),
        ("width", r"1 of another width \(first: visual.proj is \(32, 11\), not \(32, 12\)\)"),
        ("infinite", "token_embedding.weight holds numbers that are not finite"),
        ("foreign", "missing .*, 1 left over"),
        ("no tensors", "holds no tensors by name"),
        ("code", "was refused, and no code in it was run"),
        ("empty", "cannot be read"),
        ("truncated", "cannot be read"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(tmp_path, capsys, kind, words):
    path = write(make("mini"), tmp_path / "w.pt", "state dict")
    damage(path, kind)
    assert re.search(words, refused(capsys, "mini", path, tmp_path / "out" / "clip.safetensors"))
    assert [each.name for each in tmp_path.iterdir()] == ["w.pt"]


def test_code_in_an_archive_is_not_run(tmp_path, capsys):
    from zipfile import ZipFile

    with ZipFile(tmp_path / "w.pt", "w") as archive:
        archive.writestr("w/constants.pkl", b"")
        archive.writestr("w/data.pkl", pickle.dumps(Code(str(tmp_path / "ran")), protocol=2))
    assert "no code in it was run" in refused(capsys, "mini", tmp_path / "w.pt", tmp_path / "c.safetensors")
    assert [each.name for each in tmp_path.iterdir()] == ["w.pt"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ViT-Z", "open_clip has no model 'ViT-Z'"),
        ("mini-hf", "reads text by the tokenizer a/b, which would have to be fetched"),
        ("mini-pool", r"is not a plain CLIP \(pool_type\)"),
        ("coca_ViT-B-32", "is not a plain CLIP"),
        ("ViT-B-16-SigLIP", "reads text by the tokenizer"),
    ],
)
def test_models_of_another_kind_are_refused(tmp_path, capsys, name, words):
    (tmp_path / "w.pt").touch()
    assert re.search(words, refused(capsys, name, tmp_path / "w.pt", tmp_path / "clip.safetensors"))


def test_files_that_are_there_or_are_missing(tmp_path, capsys):
    path, out = write(make("mini"), tmp_path / "w.pt", "state dict"), tmp_path / "clip.safetensors"
    assert "no such file" in refused(capsys, "mini", tmp_path / "x.pt", out)
    assert "ends in .safetensors" in refused(capsys, "mini", path, tmp_path / "clip.pt")
    out.write_text("mine")
    assert "already there" in refused(capsys, "mini", path, out)
    assert out.read_text() == "mine"


def test_openais_archive_needs_their_activation_function(tmp_path, capsys):
    path = write(make("mini"), tmp_path / "w.pt", "archive")
    assert "for mini-quickgelu, not mini" in refused(capsys, "mini", path, tmp_path / "clip.safetensors")


def test_the_certificate_notices_a_permuted_weight(tmp_path, capsys, monkeypatch):
    path, load = write(make("mini"), tmp_path / "w.pt", "state dict"), open_clip.CLIP.load_state_dict
    for name, what in {"visual.proj": "images", "transformer.resblocks.1.mlp.c_fc.bias": "texts"}.items():

        def permuted(self, tensors, *args, name=name, **kwargs):
            if not kwargs:  # ours; open_clip loads with strict=True
                tensors = {**tensors, name: tensors[name].flip(0)}
            return load(self, tensors, *args, **kwargs)

        monkeypatch.setattr(open_clip.CLIP, "load_state_dict", permuted)
        assert f"{what} differ from open_clip's by" in refused(
            capsys, "mini", path, tmp_path / "c.safetensors"
        )
        assert [each.name for each in tmp_path.iterdir()] == ["w.pt"]


def test_the_certificate_notices_another_way_to_see_pictures(tmp_path, capsys, monkeypatch):
    path = write(make("mini"), tmp_path / "w.pt", "state dict")
    monkeypatch.setattr(Clip, "preprocess", lambda self, image: image[..., :32, :32])
    assert "differ from open_clip's" in refused(capsys, "mini", path, tmp_path / "c.safetensors")


@pytest.mark.parametrize("resize_mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [(45, 97), (101, 60), (20, 27), (64, 64), (32, 32)])
def test_pictures_are_seen_as_open_clip_sees_them(size, interpolation, resize_mode):
    how = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.3, 0.2, 0.25]}
    how |= {"interpolation": interpolation, "resize_mode": resize_mode}
    clip = Clip.from_open_clip("mini", how=how)
    picture = smooth_picture(*size)
    seen = picture_transform(clip)(Image.fromarray(picture.movedim(0, -1).numpy()))
    ours = clip.preprocess(picture[None] / 127.5 - 1)[0]
    byte = 1 / 255 / min(how["image_std"])
    assert (ours - seen).abs().max() <= 1.5 * byte  # open_clip rounds twice: each row, then each column


def test_preprocessing_belongs_to_the_weights(tmp_path):
    laion = preprocessing("ViT-L-14", "laion2b_s32b_b82k")
    assert (laion["image_mean"], laion["resize_mode"]) == ([0.5, 0.5, 0.5], "shortest")
    assert preprocessing("ViT-L-14", "datacomp_xl_s13b_b90k")["image_mean"][0] == 0.48145466
    assert preprocessing("ViT-H-14-378-quickgelu")["resize_mode"] == "squash"  # all known ones agree
    with pytest.raises(
        ValueError, match=r"differ in how they see pictures .image_mean, image_std.: .* laion2b"
    ):
        preprocessing("ViT-L-14")
    with pytest.raises(ValueError, match="--tag laion9: open_clip knows no such weights of ViT-L-14"):
        preprocessing("ViT-L-14", "laion9")
    with pytest.raises(ValueError, match="for ViT-B-32-quickgelu, not ViT-B-32"):
        preprocessing("ViT-B-32", "openai")
    described = {"model_cfg": {"embed_dim": 768}, "preprocess_cfg": {"mean": [0.1, 0.2, 0.3]}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(described))
    assert preprocessing("ViT-L-14", file=tmp_path / "w.safetensors")["image_mean"] == [0.1, 0.2, 0.3]
    with pytest.raises(ValueError, match="for ViT-L-14, not ViT-L-14-quickgelu"):
        preprocessing("ViT-L-14-quickgelu", file=tmp_path / "w.safetensors")


def test_karlos_scale_is_openais_clip():
    from lightning_mav.training.runs import find_run, model_settings

    for scale in ("karlo", "paper"):
        settings = model_settings(find_run("clip", None, scale), scale)["clip"]["init_args"]
        theirs = clip_arguments("ViT-L-14-quickgelu") | preprocessing("ViT-L-14-quickgelu")
        same = {
            key: settings[key] for key in ("embed_dim", "image_size", "quick_gelu", "image_mean", "image_std")
        }
        assert same.items() <= theirs.items()


@pytest.mark.slow
def test_full_size(tmp_path):
    model = open_clip.create_model("ViT-B-32").eval()
    path = write(model, tmp_path / "w.safetensors", "safetensors")
    run("ViT-B-32", path, tmp_path / "clip.safetensors", "--tag", "laion2b_s34b_b79k")
    assert_same_embeddings(load_weights(tmp_path / "clip.safetensors"), model)
