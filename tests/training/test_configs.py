"""Every stack of configuration layers is one that LightningCLI takes, at every scale."""

import importlib

import pytest
import torch
from lightning import LightningModule

from helpers.configs import parse
from lightning_mav.training.runs import all_runs, config_folder, config_layers, scale_name, scales
from lightning_mav.utils.configured import Configured
from lightning_mav.utils.errors import UsageError

RUNS = all_runs()


@pytest.mark.parametrize("scale", scales())
@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_layers_parse(run, scale):
    config = parse(run, scale).config.fit
    assert config.trainer.max_steps > 0
    assert config.trainer.precision in ("bf16-mixed", "32-true")
    stage = run.stage.replace("_", "")
    assert config.model.class_path.lower().startswith("lightning_mav.stages")
    assert stage in config.model.class_path.lower()


@pytest.mark.slow
@pytest.mark.parametrize("scale", scales())
def test_clip_is_shown_as_large_pictures_by_all_stages(scale):
    sizes = {}
    for run in RUNS:
        if run.stage in ("prior", "decoder", "interpolation"):
            data = parse(run, scale).config.fit.data.init_args
            parts = [data.video.init_args, data.image.init_args] if "video" in data else [data]
            sizes[run.name] = min(part.image_size for part in parts)
    assert sizes.pop("prior") <= min(sizes.values())


@pytest.mark.parametrize("scale", scales())
def test_prior_is_as_wide_and_long_as_its_clip(scale):
    runs = all_runs(scale)
    last = {run.stage: run for run in runs if run.stage in ("clip", "prior")}  # of the phases of a stage
    inits = {stage: parse(run, scale).config.fit.model.init_args for stage, run in last.items()}
    clip, prior = inits["clip"].clip.init_args, inits["prior"].net.init_args
    length = clip.text.get("context_length", 77)  # as in Clip
    expected = {"embed_dim": clip.embed_dim, "text_width": clip.text["width"], "context_length": length}
    assert {name: prior[name] for name in expected} == expected


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_networks_are_built(run):
    cli = parse(run, "micro")
    model = cli.parser.instantiate_classes(cli.config).fit.model
    assert isinstance(model, LightningModule)
    assert isinstance(model.model, Configured)


def test_sizes_of_the_paper():
    # In millions, as published: prior 1,000; SR 700 and 300.
    expected = {"prior": 1223, "decoder": 2894, "sr_lt_image": 694, "sr_h": 268}
    for run in RUNS:
        if run.name in expected:
            init = parse(run, "paper").config.fit.model.init_args
            net = init.get("unet") or init.get("net")
            module, _, name = net.class_path.rpartition(".")
            with torch.device("meta"):
                network = getattr(importlib.import_module(module), name)(**net.init_args.as_dict())
            millions = sum(p.numel() for p in network.parameters()) / 1e6
            assert millions == pytest.approx(expected[run.name], rel=0.02)


def test_every_layer_belongs_to_a_run():
    used = {layer for scale in scales() for run in all_runs(scale) for layer in config_layers(run, scale)}
    layers = {
        path for pattern in ("stage/*.yaml", "scale/*/*.yaml") for path in config_folder().glob(pattern)
    }
    assert used == layers | {config_folder() / "base.yaml"}
    assert {"nano", "micro", "base", "paper"} <= set(scales())


def test_a_scale_is_put_on_top_of_the_one_that_it_extends():
    layers = config_layers(RUNS[3], "nano")
    scales = [f"scale/{scale}/{name}" for scale in ("micro", "nano") for name in ("all", "decoder")]
    videos = [f"{place}/decoder_video" for place in ("stage", "scale/micro", "scale/nano")]
    names = ["base", "stage/decoder", *scales, *videos]
    assert layers == [config_folder() / f"{name}.yaml" for name in names]
    nano, micro = (parse(RUNS[3], scale).config.fit for scale in ("nano", "micro"))
    assert nano.trainer.max_steps < micro.trainer.max_steps
    assert nano.model.init_args.init_from == "nano/decoder_image"
    assert (
        nano.model.init_args.unet.init_args.channel_mults
        == micro.model.init_args.unet.init_args.channel_mults
    )


def own_scale(folder, note="extends: micro\n"):
    folder.mkdir(parents=True)
    if note:
        (folder.parent / f"{folder.name}.yaml").write_text(note)
    (folder / "decoder.yaml").write_text("trainer: {max_steps: 7}\n")
    return folder


def test_a_scale_of_ones_own_is_a_folder_anywhere(tmp_path, monkeypatch):
    folder = own_scale(tmp_path / "mine")
    layers = config_layers(RUNS[3], str(folder))
    names = ["base", "stage/decoder", "scale/micro/all", "scale/micro/decoder", None]
    names += ["stage/decoder_video", "scale/micro/decoder_video"]
    assert layers == [config_folder() / f"{n}.yaml" if n else folder / "decoder.yaml" for n in names]
    assert parse(RUNS[2], str(folder)).config.fit.trainer.max_steps == 7
    assert scale_name(str(folder)) == scale_name(f"{folder}/") == "mine"
    assert config_layers(RUNS[7], str(folder)) == config_layers(RUNS[7], "micro")
    monkeypatch.chdir(tmp_path)
    assert config_layers(RUNS[3], "mine") == config_layers(RUNS[3], "./mine") == layers
    own_scale(tmp_path / "next", "extends: ./mine\n")
    assert config_layers(RUNS[2], "next") == [
        *config_layers(RUNS[2], "mine"),
        tmp_path / "next/decoder.yaml",
    ]


def test_what_all_stages_of_a_scale_share_stands_above_its_layers_for_one_stage(tmp_path):
    folder = own_scale(tmp_path / "mine")
    (folder / "all.yaml").write_text("trainer: {max_steps: 5, devices: 3}\nmodel: {init_args: {lr: 7.0}}\n")
    shared, own = (parse(RUNS[i], str(folder)).config.fit for i in (1, 2))  # of the prior and the decoder
    assert (shared.trainer.max_steps, own.trainer.max_steps) == (5, 7)
    assert shared.trainer.devices == own.trainer.devices == 3
    assert shared.model.init_args.lr == own.model.init_args.lr == 7.0
    (folder.parent / "mine.yaml").unlink()
    with pytest.raises(UsageError, match=r"no prior\.yaml in"):  # nothing is left that says what it is
        config_layers(RUNS[1], str(folder))


def test_a_folder_without_layers_is_no_scale(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "micro").mkdir()  # of data, say
    assert config_layers(RUNS[2], "micro")[3] == config_folder() / "scale/micro/decoder.yaml"
    own_scale(tmp_path / "nano", note="")
    assert config_layers(RUNS[2], "nano")[2:] == [tmp_path / "nano/decoder.yaml"]  # a path wins


@pytest.mark.parametrize(
    ("note", "scale", "words"),
    [
        ("", "./nowhere", "no SCALE './nowhere': there is no such folder"),
        ("", "huge", "no SCALE 'huge'; scales are base, .*, or name a folder"),
        ("", "./mine", "no decoder_video.yaml|no sr_h.yaml in .*mine: write it, or let the scale extend"),
        ("extends: ./mine\n", "./mine", "mine.yaml: the scale extends itself"),
        ("extends: huge\n", "./mine", "no SCALE 'huge'"),
        ("extends: [micro]\n", "./mine", "mine.yaml: it says which scale is extended"),
        ("extends: {\n", "./mine", "mine.yaml: is no YAML"),
    ],
)
def test_mistakes_in_a_scale_of_ones_own_are_named(note, scale, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own_scale(tmp_path / "mine", note)
    with pytest.raises(UsageError, match=words):
        config_layers(RUNS[7], scale)


@pytest.mark.parametrize("scale", [pytest.param("nano", marks=pytest.mark.slow), "micro"])
def test_all_runs_of_a_scale_share_one_world(scale):
    # Readers write the world anew when it is another than they want: two wishes would take turns for ever.
    worlds = set()
    for run in RUNS:
        data = parse(run, scale).config.fit.data.init_args
        readers = [data.video.init_args, data.image.init_args] if "video" in data else [data]
        for reader in readers:
            kind = "images" if "num_images" in reader else "videos"
            worlds.add(
                (kind, reader.root, reader[f"num_{kind}"], reader[f"num_val_{kind}"], reader.source_size)
            )
    assert len(worlds) == 2
    assert len({root for _, root, *_ in worlds}) == 1


def test_command_line_wins_over_the_layers():
    run = next(run for run in RUNS if run.name == "decoder")
    config = parse(run, "micro", "--model.unet.channels=48", "--ema.decay=0.5").config.fit
    assert config.model.init_args.unet.init_args.channels == 48
    assert config.ema.decay == 0.5
    assert config.checkpoint.save_last == "link"
