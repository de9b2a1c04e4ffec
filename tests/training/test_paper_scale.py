"""Scale paper holds what unCLIP and Make-A-Video publish, and its stages train and sample when made small."""

import importlib
import re
from types import SimpleNamespace

import pytest
import torch

from helpers.configs import parse
from helpers.stages import build_stage, save_tiny_clip
from lightning_mav.diffusion import GaussianDiffusion, Sampler
from lightning_mav.stages import SRHStage
from lightning_mav.training.runs import all_runs, config_folder

RUNS = {run.name: run for run in all_runs()}
ANALYTIC_DPM, ANCESTRAL, DDIM = "Analytic-DPM", "UnCLIP", "DDIM"
# unCLIP (Ramesh et al., 2022), appendix C, table 3 and the text beside it.
COLUMNS = ("prior", "decoder_image", "sr_lt_image", "sr_h")
PUBLISHED = {
    "objective": ("x_0", "eps", "eps", "eps"),
    "learned sigma": (False, True, False, False),
    "schedule": ("cosine", "cosine", "cosine", "linear"),
    "diffusion steps": (1000, 1000, 1000, 1000),
    "sampler": (ANALYTIC_DPM, ANCESTRAL, DDIM, DDIM),
    "sampling steps": (64, 250, 27, 15),
    "channels": (2048, 512, 320, 192),
    "depth": (24, 3, 3, 2),
    "multipliers": (None, [1, 2, 3, 4], [1, 2, 3, 4], [1, 1, 2, 2, 4, 4]),
    "head channels": (64, 64, None, None),
    "dropout": (0.0, 0.1, 0.1, 0.0),
    "weight decay": (6.0e-2, 0.0, 0.0, 0.0),
    "batch": (4096, 2048, 1024, 512),
    "iterations": (600_000, 800_000, 1_000_000, 1_000_000),
    "rate": (1.1e-4, 1.2e-4, 1.2e-4, 1.0e-4),
    "rate schedule": ("constant",) * 4,
    "warm-up": (0,) * 4,
    "beta_2": (0.96, 0.999, 0.999, 0.999),
    "epsilon": (1e-6, 1e-8, 1e-8, 1e-8),
    "decay of the average": (0.9999,) * 4,
    "pixels": (None, 64, 256, 1024),
    "crop": (None, 1, 0.25, 0.25),
    "corruption": (None, None, ("blur", 0.6, 0.6, 0.6), ("bsr", 1.0, 1.0, 1.0)),
    "attention": (None, [32, 16, 8], [], []),
}
DEPARTURES = {("prior", "sampler"): ANCESTRAL, ("sr_h", "pixels"): 768}
VIDEO_RATE = 5e-5  # ours
# Millions of parameters, as counted before; unCLIP says 1,000 for the prior, 700 and 300 for its upsamplers.
SIZES = {
    "prior": 1223.5, "decoder_image": 2209.3, "decoder": 2893.6,
    "sr_lt_image": 693.6, "sr_lt": 871.2, "sr_h": 267.9,
}  # fmt: skip


def configured(run):
    """Returns what scale paper sets of the table's lines."""
    config = parse(run, "paper").config.fit
    init, data = config.model.init_args, config.data.init_args
    data = data.image.init_args if "image" in data else data
    net = (init.get("unet") or init.net).init_args
    diffusion, sampler, is_prior = init.diffusion.init_args, init.sampler.init_args, run.stage == "prior"
    pixels = None if is_prior else init.get("image_size") or data.image_size
    crop = None if is_prior else 1 if "image_size" in init else data.crop_size / data.image_size
    attention = None if is_prior else [pixels >> level for level in net.attention_levels]
    heads = net.width // net.num_heads if is_prior else net.head_channels if attention else None
    levels = [init.get(f"{name}noise_level") for name in ("min_", "max_", "")]
    text = (config_folder() / f"scale/paper/{run.stage}.yaml").read_text()
    batch = re.search(r"^#? ?global_batch: (\d+)$", text, re.MULTILINE)
    return {
        "objective": diffusion.prediction,
        "learned sigma": diffusion.learned_variance,
        "schedule": diffusion.schedule,
        "diffusion steps": diffusion.num_timesteps,
        "sampler": re.fullmatch(r"diffusers\.(\w+)Scheduler", sampler.scheduler).group(1),
        "sampling steps": sampler.num_steps,
        "channels": net.width if is_prior else net.channels,
        "depth": net.num_layers if is_prior else net.num_blocks,
        "multipliers": None if is_prior else net.channel_mults,
        "head channels": heads,
        "dropout": net.dropout,
        "weight decay": init.weight_decay,
        "batch": int(batch.group(1)) if batch else None,
        "iterations": config.trainer.max_steps,
        "rate": init.lr,
        "rate schedule": init.lr_schedule,
        "warm-up": init.warmup_steps,
        "beta_2": init.beta_2,
        "epsilon": init.adam_eps,
        "decay of the average": config.ema.decay,
        "pixels": pixels,
        "crop": crop,
        "corruption": (init.corruption, *levels) if init.get("corruption") else None,
        "attention": attention,
    }


@pytest.mark.parametrize("name", COLUMNS)
def test_each_line_is_as_published_or_says_why_not(name):
    column = COLUMNS.index(name)
    published = {line: values[column] for line, values in PUBLISHED.items()}
    departures = {line: value for (run, line), value in DEPARTURES.items() if run == name}
    assert configured(RUNS[name]) == published | departures
    text = (config_folder() / f"scale/paper/{RUNS[name].stage}.yaml").read_text()
    for line, value in departures.items():
        assert published[line] != value
        assert str(published[line]) in text


@pytest.mark.parametrize(
    ("name", "images"),
    [("decoder", "decoder_image"), ("interpolation", "decoder_image"), ("sr_lt", "sr_lt_image")],
)
def test_on_video_all_but_rate_and_length_is_as_on_images(name, images):
    ours, before = configured(RUNS[name]), configured(RUNS[images])
    free = {"rate": VIDEO_RATE, "iterations": ours["iterations"], "batch": ours["batch"]}
    assert ours == before | free


@pytest.mark.parametrize("name", SIZES)
def test_networks_are_as_large_as_planned(name):
    init = parse(RUNS[name], "paper").config.fit.model.init_args
    net = init.get("unet") or init.net
    module, _, cls = net.class_path.rpartition(".")
    sizes, counts = net.init_args.as_dict(), []
    for variances in (False, True):  # learned ones are three more outputs
        args = sizes if variances or sizes.get("out_channels") != 6 else sizes | {"out_channels": 3}
        with torch.device("meta"):
            network = getattr(importlib.import_module(module), cls)(**args)
        counts.append(sum(p.numel() for p in network.parameters()) / 1e6)
    assert round(counts[0], 1) == SIZES[name]
    assert (0.01 < counts[1] - counts[0] < 0.02) if "decoder" in name else counts[0] == counts[1]


SMALL = [
    "--model.unet.channels=8", "--model.unet.channel_mults=[1,2]", "--model.unet.norm_groups=4",
    "--model.unet.num_blocks=1", "--model.sampler.num_steps=4",
]  # fmt: skip
DECODER = [
    *SMALL, "--model.unet.attention_levels=[1]", "--model.unet.head_channels=8", "--model.image_size=16",
    "--model.unet.image_embed_dim=6", "--model.unet.context_channels=8", "--model.num_frames=4",
]  # fmt: skip
PRIOR = [
    "--model.net.embed_dim=6", "--model.net.text_width=8", "--model.net.width=16", "--model.net.num_layers=1",
    "--model.net.num_heads=2", "--model.sampler.num_steps=4",
]  # fmt: skip
VIDEO = {"video": torch.rand(2, 3, 4, 16, 16) * 2 - 1, "fps": torch.tensor([4.0, 8.0])}
IMAGE = {"image": torch.rand(2, 3, 16, 16) * 2 - 1}
TINY = {
    "prior": (PRIOR, IMAGE | {"text": ["a cat", "a dog"]}),
    "decoder_image": (DECODER, IMAGE),
    "decoder": (DECODER, VIDEO),
    "interpolation": ([*DECODER, "--model.frame_skips=[2]"], VIDEO),
    "sr_lt_image": (SMALL, IMAGE),
    "sr_lt": (SMALL, VIDEO),
    "sr_h": (SMALL, {"image": torch.rand(2, 3, 24, 24) * 2 - 1}),
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return save_tiny_clip(tmp_path_factory.mktemp("clip"))


def small_stage(name, clip):
    """Builds a stage of scale paper with a small network, ready to train."""
    overrides, batch = TINY[name]
    known = [f"--model.clip={clip}"] if RUNS[name].stage in ("prior", "decoder", "interpolation") else []
    trainer = ["--trainer.accelerator=cpu", "--trainer.logger=false"]
    return build_stage(RUNS[name], "paper", *overrides, *known, *trainer)[0], batch


@pytest.mark.parametrize("name", TINY)
def test_small_stages_train_and_sample(name, clip):
    stage, batch = small_stage(name, clip)
    made = stage.configure_optimizers()
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    before = {key: value.clone() for key, value in stage.model.net.named_parameters()}
    losses = []
    for _ in range(4):
        loss = stage.training_step(batch, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        assert {group["lr"] for group in optimizer.param_groups} == {stage.lr}  # always
    assert torch.tensor(losses).isfinite().all()
    moved = {key for key, value in stage.model.net.named_parameters() if not torch.equal(value, before[key])}
    if name == "prior":
        text = stage.embed_text(batch["text"])
        samples = stage.model.eval().sample_candidates(*text.values())
        assert samples.shape == (2, 2, 6)
    else:
        assert {"conv_in.spatial.weight", "conv_out.spatial.weight"} <= moved
        rows = (stage.model.net.conv_out.spatial.weight != before["conv_out.spatial.weight"]).flatten(1)
        assert rows.any(dim=1).tolist() == [True] * len(rows)  # those of variances, too
        assert len(rows) == (6 if stage.model.diffusion.learned_variance else 3)
        stage.eval()
        drawn = stage.sample_like(batch)
        samples = drawn["generated"]
        assert samples.shape == drawn["real"].shape
        assert samples.abs().max() <= 1
        assert samples.std() > 0.01
    assert samples.isfinite().all()


def test_rate_is_constant_or_falls_to_a_twentieth():
    from helpers.nets import SR
    from lightning_mav.nn import Pseudo3DUNet

    def rates(**kwargs):
        net = Pseudo3DUNet(**SR | {"temporal": False})
        stage = SRHStage(net, GaussianDiffusion(), Sampler(), lr=2.0, adam_eps=1e-3, beta_2=0.9, **kwargs)
        stage._trainer = SimpleNamespace(max_steps=100, precision="32-true")
        made = stage.configure_optimizers()
        group = made["optimizer"].param_groups[0]
        assert (group["eps"], group["betas"]) == (1e-3, (0.9, 0.9))
        return [2.0 * made["lr_scheduler"]["scheduler"].lr_lambdas[0](step) for step in (0, 9, 50, 100)]

    assert rates(lr_schedule="constant", warmup_steps=0) == [2.0] * 4
    assert rates(lr_schedule="constant", warmup_steps=20) == pytest.approx([0.1, 1.0, 2.0, 2.0])
    assert rates(warmup_steps=0) == pytest.approx([2.0, 1.96, 1.05, 0.1], abs=0.01)
    with pytest.raises(ValueError, match=r"lr_schedule must be one of .*'constant'.*, got 'steps'"):
        rates(lr_schedule="steps")
