"""Ablations: those that are shipped, and a run from a YAML file to the page."""

import functools
import json
import re
import sys

import numpy as np
import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from helpers.configs import parse
from helpers.places import ROOT
from helpers.tiny_cascade import save_tiny_cascade
from lightning_mav import cli
from lightning_mav.cascade import Cascade
from lightning_mav.cli.ablations import _parser, is_documented, main
from lightning_mav.datamodules.clips import ClipSampler
from lightning_mav.evaluation.ablations import page as claims
from lightning_mav.evaluation.ablations.design import load_ablation, needs_training, shipped
from lightning_mav.evaluation.ablations.judges import JUDGES
from lightning_mav.evaluation.ablations.records import read_records, write_record
from lightning_mav.evaluation.ablations.runs import Bench, _digest, set_attribute
from lightning_mav.evaluation.ablations.verdicts import VERDICTS, compare
from lightning_mav.evaluation.worlds import MicroSettings, load_micro_settings
from lightning_mav.evaluation.worlds.sampling import CascadeSampler
from lightning_mav.training.runs import config_folder, scales
from lightning_mav.utils.errors import UsageError

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
    "smallest": {"flicker": 0.0},
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
        load_micro_settings(config_folder() / "eval" / "micro.yaml", **(ablation.settings | variant.settings))
        for training in variant.runs:
            assert training.steps[scale] > 0
            parsed(training.run, scale, *training.arguments(scale, 7))


def test_those_without_training_come_first():
    trained = [needs_training(load_ablation(name)) for name in NAMES]
    assert trained == sorted(trained)
    assert set(trained) == {False, True}


def num_frames(training, scale):
    fit = parsed(training.run, scale, *training.arguments(scale, 7)).config.fit
    data = fit.data.init_args
    if "video" not in data:
        return fit.trainer.max_steps * data.batch_size
    video = data.video.init_args
    return fit.trainer.max_steps * (video.batch_size * video.num_frames + data.image.init_args.batch_size)


@pytest.mark.parametrize("scale", ["micro", "nano"])
@pytest.mark.parametrize("name", [name for name in NAMES if needs_training(load_ablation(name))])
def test_trained_variants_see_as_many_frames(name, scale):
    variants = load_ablation(name).variants.values()
    totals = {sum(num_frames(training, scale) for training in variant.runs) for variant in variants}
    assert len(totals - {0}) == 1


@pytest.mark.parametrize("scale", ["micro", "nano"])
@pytest.mark.parametrize("name", [name for name in NAMES if needs_training(load_ablation(name))])
def test_seeds_decide_the_order_of_the_data_too(name, scale):
    for variant in load_ablation(name).variants.values():
        for training in variant.runs:
            fit = parsed(training.run, scale, *training.arguments(scale, 7)).config.fit
            data = fit.data.init_args
            readers = [data.video.init_args, data.image.init_args] if "video" in data else [data]
            assert fit.seed_everything == 7
            assert {reader.seed for reader in readers} == {7}


@pytest.mark.parametrize("scale", ["micro", "nano"])
def test_frame_rates_in_random_order_are_those_of_the_curriculum(scale):
    def sampler(name):
        training = load_ablation("fps_curriculum").variants[name].runs[-1]
        fit = parsed(training.run, scale, *training.arguments(scale, 0)).config.fit
        video = fit.data.init_args.video.init_args
        keys = ("fps_range", "beta", "final_beta", "beta_batches", "mixed_batches")
        given = {key: video[key] for key in keys}
        return ClipSampler(16, **given), fit.trainer.max_steps

    (moving, steps), (mixed, same) = sampler("high_to_low"), sampler("mixed")
    assert steps == same == mixed.mixed_batches
    assert moving.mixed_batches == 0
    assert moving.beta_batches < steps
    times = torch.arange(1000, dtype=torch.double) / 60
    batches = np.linspace(0, steps - 1, 1500).astype(int)

    def rates(choose, batches):
        rng = np.random.default_rng(0)
        return np.sort([choose(times, rng, int(batch))[1] for batch in batches])

    of_moving, of_mixed = rates(moving, batches), rates(mixed, batches)
    assert np.abs(of_moving - of_mixed).mean() < 0.4
    early, late = np.zeros(800), np.full(800, steps - 1)
    assert rates(moving, early).mean() > rates(moving, late).mean() + 5
    assert abs(rates(mixed, early).mean() - rates(mixed, late).mean()) < 1


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_tiny_cascade(tmp_path_factory.mktemp("weights"))


@pytest.mark.parametrize("name", NAMES)
def test_variants_of_every_ablation_can_be_judged(name, weights):
    ablation, found = load_ablation(name), {}
    judge, until = JUDGES[ablation.judge]
    for key, variant in ablation.variants.items():
        cascade = Cascade.from_pretrained(weights, "cpu", until=until)
        for attribute, value in variant.cascade.items():
            set_attribute(cascade, attribute, value)
        found[key] = judge(CascadeSampler(cascade, MicroSettings(**(TINY | variant.settings))), **variant.how)
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
        paths = {key: sorted((folder / key).glob("**/result.json")) for key in ablation["variants"]}
        found = {key: [json.loads(path.read_text()) for path in files] for key, files in paths.items()}
        return {key: results[0] if len(results) == 1 else results for key, results in found.items()}

    return run


def test_run_writes_page_and_plot_and_skips_what_is_finished(run, weights, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    found = run(NOISE)
    page = (tmp_path / "outputs/ablations/micro/claims.md").read_text()
    outcome = compare("flicker", [found["one"]["figures"]["flicker"]], [found["many"]["figures"]["flicker"]])
    assert f"**Verdict: {outcome.word} for these weights, which are one training.**" in page
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
        "smallest": {"motion": 0.05},
        "variants": {"all": {"runs": [images, videos]}, "temporal": {"runs": [images, frozen]}},
    }
    found = run(ablation)
    out = capsys.readouterr().out
    assert out.count("training decoder_image to step 2") == 1
    assert out.count("training decoder to step 2") == 2
    assert found["all"]["figures"]["motion"]["n"] == 12
    page = (tmp_path / "outputs/ablations/micro/claims.md").read_text()
    assert "in this run, with one training of each variant.**" in page
    assert not re.search(r"Verdict: (holds|does not hold)", page)
    folders = [path.name.partition("-")[0] for path in (tmp_path / "outputs/ablations/micro/runs").iterdir()]
    assert sorted(folders) == ["decoder", "decoder", "decoder_image"]
    own = tmp_path / "outputs/ablations/micro/own"
    trained = [own / name / "seed_0/weights" for name in ("all", "temporal")]
    (all_, temporal) = (Cascade.from_pretrained(path, "cpu", until="decoder").decoder.net for path in trained)
    assert not all_.conv_in.spatial.weight.equal(temporal.conv_in.spatial.weight)
    assert (
        "decoder_image 2 steps, decoder 2 steps; once"
        in (tmp_path / "outputs/ablations/micro/claims.md").read_text()
    )

    found = run(ablation, "--seeds", "2")
    out = capsys.readouterr().out
    assert "own, all, seed 0: finished" in out
    assert out.count("training decoder_image to step 2") == 1
    assert out.count("training decoder to step 2") == 2
    first, second = ((own / f"all/seed_{seed}/weights/decoder.safetensors") for seed in (0, 1))
    assert not load_file(first)["net.conv_in.spatial.weight"].equal(
        load_file(second)["net.conv_in.spatial.weight"]
    )
    page = (tmp_path / "outputs/ablations/micro/claims.md").read_text()
    assert "with 2 trainings of each variant.**" in page
    assert "decoder_image 2 steps, decoder 2 steps; 2 times" in page
    record = read_records(tmp_path / "outputs/ablations/micro")["own"]
    gains = [
        a["figures"]["motion"]["value"] - b["figures"]["motion"]["value"]
        for a, b in zip(*found.values(), strict=True)
    ]
    assert record["comparisons"][0]["gain"]["value"] == pytest.approx(sum(gains) / 2)
    assert record["variants"]["all"]["trainings"] == 2


def test_an_edited_layer_makes_another_run(weights, tmp_path, monkeypatch):
    layer = tmp_path / "decoder.yaml"
    monkeypatch.setattr("lightning_mav.evaluation.ablations.runs.config_layers", lambda *_: [layer])
    specs = []
    for text in ("a: 1", "a: 1 # said otherwise", "a: 2"):
        layer.write_text(text)
        ablation = load_ablation("image_start")
        bench = Bench("micro", str(weights))
        specs.append(bench._spec(ablation, ablation.variants["image_start"], 0))
    assert specs[0] == specs[1]
    assert specs[0] != specs[2]
    assert bench._spec(ablation, ablation.variants["image_start"], 1) != specs[2]
    monkeypatch.setattr("lightning_mav.worlds.micro.world.WORLD_VERSION", -1)
    assert bench._spec(ablation, ablation.variants["image_start"], 0)["runs"] != specs[2]["runs"]


def test_digest_is_of_tensors_and_configuration_not_of_how_they_are_written(weights, tmp_path):
    path, other = weights / "prior.safetensors", tmp_path / "other.safetensors"
    tensors = load_file(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    config = json.loads(metadata["config"])

    def digests(tensors, config, **training):
        save_file(tensors, other, metadata={"more": "x", "config": json.dumps(config), **training})
        return _digest(other), _digest(other, header=False)

    mirrored = dict(reversed(config.items())) | {"class_path": f"elsewhere.{config['class_path']}"}
    assert digests(tensors, mirrored, training="{}") == (_digest(path), _digest(path, header=False))
    whole, content = digests(tensors, config | {"class_path": "another"})
    assert whole != _digest(path)
    assert content == _digest(path, header=False)
    name = min(tensors)
    assert digests(tensors | {name: tensors[name] + 1}, config)[1] != content
    other.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UsageError, match="is not usable"):
        _digest(other)


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


# The page.


def plain_record(word="holds", trainings=0, **pair):
    gain = {"value": 0.1, "low": 0.05, "high": 0.15}
    figures = {"motion": [{"value": 0.5, "low": 0.4, "high": 0.6, "n": 96}] * max(1, trainings)}
    variant = {"trained": "decoder 2 steps" if trainings else "", "trainings": trainings, "figures": figures}
    compared = {"better": "a", "than": "b", "metric": "motion", "word": word, "gain": gain, "wins": None}
    return {
        "title": "Title",
        "claim": "Claim.",
        "note": "",
        "weights": "the shipped weights",
        "metrics": ["motion"],
        "comparisons": [compared | {"smallest": 0.05, "trainings": trainings} | pair],
        "variants": {"a": variant, "b": variant},
        "origin": ["today"],
    }


@pytest.mark.parametrize("word", VERDICTS)
def test_words_of_a_verdict_say_how_many_trainings_are_behind_it(word):
    assert claims.headline(plain_record(word)) == f"{word} for the shipped weights, which are one training"
    assert claims.headline(plain_record(word, 3)) == f"{word}, with 3 trainings of each variant"
    once = claims.headline(plain_record(word, 1))
    assert once.endswith("in this run, with one training of each variant")
    assert "hold" not in once


def test_section_states_the_smallest_effect_or_the_margin():
    text = claims.section("x", plain_record())
    assert (
        "a better than b by motion: holds, by 10 [5, 15] points (smallest effect that counts: 5 points)"
        in text
    )
    equal = plain_record()
    pair = {key: value for key, value in equal["comparisons"][0].items() if key != "smallest"}
    text = claims.section("x", equal | {"comparisons": [pair | {"margin": 0.1}]})
    assert "a as good as b by motion: holds, by 10 [5, 15] points (margin: 10 points)" in text
    text = claims.section("x", plain_record(metric="loss", smallest=0.01) | {"metrics": []})
    assert "by 0.1000 [0.0500, 0.1500] (smallest effect that counts: 1%)" in text
    assert "| a | 50 (50, 50, 50) | 96 | decoder 2 steps; 3 times |" in claims.section(
        "x", plain_record(trainings=3)
    )
    assert "| a | 50 [40, 60] | 96 | decoder 2 steps; once |" in claims.section(
        "x", plain_record(trainings=1)
    )


def test_page_keeps_the_sections_of_others(tmp_path):
    (tmp_path / "ablations").mkdir()
    for name, title in (("noise", "v1"), ("guidance", "other"), ("noise", "v2")):
        write_record(tmp_path, name, plain_record() | {"title": title})
    page = claims.page(read_records(tmp_path))
    assert page.startswith("# Claims")
    assert page.count("# Claims") == 1
    assert "v1" not in page
    assert page.index("other") < page.index("v2")
    (tmp_path / "ablations/noise.json").write_text("{")
    with pytest.raises(UsageError, match=r"noise\.json: is no record"):
        read_records(tmp_path)


def test_documented_page_is_what_its_records_say():
    records = read_records(ROOT / "docs")
    assert (ROOT / "docs/claims.md").read_text() == claims.page(records)
    assert records.keys() == {*NAMES}
    for name, found in records.items():
        assert (ROOT / f"docs/ablations/{name}.png").is_file()
        once = {pair["trainings"] for pair in found["comparisons"]} == {1}
        assert once == ("in this run" in claims.headline(found))


@pytest.mark.parametrize("path", ["README.md", "lightning_mav/weights/micro/README.md"])
def test_what_is_quoted_from_the_page_stands_there(path):
    page = (ROOT / "docs/claims.md").read_text()
    quoted = [line for line in (ROOT / path).read_text().splitlines() if "docs/claims.md" in line]
    assert quoted
    cells = {
        cell for line in page.splitlines() if line.startswith("|") for cell in re.findall(r"[\d.]+", line)
    }
    for line in quoted:
        assert {*re.findall(r"([\d.]+)%", line)} <= cells
        words = [*VERDICTS, "better in this run", "worse in this run"]
        assert all(f": {word}" in page for word in words if word in line)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"judge": "taste"}, "no judge 'taste'; judges are decoder, prior"),
        ({"titel": "x"}, "titel"),
        ({"metrics": ["psnr"]}, "'flicker' is not among metrics"),
        ({"variants": {"one": {}}}, "no variant 'many'"),
        ({"smallest": {}}, "smallest: says nothing of 'flicker'"),
        ({"smallest": {"flicker": -1.0}}, "smallest: must be 0 or more, got -1"),
        ({"seeds": []}, "seeds: must be different numbers"),
        ({"seeds": [1, 1]}, "seeds: must be different numbers"),
        ({"compare": [NOISE["compare"][0] | {"than": "chance"}]}, "no variant 'chance'"),
        ({"compare": [NOISE["compare"][0] | {"margin": 0.0}]}, "margin must be above 0"),
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
        (["noise", "--seeds", "0"], "--seeds: must be a whole number from 1 to 100"),
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
