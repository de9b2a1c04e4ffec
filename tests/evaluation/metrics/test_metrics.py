"""Metrics: the same as published formulas, whatever the batches and the number of processes."""

import math

import numpy as np
import open_clip
import pytest
import scipy.linalg
import torch
import torch.multiprocessing as mp
from torch import nn
from torch_fidelity.metric_fid import fid_statistics_to_metric
from torchmetrics.image.inception import InceptionScore
from torchmetrics.image.kid import poly_mmd

from lightning_mav.clip import Clip
from lightning_mav.evaluation.metrics import (
    ClipSim,
    FrechetVideoDistance,
    KernelVideoDistance,
    VideoInceptionScore,
    clip_sim,
    frechet_distance,
    frechet_distance_of,
    frechet_inception_distance,
    inception_score,
    kernel_distance,
)

VISION = {"width": 32, "layers": 1, "patch_size": 4, "head_width": 16}
TEXT = {"width": 32, "heads": 2, "layers": 2, "context_length": 16}


def features(num, dim, seed, decay=3.0, shift=0.0):
    """Correlated features whose standard deviations fall over ``decay`` decades."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dim, dim, generator=torch.Generator().manual_seed(dim)).double() / dim**0.5
    x = torch.randn(num, dim, generator=generator).double() @ mixing
    return x * torch.logspace(0, -decay, dim, dtype=torch.double) + shift


def moments(x):
    return x.mean(dim=0), torch.atleast_2d(x.T.cov())


def by_scipy(a, b):
    (mean_a, cov_a), (mean_b, cov_b) = ([part.numpy() for part in moments(x)] for x in (a, b))
    root = scipy.linalg.sqrtm(cov_a @ cov_b)
    return float(np.square(mean_a - mean_b).sum() + np.trace(cov_a + cov_b - 2 * root.real))


def by_torch_fidelity(a, b):
    stats = [{"mu": mean.numpy(), "sigma": cov.numpy()} for mean, cov in (moments(a), moments(b))]
    return fid_statistics_to_metric(*stats, verbose=False)["frechet_inception_distance"]


class Pixels(nn.Module):
    """A feature network of a line: the first ``num_features`` pixels."""

    def __init__(self, num_features=6):
        super().__init__()
        self.num_features = num_features

    def forward(self, video):
        return video.flatten(1)[:, : self.num_features]


@pytest.mark.parametrize(("num", "dim"), [(500, 40), (41, 40), (300, 160), (30, 1)])
def test_frechet_is_that_of_scipy_and_torch_fidelity(num, dim):
    a, b = features(num, dim, 0), features(2 * num, dim, 1, shift=0.1)
    for ours in (frechet_distance_of(a, b), frechet_distance(*moments(a), *moments(b))):
        assert ours == pytest.approx(by_scipy(a, b), rel=1e-6)
        assert ours == pytest.approx(by_torch_fidelity(a, b), rel=1e-6)


@pytest.mark.parametrize(("num_a", "num_b"), [(10, 12), (2, 100), (100, 7), (40, 41), (41, 41)])
def test_fewer_samples_than_dimensions(num_a, num_b):
    dim = 40
    a, b = features(num_a, dim, 0, decay=1), features(num_b, dim, 1, decay=1, shift=0.1)
    (mean_a, cov_a), (mean_b, cov_b) = moments(a), moments(b)
    # By the root of A, which is exact for singular matrices, where that of A B is not.
    values, vectors = torch.linalg.eigh(cov_a)
    root_a = vectors * values.clamp(min=0).sqrt() @ vectors.T
    middle = torch.linalg.eigvalsh(root_a @ cov_b @ root_a).clamp(min=0)
    middle = middle[middle > 1e-13 * middle[-1]].sqrt().sum()
    expected = float((mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * middle)
    assert frechet_distance_of(a, b) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(mean_a, cov_a, mean_b, cov_b) == pytest.approx(expected, rel=1e-6)
    assert by_torch_fidelity(a, b) == pytest.approx(expected, rel=1e-5)


def test_frechet_keeps_its_laws():
    a, b = features(200, 20, 0), features(300, 20, 1, shift=0.1)
    distance = frechet_distance_of(a, b)
    assert frechet_distance_of(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance_of(b, a) == pytest.approx(distance, rel=1e-9)
    assert frechet_distance_of(3 * a, 3 * b) == pytest.approx(9 * distance, rel=1e-9)
    rotation = torch.linalg.qr(torch.randn(20, 20, generator=torch.Generator().manual_seed(0)).double()).Q
    assert frechet_distance_of(a @ rotation, b @ rotation) == pytest.approx(distance, rel=1e-8)
    assert frechet_distance_of(a, a + 2) == pytest.approx(20 * 4, rel=1e-9)
    x, y = a[:, :1], b[:, :1]
    expected = (x.mean() - y.mean()) ** 2 + (x.std() - y.std()) ** 2
    assert frechet_distance_of(x, y) == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize("bad", [torch.zeros(1, 4), torch.full((3, 4), math.nan), torch.zeros(4)])
def test_what_has_no_distance_is_refused(bad):
    for distance in (frechet_distance_of, kernel_distance):
        with pytest.raises(ValueError, match="features"):
            distance(torch.randn(5, 4), bad)


def test_kernel_distance_is_the_published_estimate():
    a, b = features(50, 12, 0, decay=1), features(70, 12, 1, decay=1, shift=0.2)
    kernels = [(x @ y.T / 12 + 1) ** 3 for x, y in ((a, a), (a, b), (b, b))]
    n, m = len(a), len(b)
    expected = (kernels[0].sum() - kernels[0].trace()) / (n * (n - 1)) - 2 * kernels[1].mean()
    expected += (kernels[2].sum() - kernels[2].trace()) / (m * (m - 1))
    assert kernel_distance(a, b) == pytest.approx(float(expected), rel=1e-9)
    assert kernel_distance(a, b[:50]) == pytest.approx(float(poly_mmd(a, b[:50])), rel=1e-9)


def test_inception_score_is_torchmetrics():
    logits = 3 * torch.randn(64, 10, generator=torch.Generator().manual_seed(0))
    theirs = InceptionScore(feature=nn.Identity(), splits=1)
    theirs.update(logits)
    assert inception_score(logits) == pytest.approx(float(theirs.compute()[0]), rel=1e-6)
    assert inception_score(logits.log_softmax(dim=1)) == pytest.approx(inception_score(logits), rel=1e-6)


@pytest.mark.parametrize("num_splits", [2, 10])
def test_inception_score_in_splits_is_torchmetrics(num_splits):
    logits = 3 * torch.randn(60, 10, generator=torch.Generator().manual_seed(0))
    theirs = InceptionScore(feature=nn.Identity(), splits=num_splits)
    theirs.update(logits)
    torch.manual_seed(0)  # of the order in which samples are dealt out
    score = inception_score(logits, num_splits=num_splits)
    assert score == pytest.approx(float(theirs.compute()[0]), rel=1e-6)
    assert score < inception_score(logits)


def test_splits_do_not_follow_the_order_of_the_classes():
    logits = 1e4 * torch.eye(20).repeat_interleave(50, dim=0)  # class by class, as a protocol draws them
    assert inception_score(logits, num_splits=10) > 18  # 2 if each split held two classes
    with pytest.raises(ValueError, match="from 1 to the number of samples, 4, got 10"):
        inception_score(logits[:4], num_splits=10)


def test_inception_score_runs_from_one_to_the_number_of_classes():
    assert inception_score(torch.zeros(8, 5)) == pytest.approx(1)
    assert inception_score(1e4 * torch.eye(5).repeat(3, 1)) == pytest.approx(5)


def test_metrics_are_the_same_in_any_batches():
    generator = torch.Generator().manual_seed(0)
    real, generated = (torch.randn(24, 3, 2, 4, 4, generator=generator) for _ in range(2))
    results = []
    for size in (24, 7, 1):
        metrics = [
            FrechetVideoDistance(Pixels()),
            KernelVideoDistance(Pixels()),
            frechet_inception_distance(Pixels()),
        ]
        score = VideoInceptionScore(Pixels())
        for video, is_real in ((real, True), (generated, False)):
            for batch in video.split(size):
                for metric in metrics:
                    metric.update(batch, real=is_real)
                if not is_real:
                    score.update(batch)
        results.append([float(metric.compute()) for metric in (*metrics, score)])
    expected = Pixels()(real), Pixels()(generated)
    expected = [
        frechet_distance_of(*expected),
        kernel_distance(*expected),
        frechet_distance_of(*expected),
        inception_score(expected[1]),
    ]
    for result in results:
        assert result[:2] + result[3:] == pytest.approx(expected[:2] + expected[3:], rel=1e-10)
        assert result[2] == pytest.approx(expected[2], rel=1e-5)  # it returns single precision


def test_reset_may_keep_the_real_videos():
    real, generated = torch.randn(2, 12, 3, 1, 4, 4)
    metric = FrechetVideoDistance(Pixels(), reset_real_features=False)
    metric.update(real, real=True)
    metric.update(generated, real=False)
    first = metric.compute()
    metric.reset()
    with pytest.raises(ValueError, match="two generated videos"):
        metric.compute()
    metric.update(generated, real=False)
    assert metric.compute() == first


@pytest.mark.parametrize("kind", [FrechetVideoDistance, KernelVideoDistance, VideoInceptionScore])
def test_nothing_to_compare_is_an_error(kind):
    with pytest.raises(ValueError, match="got 0"):
        kind(Pixels()).compute()


@pytest.fixture(scope="module")
def clip():
    torch.manual_seed(0)
    return Clip(16, image_size=16, vision=VISION, text=TEXT).eval()


def test_clip_sim_is_a_loop_over_open_clip(clip):
    frames, texts = torch.rand(3, 3, 4, 16, 16) * 2 - 1, ["a red ball", "a blue star", "a cross"]
    assert isinstance(clip.model, open_clip.CLIP)
    expected = []
    with torch.no_grad():
        for video, text in zip(frames, texts, strict=True):
            word = clip.model.encode_text(clip.tokenize([text]), normalize=True)
            images = [clip.model.encode_image(video[None, :, f], normalize=True) for f in range(4)]
            expected.append(sum(float((word * image).sum()) for image in images) / 4)
    torch.testing.assert_close(clip_sim(clip, frames, texts), torch.tensor(expected))
    metric = ClipSim(clip)
    metric.update(frames[:1], texts[:1])
    metric.update(frames[1:], texts[1:])
    assert float(metric.compute()) == pytest.approx(sum(expected) / 3, rel=1e-5)
    assert torch.cat(metric.values).tolist() == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="as many texts"):
        clip_sim(clip, frames, texts[:2])


def _in_two_processes(rank, address, videos, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    metrics = {kind.__name__: kind(Pixels()) for kind in (FrechetVideoDistance, KernelVideoDistance)}
    score = VideoInceptionScore(Pixels())
    for name, video in videos.items():
        # Shares of different sizes, in batches of different sizes.
        share = video[:9] if rank == 0 else video[9:]
        for batch in share.split(2 + rank):
            for metric in metrics.values():
                metric.update(batch, real=name == "real")
        if name == "generated":
            score.update(share)
    result = {name: float(metric.compute()) for name, metric in metrics.items()}
    torch.save({**result, "score": float(score.compute())}, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_give_what_one_does(tmp_path):
    generator = torch.Generator().manual_seed(0)
    videos = {
        name: torch.randn(24, 3, 1, 2, 2, generator=generator) + shift
        for name, shift in (("real", 0), ("generated", 0.5))
    }
    arguments = f"file://{tmp_path}/store", videos, str(tmp_path)
    mp.start_processes(_in_two_processes, arguments, nprocs=2, start_method="fork")  # spares them the imports
    real, generated = (Pixels()(video) for video in videos.values())
    expected = {
        "FrechetVideoDistance": frechet_distance_of(real, generated),
        "KernelVideoDistance": kernel_distance(real, generated),
        "score": inception_score(generated),
    }
    for rank in range(2):
        assert torch.load(tmp_path / f"{rank}.pt") == pytest.approx(expected, rel=1e-9)
