"""Karlo's weights, in both layouts, give what diffusers' modules give; others are refused in one line."""

import pickle
import re
import shutil
from contextlib import contextmanager

import pytest
import torch
from diffusers import UnCLIPPipeline, UnCLIPScheduler
from diffusers.schedulers import scheduling_unclip
from lightning import Trainer
from safetensors.torch import load_file, save_file
from torch.overrides import TorchFunctionMode

from helpers import karlo
from lightning_mav.cascade import Cascade
from lightning_mav.cli import main
from lightning_mav.diffusion import GaussianDiffusion, Sampler
from lightning_mav.models.sampling import Sampling
from lightning_mav.nn import LastStep, inflate
from lightning_mav.nn.blocks import ImageEmbedding
from lightning_mav.stages import SRLTStage
from lightning_mav.training.runs import find_run, model_settings
from lightning_mav.utils.configured import from_config
from lightning_mav.weights import load_weights, read_training
from lightning_mav.weights.imports import PARTS, reading
from lightning_mav.weights.imports import karlo as importer

pytestmark = pytest.mark.filterwarnings("ignore")  # diffusers' pipeline is deprecated
FILES = {"prior": "prior", "decoder": "decoder_image", "sr_lt": "sr_lt_image"}
STEPS = 5
GUIDANCE = 2.0


def settings_of(scale):
    return {stage: model_settings(find_run(stage, None, scale), scale) for stage in PARTS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Holds both layouts of random weights, a scale of their size and a CLIP."""
    folder = tmp_path_factory.mktemp("karlo")
    karlo.write_scale(folder / "tiny")
    karlo.make_clip(folder / "clip.safetensors")
    modules = karlo.make_modules(settings_of(str(folder / "tiny")))
    karlo.write_diffusers(folder / "diffusers", modules)
    karlo.write_authors(folder / "authors", modules)
    return folder


def run(folder, source, out):
    arguments = [
        "--scale",
        str(folder / "tiny"),
        "--clip",
        str(folder / "clip.safetensors"),
        "--out",
        str(out),
    ]
    main(["weights", "import", "karlo", str(source), *arguments])


@pytest.fixture(scope="module")
def imported(folder):
    run(folder, folder / "diffusers", folder / "out")
    return {stage: load_weights(folder / "out" / f"{name}.safetensors") for stage, name in FILES.items()}


def test_both_layouts_give_the_same_weights_and_a_certificate(folder, imported, tmp_path, capsys):
    run(folder, folder / "authors", tmp_path / "out")
    printed = capsys.readouterr().out
    assert all(
        name in printed for name in ("prior", "text_proj", "decoder", "super_res_first", "super_res_last")
    )
    for stage, name in FILES.items():
        path = tmp_path / "out" / f"{name}.safetensors"
        other = load_weights(path).state_dict()
        assert other.keys() == imported[stage].state_dict().keys()
        assert all(torch.equal(tensor, other[key]) for key, tensor in imported[stage].state_dict().items())
        assert {tensor.dtype for tensor in load_file(path).values()} == {torch.float32}  # as they are stored
        training = read_training(path)
        assert "step" not in training  # it counts as finished
        assert max(training["differences"].values()) <= 1e-5


def test_projections_that_are_not_head_by_head_would_be_others(folder, imported):
    tensors = torch.load(next((folder / "authors").glob("prior*")))["state_dict"]
    naive = tensors["model.transformer.resblocks.0.attn.c_qkv.weight"].chunk(3)[0]
    assert not torch.equal(naive, imported["prior"].net.transformer_blocks[0].attn1.to_q.weight)


def test_context_tokens_in_the_wrong_order_are_caught(folder, tmp_path, monkeypatch, capsys):
    forward = ImageEmbedding.forward

    def naive(self, image_embed, drop):
        embed, context = forward(self, image_embed, drop)
        tokens, text = context[:, : self.num_tokens], context[:, self.num_tokens :]
        tokens = tokens.transpose(1, 2).flatten(1).unflatten(1, (self.num_tokens, -1))
        return embed, torch.cat([tokens, text], dim=1)

    monkeypatch.setattr(ImageEmbedding, "forward", naive)
    with pytest.raises(SystemExit, match="2"):
        run(folder, folder / "diffusers", tmp_path / "out")
    assert "text_proj differs from diffusers' by" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


class Pipeline(UnCLIPPipeline):
    """diffusers' pipeline with our CLIP; its decoder sees the text "" alone."""

    def attach(self, clip):
        self.clip = clip
        own = self.text_proj.forward
        null, hidden, null_mask = clip.encode_text(clip.tokenize([""]))

        def text_free(image_embeddings, **kwargs):
            self.mask.copy_(null_mask)  # which the decoder is given next
            texts = {
                "prompt_embeds": null.expand(2, -1),
                "text_encoder_hidden_states": hidden.expand(2, -1, -1),
            }
            return own(image_embeddings=image_embeddings, **{**kwargs, **texts})

        self.text_proj.forward = text_free

    def _encode_prompt(self, prompt, *_):
        embed, hidden, self.mask = self.clip.encode_text(self.clip.tokenize(["", prompt]))
        return embed, hidden, self.mask


class InDouble(TorchFunctionMode):
    """What asks for single precision gets double, also the tables of schedules."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is not torch.Tensor.view:  # by which safetensors takes bytes for numbers
            func = torch.Tensor.double if func is torch.Tensor.float else func
            args = [torch.double if arg is torch.float32 else arg for arg in args]
            kwargs = {key: torch.double if arg is torch.float32 else arg for key, arg in kwargs.items()}
        return func(*args, **kwargs)


@contextmanager
def in_double():
    """Lets torch compute in double precision, in which rounding errors cannot be taken for real ones.

    They grow, for the first step divides by 0.00005 and the networks are random: up to 0.007 in single
    precision, and up to 1e-10 in double.
    """
    torch.set_default_dtype(torch.double)
    try:
        with InDouble():
            yield
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
@in_double()
def doubled(folder):
    """Returns a folder of the weights; what the CLIP makes of "" is part of them, so it is in double too."""
    run(folder, folder / "diffusers", folder / "double")
    return folder / "double"


@in_double()
@pytest.mark.parametrize("seed", range(3))
def test_a_whole_draw_is_that_of_diffusers(folder, doubled, monkeypatch, seed):
    clip = load_weights(folder / "clip.safetensors")
    models = {stage: load_weights(doubled / f"{name}.safetensors") for stage, name in FILES.items()}
    modules = karlo.make_modules(settings_of(str(folder / "tiny")))
    for name, module in modules.items():  # in double, random draws are others
        module.load_state_dict(load_file(folder / "diffusers" / name / "diffusion_pytorch_model.safetensors"))
    modules["decoder"].register_to_config(sample_size=karlo.SIZE)
    modules["super_res_first"].register_to_config(sample_size=4 * karlo.SIZE)
    schedulers = {
        "prior_scheduler": UnCLIPScheduler(prediction_type="sample", clip_sample_range=5.0),
        "decoder_scheduler": UnCLIPScheduler(variance_type="learned_range"),
        "super_res_scheduler": UnCLIPScheduler(),
    }
    pipeline = Pipeline(**modules, **schedulers, text_encoder=None, tokenizer=None)
    pipeline.attach(clip)
    pipeline.set_progress_bar_config(disable=True)

    models["prior"].sampler.threshold_range = 5.0  # as diffusers has it
    cascade = Cascade(clip, **models).eval()
    cascade.precision = "32-true"
    sampling = Sampling(seed, "a red ball", STEPS, {"prior": GUIDANCE, "decoder": GUIDANCE})
    noises, randn = [], scheduling_unclip.randn_tensor

    def recorded(shape, **kwargs):
        noises.append(randn(shape, **kwargs))
        return noises[-1]

    monkeypatch.setattr(scheduling_unclip, "randn_tensor", recorded)
    image = cascade.decode(cascade.embed(["a red ball"], sampling), 1.0, sampling)
    ours = cascade.upsample_lt(image, 1.0, sampling)[:, :, 0]
    assert len(noises) == 3 * (STEPS - 1)

    monkeypatch.setattr(scheduling_unclip, "randn_tensor", lambda shape, **_: noises.pop(0).view(shape))
    options = {f"{part}_num_inference_steps": STEPS for part in ("prior", "decoder", "super_res")}
    options |= {f"{part}_guidance_scale": GUIDANCE for part in ("prior", "decoder")}
    (theirs,) = pipeline("a red ball", output_type="np", return_dict=False, **options, **starts(sampling))
    theirs = torch.from_numpy(theirs).permute(0, 3, 1, 2)
    assert theirs.std() > 0.05
    assert ours.dtype == theirs.dtype == torch.double
    torch.testing.assert_close((ours / 2 + 0.5).clamp(0, 1), theirs, rtol=0, atol=1e-8)


def starts(sampling):
    """The noise that each stage of ours starts from, as the pipeline takes it."""
    low, high = karlo.SIZE, 4 * karlo.SIZE
    shapes = {
        "prior": ("prior", (1, karlo.D), (1, karlo.D)),
        "decoder": ("decoder", (1, 3, 1, low, low), (1, 3, low, low)),
        "super_res": ("sr_lt", (2, 1, 3, 1, high, high), (2, 3, high, high)),  # the second one is not used
    }
    latents = {}
    for name, (stage, drawn, shape) in shapes.items():
        noise = torch.randn(drawn, generator=sampling.arguments(stage)["generator"]).view(shape)
        latents[f"{name}_latents"] = noise[:1]
    return latents


def test_another_network_does_the_last_step(imported):
    net = imported["sr_lt"].net
    x_t, x_cond = torch.randn(2, 3, 3, 2, 8, 8)
    whole = net(x_t, torch.tensor([0, 1, 999]), x_cond=x_cond)
    for row, part in enumerate((net.last, net.net, net.net)):
        t = torch.tensor([[0], [1], [999]])[row]
        alone = part(x_t[row : row + 1], t, x_cond=x_cond[row : row + 1])
        torch.testing.assert_close(whole[row : row + 1], alone)
    assert isinstance(net, LastStep)
    assert not torch.equal(net.last.conv_out.spatial.weight, net.net.conv_out.spatial.weight)


@pytest.mark.parametrize("stage", ["decoder", "sr_lt"])
def test_video_networks_start_as_the_imported_image_networks(folder, imported, stage):
    run = find_run(stage, "video", str(folder / "tiny"))
    video = from_config(model_settings(run, str(folder / "tiny"))["unet"])
    source = imported[stage].net
    report = inflate(video, source.net if stage == "sr_lt" else source)
    assert report.max_difference <= 1e-5
    assert report.conditions == ["fps_embedding"]
    assert report.num_dropped == 0


def test_training_on_video_goes_on_from_the_network_of_most_steps(folder, imported):
    scale = str(folder / "tiny")
    net = from_config(model_settings(find_run("sr_lt", "video", scale), scale)["unet"])
    path = str(folder / "out" / "sr_lt_image.safetensors")
    stage = SRLTStage(net, GaussianDiffusion(prediction="eps"), Sampler(), init_from=path)
    stage.trainer = Trainer(logger=False, accelerator="cpu", enable_checkpointing=False)
    stage.setup("fit")
    assert torch.equal(net.conv_out.spatial.weight, imported["sr_lt"].net.net.conv_out.spatial.weight)


def test_sizes_are_karlos():
    prior, decoder, sr, _ = importer.build_networks(settings_of("karlo"))
    decoder.image_embedding = None  # diffusers counts it elsewhere
    for net, millions in ((decoder, 885.4), (sr, 691.6), (prior, 1022.0)):
        assert sum(each.numel() for each in net.parameters()) / 1e6 == pytest.approx(millions, rel=1e-3)
    video = model_settings(find_run("decoder", "video", "karlo"), "karlo")
    assert video["init_from"] == "karlo/decoder_image"
    assert video["num_frames"] == 16


def damaged(folder, kind):
    """Breaks a copy of one of the layouts."""
    decoder = folder / "decoder" / "diffusion_pytorch_model.safetensors"
    checkpoint = next(iter(folder.glob("prior*.ckpt")), None)
    if kind == "truncated":
        decoder.write_bytes(decoder.read_bytes()[:-100])
    elif kind == "truncated checkpoint":
        checkpoint.write_bytes(checkpoint.read_bytes()[: -(checkpoint.stat().st_size // 2)])
    elif kind == "foreign":
        save_file({"weight": torch.zeros(3)}, decoder)
    elif kind == "foreign checkpoint":
        torch.save({"state_dict": {"weight": torch.zeros(3)}}, checkpoint)
    elif kind == "one more":
        content = torch.load(checkpoint)
        torch.save({"state_dict": content["state_dict"] | {"model.more": torch.zeros(3)}}, checkpoint)
    elif kind == "wrong width":
        tensors = load_file(decoder)
        save_file({**tensors, "conv_in.weight": torch.zeros(64, 3, 3, 3)}, decoder)
    elif kind == "no tensors":
        torch.save([1, 2], checkpoint)
    elif kind == "code":
        checkpoint.write_bytes(pickle.dumps(Code(str(folder / "ran"))))
    elif kind == "code in an archive":
        torch.save({"state_dict": Code(str(folder / "ran"))}, checkpoint)
    elif kind == "missing":
        next(folder.glob("*sr*")).unlink()


class Code:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize(
    ("layout", "kind", "words"),
    [
        ("diffusers", "truncated", "cannot be read"),
        ("authors", "truncated checkpoint", "cannot be read"),
        ("diffusers", "foreign", "is not decoder of this scale: of its tensors, .* missing .*, 1 left over"),
        ("authors", "foreign checkpoint", "is not prior of this scale: of its tensors, .* missing"),
        ("authors", "one more", r"1 left over \(first: model.more\)"),
        (
            "diffusers",
            "wrong width",
            r"1 of another width \(first: conv_in.weight is \(64, 3, 3, 3\), not \(32, 3, 3, 3\)",
        ),
        ("authors", "no tensors", "holds no tensors by name"),
        ("authors", "code", "no code in it was run"),
        ("authors", "code in an archive", "no code in it was run"),
        ("authors", "missing", r"no file of the authors, \*sr\*.ckpt"),
    ],
)
def test_what_is_not_karlo_is_refused_in_one_line(folder, tmp_path, capsys, layout, kind, words):
    source = tmp_path / "source"
    shutil.copytree(folder / layout, source)
    damaged(source, kind)
    with pytest.raises(SystemExit, match="2"):
        run(folder, source, tmp_path / "out")
    printed = capsys.readouterr().err
    assert re.search(words, printed)
    assert len(printed.splitlines()) == 1
    assert not (tmp_path / "out").exists()
    assert not (source / "ran").exists()


def test_a_full_disk_is_noticed_before_anything_is_written(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(reading.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 100_000))
    with pytest.raises(SystemExit, match="2"):
        run(folder, folder / "authors", tmp_path / "out")
    printed = capsys.readouterr().err
    assert "0.0 GB left" in printed
    assert len(printed.splitlines()) == 1
    assert [*tmp_path.iterdir()] == []


def test_weights_that_are_there_are_kept(folder, imported, capsys):
    with pytest.raises(SystemExit, match="2"):
        run(folder, folder / "diffusers", folder / "out")
    assert "already there; move it away" in capsys.readouterr().err


def test_another_clip_is_refused(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(karlo, "LENGTH", 20)
    karlo.make_clip(tmp_path / "clip.safetensors")
    arguments = ["--scale", str(folder / "tiny"), "--out", str(tmp_path / "out")]
    for clip, words in (
        (str(tmp_path / "clip.safetensors"), "(16, 20, 16) wide and long"),
        ("huge/clip", "--clip"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main(["weights", "import", "karlo", str(folder / "diffusers"), *arguments, "--clip", clip])
        assert words in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    "modules", [["prior"], ["text_proj", "decoder"], ["super_res_first"], ["super_res_last"]]
)
def test_full_size(modules):
    """The networks of Karlo's sizes equal diffusers', with random weights; some at a time, for the memory."""
    nets = importer.build_networks(settings_of("karlo"))
    references = importer.build_references(nets.prior, nets.decoder, nets.super_res_first)
    layouts = {module: karlo.random_state(references[module]) for module in modules}
    for module, layout in layouts.items():
        references[module].load_state_dict(layout, assign=True)
    mask = torch.arange(77)[None] < 2
    text = importer.Text(torch.randn(1, 768), torch.randn(1, 77, 768), mask)
    importer._fill(nets, importer._names(nets, references), layouts, text)
    net, reference = getattr(nets, modules[-1]), references[modules[-1]]
    if modules == ["prior"]:
        differences = [importer.difference_of_prior(net, reference, text)]
    elif "decoder" in modules:
        differences = importer.differences_of_decoder(net, references["text_proj"], reference, text)
    else:
        differences = [importer.difference_of_super_resolution(net, reference)]
    assert max(differences) <= 1e-5
