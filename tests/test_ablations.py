"""Ablations: those that are shipped, and a run from a YAML file to the page."""

import functools
import json
import sys

import pytest
import yaml
from test_configs import parse
from tiny_cascade import save_tiny_cascade

from lightning_mav import cli
from lightning_mav.cascade import Cascade
from lightning_mav.commands import claims
from lightning_mav.commands.ablation import load_ablation, needs_training, shipped
from lightning_mav.commands.ablations import Bench, _parser, is_documented, main, set_attribute
from lightning_mav.commands.runs import config_folder, scales
from lightning_mav.errors import UsageError
from lightning_mav.evaluation import Settings, load_settings
from lightning_mav.evaluation.ablations import JUDGES
from lightning_mav.evaluation.drawing import Drawing
from lightning_mav.evaluation.verdicts import compare

TINY = {
    "num_per_class": 1,
    "batch_size": 6,
    "num_windows": 3,
    "num_sr_videos": 3,
    "num_noise_videos": 3,
    "steps": 1,
}
NOISE = {
    "title": "Noise",
    "claim": "It does not matter.",
    "judge": "sr_h",
    "metrics": ["flicker", "psnr"],
    "compare": [{"better": "one", "than": "many", "metric": "flicker"}],
    "variants": {"one": {}, "many": {"how": {"method": "per_frame"}}},
}
NAMES = shipped()
parsed = functools.cache(parse)  # seconds each, and variants share their runs


# What is shipped.


@pytest.mark.parametrize("scale", ["micro", "nano"])
@pytest.mark.parametrize("name", NAMES)
def test_overrides_and_settings_of_every_ablation_are_accepted(name, scale):
    ablation = load_ablation(name)
    for variant in ablation.variants.values():
        load_settings(config_folder() / "eval" / "micro.yaml", **(ablation.settings | variant.settings))
        for training in variant.runs:
            assert training.steps[scale] > 0
            parsed(training.run, scale, *training.arguments(scale))


def test_those_without_training_come_first():
    trained = [needs_training(load_ablation(name)) for name in NAMES]
    assert trained == sorted(trained)
    assert set(trained) == {False, True}


def num_frames(training, scale):
    fit = parsed(training.run, scale, *training.arguments(scale)).config.fit
    data = fit.data.init_args
    if "video" not in data:
        return fit.trainer.max_steps * data.batch_size
    video = data.video.init_args
    return fit.trainer.max_steps * (video.batch_size * video.num_frames + data.image.init_args.batch_size)


@pytest.mark.parametrize("scale", ["micro", "nano"])
def test_image_start_and_scratch_see_as_many_frames(scale):
    variants = load_ablation("image_start").variants.values()
    totals = {sum(num_frames(training, scale) for training in variant.runs) for variant in variants}
    assert len(totals) == 1


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_tiny_cascade(tmp_path_factory.mktemp("weights"))


@pytest.mark.parametrize("name", [name for name in NAMES if not needs_training(load_ablation(name))])
def test_variants_of_every_ablation_can_be_judged(name, weights):
    ablation, found = load_ablation(name), {}
    judge, until = JUDGES[ablation.judge]
    for key, variant in ablation.variants.items():
        cascade = Cascade.from_pretrained(weights, "cpu", until=until)
        for attribute, value in variant.cascade.items():
            set_attribute(cascade, attribute, value)
        found[key] = judge(Drawing(cascade, Settings(**(TINY | variant.settings))), **variant.how)
        for metric in ablation.metrics:
            share = found[key][metric]
            assert share["low"] <= share["value"] <= share["high"]
    assert len({json.dumps(figures) for figures in found.values()}) > 1 or ablation.judge == "decoder"


# A run.


@pytest.fixture
def run(weights, tmp_path, monkeypatch):
    """Runs an ablation of a tiny cascade in an empty folder, and returns what it found by variant."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))

    def run(ablation, *arguments):
        (tmp_path / "own.yaml").write_text(yaml.safe_dump(ablation))
        main(["own.yaml", "--weights", str(weights), "--config", "tiny.yaml", *arguments])
        folder = tmp_path / "outputs/ablations/micro/own"
        return {key: json.loads((folder / key / "result.json").read_text()) for key in ablation["variants"]}

    return run


def test_run_writes_page_and_plot_and_skips_what_is_finished(run, weights, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    found = run(NOISE)
    page = (tmp_path / "outputs/ablations/micro/claims.md").read_text()
    outcome = compare("flicker", found["one"]["figures"]["flicker"], found["many"]["figures"]["flicker"])
    assert f"**Verdict: {outcome.word}.**" in page
    assert f"by flicker: {outcome.word}, by {outcome.gain['value']:.4f} [" in page
    assert "| many | " in page
    assert (tmp_path / "outputs/ablations/micro/ablations/own.png").stat().st_size > 1000
    assert "finished" not in capsys.readouterr().out

    results = sorted((tmp_path / "outputs/ablations/micro/own").glob("*/result.json"))
    before = [path.stat().st_mtime_ns for path in results]
    assert run(NOISE) == found
    assert [path.stat().st_mtime_ns for path in results] == before
    assert "own, one: finished" in capsys.readouterr().out

    changed = NOISE | {"variants": {"one": {}, "many": {"how": {"method": "bicubic"}}}}
    assert run(changed, "--out", "docs") != found
    out = capsys.readouterr().out
    assert "own, one: finished" in out
    assert "own, many: finished" not in out
    assert (tmp_path / "docs/claims.md").exists()

    (tmp_path / "own.yaml").rename(tmp_path / "other.yaml")
    main(["other.yaml", "--weights", str(weights), "--config", "tiny.yaml"])
    out = capsys.readouterr().out
    assert "other, many: finished, see outputs/ablations/micro/own/many" in out
    assert not (tmp_path / "outputs/ablations/micro/other").exists()


def test_shared_runs_are_trained_once_and_used(run, tmp_path, micro_world, capsys):
    pytest.importorskip("matplotlib")
    image = ["batch_size=2", "num_images=24", "num_val_images=8", "source_size=48", "image_size=8"]
    video = ["batch_size=2", "num_videos=6", "num_val_videos=4", "source_size=32", "image_size=8"]
    world = [f"root={micro_world}", "num_val_batches=1"]
    model = ["unet.channels=8", "unet.channel_mults=[1,2]", "unet.norm_groups=4", "unet.head_channels=8"]
    model += [
        "unet.attention_levels=[1]",
        "unet.image_embed_dim=8",
        "unet.context_channels=8",
        "image_size=8",
    ]
    model += ["num_samples=1", "sampler.num_steps=1"]
    common = [*(f"--model.{value}" for value in model), "--trainer.accelerator=cpu"]
    images = {"stage": "decoder", "phase": "image", "steps": {"micro": 2}}
    images["overrides"] = common + [f"--data.{value}" for value in image + world]
    mixed = [f"--data.video.{value}" for value in [*video, "seconds=2.0", *world]]
    mixed += [f"--data.image.{value}" for value in image + world]
    videos = {"stage": "decoder", "phase": "video", "steps": {"micro": 2}, "overrides": common + mixed}
    frozen = videos | {"overrides": [*videos["overrides"], "--model.trainable=temporal"]}
    ablation = {
        "title": "Frozen",
        "claim": "It matters.",
        "judge": "decoder",
        "metrics": ["appearance", "motion"],
        "compare": [{"better": "all", "than": "temporal", "metric": "motion"}],
        "variants": {"all": {"runs": [images, videos]}, "temporal": {"runs": [images, frozen]}},
    }
    found = run(ablation)
    out = capsys.readouterr().out
    assert out.count("training decoder_image to step 2") == 1
    assert out.count("training decoder to step 2") == 2
    assert found["all"]["figures"]["motion"]["n"] == 12
    folders = [path.name.partition("-")[0] for path in (tmp_path / "outputs/ablations/micro/runs").iterdir()]
    assert sorted(folders) == ["decoder", "decoder", "decoder_image"]
    trained = [tmp_path / "outputs/ablations/micro/own" / name / "weights" for name in ("all", "temporal")]
    (all_, temporal) = (Cascade.from_pretrained(path, "cpu", until="decoder").decoder.net for path in trained)
    assert not all_.conv_in.spatial.weight.equal(temporal.conv_in.spatial.weight)
    assert (
        "decoder_image 2 steps, decoder 2 steps"
        in (tmp_path / "outputs/ablations/micro/claims.md").read_text()
    )


def test_an_edited_layer_makes_another_run(weights, tmp_path, monkeypatch):
    layer = tmp_path / "decoder.yaml"
    monkeypatch.setattr("lightning_mav.commands.ablations.config_layers", lambda *_: [layer])
    specs = []
    for text in ("a: 1", "a: 1", "a: 2"):
        layer.write_text(text)
        ablation = load_ablation("image_start")
        bench = Bench("micro", str(weights))
        specs.append(bench._spec(ablation, ablation.variants["image_start"]))
    assert specs[0] == specs[1]
    assert specs[0] != specs[2]
    monkeypatch.setattr("lightning_mav.micro.world.WORLD_VERSION", -1)
    assert bench._spec(ablation, ablation.variants["image_start"])["runs"] != specs[2]["runs"]


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], True),
        (["noise", "guidance"], True),
        (["noise", "own.yaml"], False),
        (["own/noise.yaml"], False),
        (["noise", "--config", "quick.yaml"], False),
        (["noise", "--weights", "outputs/micro/weights"], False),
        (["noise", "--scale", "nano"], False),
    ],
)
def test_documentation_tells_of_what_is_shipped_alone(argv, expected):
    assert is_documented(_parser().parse_args(argv)) == expected


def test_page_keeps_the_sections_of_others(tmp_path):
    path = tmp_path / claims.PAGE
    for name, text in (("noise", "v1"), ("guidance", "other"), ("noise", "v2")):
        path.write_text(claims.insert(path, name, text))
    page = path.read_text()
    assert page.startswith("# Claims")
    assert page.count("# Claims") == page.count("<!-- noise:begin -->") == 1
    assert "v1" not in page
    assert page.index("other") < page.index("v2")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"judge": "taste"}, "no judge 'taste'; judges are decoder, prior"),
        ({"titel": "x"}, "titel"),
        ({"metrics": ["psnr"]}, "'flicker' is not among metrics"),
        ({"variants": {"one": {}}}, "no variant 'many'"),
        ({"variants": {"one": {}, "many": {"how": {"pace": 1}}}}, "no 'pace'; it has method"),
        ({"variants": {"one": {}, "many": {"how": {"method": "x"}}}}, "method must be one of together"),
        ({"variants": {"one": {}, "many": {"cascade": {"prior.x": 1}}}}, "the cascade has no 'prior.x'"),
        ({"variants": {"one": {}, "many": {"settings": {"frame_skips": 1}}}}, "frame_skips"),
        ({"variants": {"one": {}, "many": {"runs": [{"stage": "x", "phase": "image", "steps": {}}]}}}, "'x'"),
    ],
)
def test_mistakes_in_an_ablation_are_named(run, change, message):
    pytest.importorskip("matplotlib")
    with pytest.raises(UsageError, match=message):
        run(NOISE | change)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["nose"], "no ablation 'nose'; there are best_of_two, "),
        (["noise", "--scale", "huge"], f"no SCALE 'huge'; scales are {', '.join(scales())}"),
        (["image_start", "--scale", "base"], "no steps for SCALE 'base', only for micro, nano"),
        (["noise", "--weights", "no/where"], "no weights there"),
    ],
)
def test_mistakes_are_named_before_anything_is_run(argv, message, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=message):
        main(argv)
    assert not list(tmp_path.iterdir())


def test_missing_matplotlib_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SystemExit) as exit_info:
        cli.main(["ablations", "noise"])
    assert exit_info.value.code == 2
    assert "pip install -e '.[bench]'" in capsys.readouterr().err
