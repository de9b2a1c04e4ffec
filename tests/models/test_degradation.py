"""What super-resolution sees in training: small frames, blurred or degraded, of the place of its target."""

import numpy as np
import pytest
import torch
from torchvision.transforms.functional import gaussian_blur

from helpers.nets import SR
from lightning_mav.datamodules.image_text import crop
from lightning_mav.diffusion import GaussianDiffusion, Sampler
from lightning_mav.models import degradation as steps
from lightning_mav.models import degrade, resize_frames
from lightning_mav.nn import Pseudo3DUNet
from lightning_mav.stages import SRHStage


def smooth(num=1, size=96):
    """Pictures of soft spots, far from the ends of the range, where noise would be clipped."""
    return resize_frames(torch.rand(num, 3, 1, 5, 5) * 2 - 1, size).clamp(-1, 1) * 0.4


def full(num):
    return torch.ones(num)


def sr_stage(scale=4, **kwargs):
    net = Pseudo3DUNet(**SR | {"residual": False, "temporal": False})
    return SRHStage(net, GaussianDiffusion("linear"), Sampler(num_steps=2), scale=scale, **kwargs)


def test_blur_of_unclip_is_that_of_torchvision():
    video = torch.rand(2, 3, 3, 12, 9) * 2 - 1
    expected = gaussian_blur(video.transpose(1, 2).flatten(0, 1), [3, 3], [0.6, 0.6])
    out = steps.blur(video, torch.tensor([0.6, 0.6]))
    torch.testing.assert_close(out.transpose(1, 2).flatten(0, 1), expected)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_degraded_video_is_small_in_range_and_repeatable(scale):
    torch.manual_seed(scale)
    video = torch.rand(6, 3, 2, 24 * scale, 16 * scale) * 2 - 1
    outs = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        outs.append(degrade(video, full(6), scale))
    assert outs[0].shape == (6, 3, 2, 24, 16)
    assert outs[0].abs().max() <= 1
    assert torch.equal(outs[0], outs[1])
    assert not torch.equal(outs[0], outs[2])


def test_a_still_stays_still_and_clips_differ():
    torch.manual_seed(0)
    out = degrade(smooth().expand(12, -1, 4, -1, -1), full(12), 3)
    assert torch.equal(out, out[:, :, :1].expand_as(out))
    for i in range(12):
        for j in range(i):
            assert (out[i] - out[j]).abs().max() > 0.01  # the same picture, degraded in two ways


def test_colours_stay_on_average_and_things_stay_in_place():
    torch.manual_seed(0)
    video = smooth(48)
    small = resize_frames(video, 32, mode="area")
    out = degrade(video, full(48), 3)
    assert (out - small).mean(dim=(2, 3, 4)).abs().max() < 0.04
    # Shifts of the whole by one pixel fit worse than none.
    inner = (..., slice(2, -2), slice(2, -2))
    here = (out - small)[inner].square().mean()
    for dim in (-1, -2):
        for shift in (-1, 1):
            assert (out - small.roll(shift, dim))[inner].square().mean() > 1.05 * here


def test_degradation_grows_with_its_level():
    torch.manual_seed(0)
    video = smooth(24)
    small = resize_frames(video, 32, mode="area")
    errors = [
        (degrade(video, torch.full((24,), level), 3) - small).square().mean(dim=(1, 2, 3, 4))
        for level in (0.0, 0.3, 1.0)
    ]
    assert errors[0].max() < 2e-3  # JPEGs of the best quality, and filters that differ
    assert 2 * errors[0].mean() < errors[1].mean()
    assert 2 * errors[1].mean() < errors[2].mean()
    assert errors[2].std() > 0.1 * errors[2].mean()  # each at strengths and in an order of its own


def test_noise_is_grey_coloured_or_between_and_as_strong_as_published():
    torch.manual_seed(0)
    flat, kinds = torch.zeros(1, 3, 2, 64, 64), {"grey": 0, "own": 0, "mixed": 0}
    for _ in range(200):
        noise = steps._noise(flat, 1.0)[0, :, 0].flatten(1)
        assert noise.std(dim=1).max() < 1.05 * 50 / 255
        correlation = torch.corrcoef(noise)[0, 1].abs().item()
        kind = "grey" if correlation > 0.999 else "own" if correlation < 0.06 else "mixed"
        if kind != "mixed":
            assert noise.std() > 0.9 * 4 / 255
        kinds[kind] += 1
    assert kinds["grey"] == pytest.approx(80, abs=25)  # two in five each, and one in five between
    assert kinds["own"] + kinds["mixed"] == pytest.approx(120, abs=25)
    assert kinds["mixed"] > 10


def test_any_size_comes_before_the_final_one_and_a_jpeg_ends(monkeypatch):
    torch.manual_seed(0)
    calls = []
    for name in ("_blur", "_resize", "_noise", "_jpeg"):
        whole = getattr(steps, name)
        monkeypatch.setattr(
            steps, name, lambda *args, n=name, f=whole: calls.append((n, args[1])) or f(*args)
        )
    orders = set()
    for _ in range(30):
        calls.clear()
        degrade(smooth(size=48), full(1), 3)
        names = [name for name, _ in calls]
        orders.add(tuple(names))
        assert names.count("_blur") == names.count("_resize") == 2
        assert [size for name, size in calls if name == "_resize"][1] == [16, 16]
        assert names.count("_noise") == 1
        assert names[-1] == "_jpeg"
    assert len(orders) > 10
    assert {order.count("_jpeg") for order in orders} == {1, 2}  # the other JPEG is left out at times


def test_a_stage_has_its_large_frames_degraded_and_samples_as_they_are():
    torch.manual_seed(0)
    stage = sr_stage(3, corruption="bsr", min_noise_level=1.0, max_noise_level=1.0, noise_level=1.0)
    images = smooth(2, size=48)[:, :, 0]
    torch.manual_seed(1)
    x_0, cond = stage.prepare({"image": images})
    assert cond["noise_level"].tolist() == [1.0, 1.0]
    torch.manual_seed(1)
    torch.rand(2)  # the levels
    expected = stage.model.upsample(degrade(images[:, :, None], full(2), 3))
    torch.testing.assert_close(cond["x_cond"], expected)
    small = stage.shrink(x_0)
    torch.testing.assert_close(
        stage.model.condition(small, full(2), torch.randn_like(x_0)), stage.model.upsample(small)
    )


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.3), (0.2, 0.6), (0.6, 0.6)])
def test_levels_of_training_lie_between_the_smallest_and_the_largest(low, high):
    stage = sr_stage(corruption="blur", min_noise_level=low, max_noise_level=high, noise_level=high)
    level = stage.prepare({"image": torch.zeros(400, 3, 16, 16)})[1]["noise_level"]
    assert level.min().item() == pytest.approx(low, abs=0.02)
    assert level.max().item() == pytest.approx(high, abs=0.02)
    if low == high:
        assert level.unique().tolist() == pytest.approx([0.6])


def test_a_smallest_level_above_the_largest_is_refused():
    with pytest.raises(ValueError, match=r"min_noise_level must be from 0 to 0\.3, got 0\.5"):
        sr_stage(min_noise_level=0.5)


def test_input_and_target_are_crops_of_one_place():
    # A ramp comes through shrinking and enlarging as it was, but for the edges that filters meet.
    stage = sr_stage(4, max_noise_level=0.0, noise_level=0.0)
    y, x = torch.meshgrid(torch.linspace(-0.8, 0.8, 128), torch.linspace(-0.5, 0.9, 128), indexing="ij")
    ramp, rng, places = torch.stack([y, x, (x - y) / 2])[None], np.random.default_rng(0), set()
    for _ in range(8):
        target = crop(ramp, 32, rng)
        x_0, cond = stage.prepare({"image": target})
        assert torch.equal(x_0[:, :, 0], target)
        inner = (..., slice(12, -12), slice(12, -12))
        torch.testing.assert_close(cond["x_cond"][inner], x_0[inner], atol=1e-5, rtol=0)
        places.add(target[0, 0, 0, 0].item() % 1)
    assert len(places) > 4


def test_a_network_of_crops_draws_whole_pictures():
    stage = sr_stage(4, corruption="blur", min_noise_level=0.6, max_noise_level=0.6, noise_level=0.6)
    torch.nn.init.normal_(stage.model.net.conv_out.spatial.weight, std=0.02)
    stage.loss({"image": torch.rand(2, 3, 16, 16)}).backward()
    whole = stage.model.sample(torch.rand(1, 3, 2, 16, 16) * 2 - 1)
    assert whole.shape == (1, 3, 2, 64, 64)
    assert whole.isfinite().all()
    assert whole.std() > 0.01
