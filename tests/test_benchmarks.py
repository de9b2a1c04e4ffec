"""The harness of the benchmarks: turns, counted operations, sections, and that the peers build."""

import argparse
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from benchmarks import BENCHES, karlo, motion, networks, report, scaling, timing
from benchmarks.sensitivity import DAMAGES, STRENGTHS, measure, sample_videos
from helpers.places import ROOT
from lightning_mav.diffusion import GaussianDiffusion, Sampler
from lightning_mav.evaluation.features import load_features
from lightning_mav.models import Decoder
from lightning_mav.utils.errors import UsageError


class Clock:
    """A clock that moves only when told to."""

    def __init__(self):
        self.now, self.calls = 0.0, []

    def __call__(self):
        return self.now

    def takes(self, name, seconds):
        def call():
            self.calls.append(name)
            self.now += seconds

        return call


def test_turns_alternate_and_are_timed_after_the_warmups():
    clock = Clock()
    calls = {"a": clock.takes("a", 2.0), "b": clock.takes("b", 3.0)}
    times = timing.take_turns(calls, 3, warmups=2, clock=clock)
    assert clock.calls == ["a", "b"] * 5
    assert times == {"a": [2.0] * 3, "b": [3.0] * 3}
    assert timing.with_spread(timing.ratios(times["b"], times["a"])) == "1.50 (1.50..1.50)"


def test_ratio_is_taken_within_a_turn():
    """Load that slows a whole turn leaves the ratio alone."""
    assert timing.ratios([2, 20, 2], [1, 10, 1]) == [2, 2, 2]


@pytest.mark.parametrize("backward", [False, True])
def test_operations_of_known_layers(backward):
    x = torch.randn(5, 3, 8, 8, requires_grad=True)
    layers = [
        (nn.Linear(8, 7), 2 * (5 * 3 * 8) * 8 * 7),
        (nn.Conv2d(3, 4, 3, padding=1), 2 * (5 * 8 * 8) * 3 * 4 * 9),
    ]
    for layer, flops in layers:

        def call(layer=layer):
            y = layer(x)
            if backward:
                y.sum().backward()

        assert timing.count_flops(call) == flops * (3 if backward else 1)


def test_attention_is_counted_on_a_cpu():
    q = torch.randn(2, 4, 64, 8)
    attend = nn.functional.scaled_dot_product_attention
    assert timing.count_flops(lambda: attend(q, q, q)) == 2 * (2 * 2 * 4 * 64 * 64 * 8)


def test_our_step_is_counted_whatever_its_gradients_are_made_of():
    """A backward pass is two forward passes, but for the first layer's input."""
    training = networks.Training("ours", "fp32", channels=32, frames=8, size=16, attention_levels=())
    forward = timing.count_flops(lambda: training.call(training.video))
    assert timing.count_flops(training) == pytest.approx(3 * forward, rel=0.04)


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_every_network_makes_a_step(name):
    if name != "ours":
        pytest.importorskip("make_a_video_pytorch" if name == "make-a-video-pytorch" else "diffusers")
    training = networks.Training(name, "fp32", channels=32, frames=2, size=16)
    with torch.no_grad():
        assert training.call(training.video).shape == training.video.shape
    training.gradient()
    missing = [key for key, p in training.model.named_parameters() if p.grad is None or not p.grad.any()]
    assert set(missing) <= {"image_embedding.null"}  # no embedding is dropped
    training()
    assert all(p.grad is None for p in training.model.parameters())


def test_karlo_without_a_gpu_is_one_line():
    pytest.importorskip("make_a_video_pytorch")
    if torch.cuda.is_available():
        pytest.skip("there is one")
    result = benchmarks("train", "--no-docs", "--preset", "karlo")
    assert result.returncode == 2
    assert result.stderr == "benchmarks: error: --preset karlo needs a GPU\n"


def test_recomputing_is_chosen_for_a_network_that_exists():
    training = networks.Training("ours", "fp32", channels=32, frames=2, size=16, attention_levels=())
    plain = timing.count_flops(training.gradient)
    karlo.recompute(training.model, True)
    assert timing.count_flops(training.gradient) == pytest.approx(4 / 3 * plain, rel=0.05)
    karlo.recompute(training.model, False)
    assert timing.count_flops(training.gradient) == plain


def test_karlo_compares_what_fits_into_memory(monkeypatch):
    """On a pretended GPU, with small networks: turns, ratios and what is said of the peer without room."""

    def peer(name, precision, batch):
        if name == "diffusers-unet3d":
            raise torch.OutOfMemoryError
        return karlo.contender(networks.Training("ours", precision, channels=32), 7, held=0, flops=5)

    held, most = iter(range(0, 90, 10)), iter(range(1000, 9000, 1000))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: next(held))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: next(most))
    for name in ("reset_peak_memory_stats", "empty_cache"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H100 80GB HBM3")
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)  # put back afterwards
    monkeypatch.setattr(networks, "compile_network", lambda network, parts: None)
    pretended = SimpleNamespace(device=lambda: torch.device("cuda"), precisions=lambda wanted=None: ["fp32"])
    monkeypatch.setattr(karlo, "machine", pretended)
    product = SimpleNamespace(peak=lambda seconds: 2e12)
    monkeypatch.setattr(karlo, "MatrixProduct", lambda device, precision: product)
    seconds = {karlo.EAGER: 4.0, karlo.COMPILED: 2.0, karlo.RECOMPUTED: 6.0, "diffusers-motion": 1.0}
    monkeypatch.setattr(
        karlo, "take_turns", lambda calls, turns, title: {name: [seconds.get(name, 1.0)] for name in calls}
    )
    monkeypatch.setattr(karlo, "profile", lambda step: report.Table(["kernel"], []))
    monkeypatch.setattr(karlo, "peer", peer)
    monkeypatch.setattr(
        karlo, "KARLO", {"channels": 32, "num_blocks": 1, "head_channels": 32, "embed": 16, "context": 16}
    )
    monkeypatch.setattr(
        networks.Training.__init__, "__kwdefaults__", {"channels": 32, "frames": 2, "size": 16, "batch": 1}
    )
    args = argparse.Namespace(
        precision=None, batch=1, turns=1, peers=["diffusers-motion", "diffusers-unet3d"]
    )
    section = karlo.run(args)
    rows = {row[0]: row[1:] for row in section.tables[0].rows}
    assert list(rows) == [karlo.EAGER, karlo.COMPILED, karlo.RECOMPUTED, "diffusers-motion"]
    ratio = {name: row[5].split()[0] for name, row in rows.items()}
    assert (ratio[karlo.EAGER], ratio[karlo.COMPILED], ratio[karlo.RECOMPUTED]) == ("2.00", "1", "3.00")
    assert len({rows[name][1] for name in (karlo.EAGER, karlo.COMPILED, karlo.RECOMPUTED)}) == 1
    text = " ".join(section.paragraphs)
    assert "diffusers-unet3d did not fit" in text
    assert "takes 1.50 (1.50..1.50) times as long" in text
    assert "of the 989 TFLOP/s that the H100's datasheet promises" in text


def test_exponent_of_a_power():
    xs = [1, 2, 5]
    assert scaling.exponent(xs, [3 * x**1.7 for x in xs]) == pytest.approx(1.7)


def section(name, cell="1"):
    table = report.Table(["network", "s"], [["ours", cell]])
    return report.Section(name, name.title(), ["Text."], [table], ["picture.png"])


def test_a_section_replaces_only_itself(tmp_path):
    path = tmp_path / "benchmarks.md"
    for name in ("scaling", "train", "memory", "train-karlo"):
        report.write(section(name), "note", path)
    before = path.read_text()
    starts = [
        before.index(f"<!-- {name}:begin -->") for name in ("train", "train-karlo", "memory", "scaling")
    ]
    assert starts == sorted(starts)
    assert before.startswith(report.INTRODUCTION)
    report.write(section("train"), "note", path)
    assert path.read_text() == before
    path.write_text(before.replace("# Benchmarks", "# By hand"))
    report.write(section("train", cell="2"), "note", path)
    after = path.read_text()
    assert after.count("| ours | 2 |") == 1
    assert after.replace("| ours | 2 |", "| ours | 1 |") == before.replace("# Benchmarks", "# By hand")
    assert [file.name for file in tmp_path.iterdir()] == ["benchmarks.md"]


def test_a_file_is_written_at_once_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "benchmarks.md"
    path.write_text("before")

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        report.write(section("train"), "note", path)
    assert path.read_text() == "before"
    assert [file.name for file in tmp_path.iterdir()] == ["benchmarks.md"]


def benchmarks(*arguments, code="import runpy; runpy.run_module('benchmarks', run_name='__main__')"):
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_an_unknown_bench_is_one_line():
    result = benchmarks("no-such")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "'no-such'" in result.stderr
    assert all(name in result.stderr for name in BENCHES)


@pytest.mark.slow
def test_a_missing_peer_is_one_line():
    hide = (
        "import sys; sys.modules['make_a_video_pytorch'] = None; from benchmarks.__main__ import main; main()"
    )
    result = benchmarks("train", "--no-docs", code=hide)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "pip install -e '.[bench]'" in result.stderr


def test_damages_keep_what_they_do_not_touch():
    video, generator = sample_videos(4, 0), torch.Generator().manual_seed(0)
    for name, damage in DAMAGES.items():
        damaged = damage(video, 0.5, generator)
        assert damaged.shape == video.shape
        assert not damaged.equal(video), name
    shuffled = DAMAGES["shuffle"](video, 1.0, generator)
    torch.testing.assert_close(*(x.sum(dim=(1, 3, 4)).sort(dim=1).values for x in (shuffled, video)))
    frozen = DAMAGES["freeze"](video, 1.0, generator)
    assert frozen.equal(video[:, :, :1].expand_as(video))


@pytest.mark.slow
def test_distance_rises_with_damage():
    distances = measure(load_features("micro_video"), num=160)
    for name in DAMAGES:
        assert len(distances[name]) == len(STRENGTHS)
        assert distances[name] == sorted(distances[name]), name
        assert distances[name][-1] > 3 * distances["none"][0], name


def test_motion_is_known_where_the_estimate_moves_like_the_truth():
    videos = torch.randn(10, 3, 4, 8, 8).clamp(-1, 1)

    class Known(nn.Module):
        """Knows each video by the number in its embedding, and shows it darker and over another ground."""

        def conditions(self, image_embed, fps):
            return image_embed

        def forward(self, x_t, t, conditions):
            return videos[conditions[:, 0].long()] / 2 + 0.25

    decoder = Decoder(Known(), GaussianDiffusion(prediction="x_0"), Sampler(), image_size=8, num_frames=4)
    own = torch.arange(10.0)[:, None]
    assert motion.correlation(decoder, videos, own) == pytest.approx(1, abs=1e-3)
    assert abs(motion.correlation(decoder, videos, own.roll(1, 0))) < 0.2


@pytest.mark.parametrize("text", ["decoder", "=decoder", "decoder="])
def test_a_decoder_without_a_name_or_weights_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="must be NAME=WEIGHTS"):
        motion.named(text)


def test_two_decoders_of_one_name_are_refused():
    with pytest.raises(UsageError, match="--decoder=a=micro/decoder: a is taken"):
        motion.load_decoders([("a", "micro/decoder"), ("a", "micro/decoder")])
