"""How the stages sample: windows, chunks, shared noise. Small fake networks stand in for trained ones."""

import importlib
import json
import re
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from helpers.nets import tiny_decoder
from lightning_mav.diffusion import GaussianDiffusion, Sampler
from lightning_mav.models import SRH, SRLT, Decoder, Interpolation, Prior, mask_frames, resize_frames
from lightning_mav.models.degradation import blur
from lightning_mav.models.extrapolation import extend_video, join_videos
from lightning_mav.nn import Pseudo3DUNet, inflate
from lightning_mav.utils import configured
from lightning_mav.utils.configured import Configured, from_config
from lightning_mav.utils.errors import UsageError


class Fake(nn.Module):
    """Predicts ``x_0`` by a function of its inputs, and remembers them."""

    def __init__(self, predict):
        super().__init__()
        self.predict = predict
        self.calls = []
        self.num_conditions = 0

    def conditions(self, **cond):
        self.num_conditions += 1
        return cond

    def forward(self, x_t, t, conditions=None, **cond):
        conditions = cond if conditions is None else conditions
        self.calls.append({"x_t": x_t, "t": t, **conditions})
        return self.predict(x_t, **conditions)


def model(cls, predict, **kwargs):
    net = Fake(predict)
    return cls(net, GaussianDiffusion(prediction="x_0"), Sampler(num_steps=2), **kwargs), net


def test_conditions_are_computed_once_for_all_steps():
    decoder, net = model(Decoder, lambda x_t, **_: torch.zeros_like(x_t), image_size=2)
    decoder.sample(torch.randn(1, 4), torch.tensor([8.0]), num_steps=5, guidance_scale=3.0)
    assert (len(net.calls), net.num_conditions) == (5, 1)


def test_samples_keep_no_graph():
    # It would hold the activations of all steps: gigabytes for a few frames.
    decoder, _ = model(Decoder, lambda x_t, **_: x_t * nn.Parameter(torch.ones(())), image_size=2)
    assert torch.is_grad_enabled()
    assert not decoder.sample(torch.randn(1, 4), torch.tensor([8.0])).requires_grad


@pytest.mark.parametrize("still_until", [None, 0.4])
def test_samples_of_an_empty_batch_are_empty(still_until):
    none, fps, video = torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, 3, 16, 2, 2)
    decoder, _ = model(Decoder, lambda x_t, **_: x_t, image_size=2, still_until=still_until)
    assert decoder.sample(none, fps).shape == (0, 3, 16, 2, 2)
    between, _ = model(Interpolation, lambda x_t, **_: x_t)
    assert between.sample(video, none, fps, frame_skip=5).shape == (0, 3, 76, 2, 2)
    for stage in (SRLT, SRH):
        large, _ = model(stage, lambda x_t, **_: x_t, scale=3)
        assert large.sample(video).shape == (0, 3, 16, 6, 6)


def test_masked_frames_are_hidden():
    video, masked = torch.randn(1, 3, 4, 2, 2), torch.tensor([[False, True, True, False]])
    out = mask_frames(video, masked)
    assert torch.equal(out[:, :3, [0, 3]], video[:, :, [0, 3]])
    assert not out[:, :3, [1, 2]].any()
    assert out[0, 3, :, 0, 0].tolist() == [0, 1, 1, 0]


def test_masked_frames_are_blended_from_their_nearest_kept_neighbours():
    video = torch.arange(8.0).square().view(1, 1, 8, 1, 1).expand(2, 3, -1, 2, 2)
    masked = torch.tensor([[True, False, True, True, False, True, True, True], [True] * 7 + [False]])
    out = mask_frames(video, masked, blend=True)
    assert out[0, 0, :, 0, 0].tolist() == [1, 1, 6, 11, 16, 16, 16, 16]  # 1 and 16 are what is kept
    assert out[1, 2, :, 1, 1].tolist() == [49] * 8
    assert torch.equal(out[:, 3, :, 0, 0], masked.float())


def test_interpolation_loss_of_a_clip_is_a_share_of_what_the_blend_has():
    video = torch.rand(4, 3, 16, 2, 2) * torch.tensor([0.2, 0.4, 0.8, 1.0]).view(4, 1, 1, 1, 1)
    masked = (torch.arange(16) % 5 > 0).expand(4, -1).clone()
    masked[3, 1:] = True  # a frame alone is the worst that there is to blend
    for share in (0.0, 0.5, 1.0):  # of what is wrong with the blend

        def net(x_t, x_cond, share=share, **_):
            return torch.lerp(video, x_cond[:, :3], share)

        blending, _ = model(Interpolation, net, blend=True)
        loss = blending.loss(video, x_cond=mask_frames(video, masked, blend=True))
        assert loss.item() == pytest.approx(share**2, abs=1e-6)
    still = video[:, :, :1].expand(-1, -1, 16, -1, -1)
    loss = blending.loss(still, x_cond=mask_frames(still, masked, blend=True))
    assert loss.isfinite()  # where nothing moves, the blend is right


@pytest.mark.parametrize("frame_skip", range(1, 16))
@pytest.mark.parametrize("num_keys", [2, 9, 16])
def test_interpolation_keeps_key_frames_and_fills_every_other(frame_skip, num_keys):
    interpolation, _ = model(Interpolation, lambda x_t, **_: torch.full_like(x_t, 0.5))
    video = torch.rand(2, 3, num_keys, 2, 2) * 0.1
    out = interpolation.sample(video, None, torch.tensor([8.0, 8.0]), frame_skip=frame_skip)
    assert out.shape[2] == (num_keys - 1) * frame_skip + 1
    assert torch.equal(out[:, :, ::frame_skip], video)
    between = [f for f in range(out.shape[2]) if f % frame_skip]
    torch.testing.assert_close(out[:, :, between], torch.full_like(out[:, :, between], 0.5))


@pytest.mark.parametrize(("asked", "steps"), [(None, 5), (3, 3)])
def test_frames_outside_a_video_have_steps_of_their_own(asked, steps):
    interpolation, net = model(Interpolation, lambda x_t, **_: torch.zeros_like(x_t), extrapolation_steps=5)
    video, embed, fps = torch.rand(1, 3, 4, 2, 2), torch.randn(1, 4), torch.tensor([8.0])
    rest = {"image_embed": embed, "fps": fps, "num_steps": asked}
    for draw in (
        lambda: extend_video(interpolation, video, 12, **rest),
        lambda: extend_video(interpolation, video, 12, before=True, **rest),
        lambda: join_videos(interpolation, video, video, 8, **rest),
    ):
        net.calls.clear()
        draw()
        assert len(net.calls) == steps
    net.calls.clear()
    interpolation.sample(video, embed, fps)
    assert len(net.calls) == 2  # the sampler's own


def test_five_windows_make_76_frames_from_16():
    interpolation, net = model(Interpolation, lambda x_t, **_: torch.zeros_like(x_t))
    out = interpolation.sample(torch.rand(1, 3, 16, 2, 2), None, torch.tensor([40.0]), frame_skip=5)
    assert out.shape[2] == 76
    assert len(net.calls) == 2  # steps: all windows at once
    windows = net.calls[0]["x_cond"][:, 3, :, 0, 0]
    assert len(windows) == 5
    for masked in windows:
        assert (masked == 0).nonzero().flatten().tolist() == [0, 5, 10, 15]


@pytest.mark.parametrize("max_windows", [1, 2, 8])
def test_interpolation_does_not_depend_on_the_windows_at_once(max_windows, monkeypatch):
    interpolation, _ = model(Interpolation, lambda x_t, x_cond, fps, **_: 0.1 * x_t + x_cond[:, :3] / fps[0])
    video = torch.rand(2, 3, 16, 2, 2)

    def sample():
        fps = torch.tensor([8.0, 8.0])
        return interpolation.sample(video, None, fps, generator=torch.Generator().manual_seed(0))

    expected = sample()
    monkeypatch.setattr("lightning_mav.models.interpolation.MAX_WINDOWS", max_windows)
    torch.testing.assert_close(sample(), expected)


@pytest.mark.parametrize("frame_skip", [0, 16])
def test_impossible_frame_skip_is_refused(frame_skip):
    interpolation, _ = model(Interpolation, lambda x_t, **_: x_t)
    with pytest.raises(ValueError, match=f"frame_skip must be from 1 to 15, got {frame_skip}"):
        interpolation.sample(torch.rand(1, 3, 16, 2, 2), None, torch.tensor([8.0]), frame_skip=frame_skip)


@pytest.mark.parametrize("num_frames", [1, 7, 16, 17, 40, 76])
@pytest.mark.parametrize("overlap", [0, 4, 15])
def test_windows_of_time_leave_no_seam(num_frames, overlap):
    """A network that returns its condition must give the plain upsampled video, whatever the windows."""
    sr, _ = model(SRLT, lambda x_t, x_cond, **_: x_cond, scale=2, noise_level=0.0, overlap=overlap)
    video = torch.rand(2, 3, num_frames, 4, 4) * 2 - 1
    torch.testing.assert_close(sr.sample(video), sr.upsample(video))


def test_windows_of_time_share_the_noise_of_shared_frames():
    sr, net = model(SRLT, lambda x_t, x_cond, **_: x_cond, scale=2, overlap=4)
    sr.sample(torch.zeros(1, 3, 28, 4, 4), generator=torch.Generator().manual_seed(0))
    first, second = net.calls[0], net.calls[2]
    for key in ("x_t", "x_cond"):
        assert torch.equal(first[key][:, :, 12:], second[key][:, :, :4])
        assert not torch.equal(first[key][:, :, :4], second[key][:, :, :4])


def test_memory_of_windows_does_not_grow_with_the_video():
    sr, net = model(SRLT, lambda x_t, x_cond, **_: x_cond, scale=2)
    sr.sample(torch.zeros(1, 3, 100, 4, 4))
    assert {call["x_t"].shape[2] for call in net.calls} == {16}


def test_sr_h_starts_every_frame_from_the_same_noise():
    sr, net = model(SRH, lambda x_t, x_cond, **_: 0.1 * (x_t + x_cond), scale=2)
    video = torch.zeros(2, 3, 11, 4, 4)
    out = sr.sample(video, generator=torch.Generator().manual_seed(0), chunk_size=4)
    assert out.shape[2] == 11
    assert max(call["x_cond"].shape[2] for call in net.calls) == 4
    assert {call["x_t"].shape[2] for call in net.calls[::2]} == {1}  # one noise, looked at once
    torch.testing.assert_close(out, out[:, :, :1].expand_as(out))
    assert not torch.equal(out[0], out[1])


@pytest.mark.parametrize("chunk_size", [1, 3, 11, 50])
def test_sr_h_does_not_depend_on_the_chunks(chunk_size):
    sr, _ = model(SRH, lambda x_t, x_cond, **_: x_cond + 0.1 * x_t, scale=3)
    video = torch.rand(2, 3, 11, 4, 4)
    expected = sr.sample(video, generator=torch.Generator().manual_seed(0), chunk_size=8)
    out = sr.sample(video, generator=torch.Generator().manual_seed(0), chunk_size=chunk_size)
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize("clamp_input", [True, False])
def test_input_is_clamped_if_asked_for(clamp_input):
    sr, net = model(SRH, lambda x_t, x_cond, **_: x_cond, scale=2, noise_level=0.0, clamp_input=clamp_input)
    video = torch.ones(1, 3, 1, 8, 8)
    video[..., 4:] = -1  # bicubic filters overshoot at the edge
    sr.sample(video)
    assert bool(net.calls[0]["x_cond"].abs().max() > 1.01) is not clamp_input


def test_blur_is_a_gaussian_of_three_pixels_at_the_level_of_each_video():
    point = torch.zeros(3, 3, 2, 7, 7)
    point[..., 3, 3] = 1
    out = blur(point, torch.tensor([0.0, 0.6, 1.0]))
    assert torch.equal(out[0], point[0])
    for row, sigma in ((1, 0.6), (2, 1.0)):
        line = torch.exp(-torch.tensor([-1.0, 0.0, 1.0]).square() / (2 * sigma**2))
        expected = torch.outer(line, line) / line.sum() ** 2
        torch.testing.assert_close(out[row, :, :, 2:5, 2:5], expected.expand(3, 2, -1, -1))
        assert out[row].sum().item() == pytest.approx(6)
    flat = torch.full((1, 3, 1, 5, 5), 0.7)
    torch.testing.assert_close(blur(flat, torch.tensor([0.6])), flat)


def test_blurred_condition_is_blurred_small_and_its_level_is_told():
    sr, net = model(
        SRH, lambda x_t, x_cond, **_: x_cond, scale=2, corruption="blur", max_noise_level=0.6, noise_level=0.6
    )
    video = torch.rand(1, 3, 2, 8, 8)
    sr.sample(video)
    expected = sr.upsample(blur(video, torch.tensor([0.6])))
    torch.testing.assert_close(net.calls[0]["x_cond"], expected)
    assert net.calls[0]["noise_level"].tolist() == pytest.approx([0.6])


def test_unknown_corruption_is_refused():
    with pytest.raises(ValueError, match="corruption must be one of noise, blur, bsr, got 'fog'"):
        model(SRH, lambda x_t, **_: x_t, corruption="fog")


def test_corrupted_condition_keeps_its_variance():
    sr, _ = model(SRH, lambda x_t, **_: x_t)
    x = torch.randn(1, 3, 1, 200, 200)
    assert sr.corrupt(x, torch.tensor([0.3]), torch.randn_like(x)).std().item() == pytest.approx(1, abs=0.02)
    assert torch.equal(sr.corrupt(x, torch.tensor([0.0]), torch.randn_like(x)), x)


def test_resizing_by_area_averages():
    video = torch.rand(2, 3, 2, 8, 8)
    expected = video.unflatten(-1, (4, 2)).mean(-1).unflatten(-2, (4, 2)).mean(-2)
    torch.testing.assert_close(resize_frames(video, 4, mode="area"), expected)


def test_decoder_draws_what_it_is_asked_for():
    decoder, net = model(Decoder, lambda x_t, **_: x_t, image_size=6, num_frames=4)
    embed, seeds = torch.randn(2, 5), [torch.Generator().manual_seed(0) for _ in range(2)]
    first, second = (decoder.sample(embed, torch.tensor([4.0, 8.0]), generator=seed) for seed in seeds)
    assert first.shape == (2, 3, 4, 6, 6)
    assert torch.equal(first, second)
    assert first.abs().max() <= 1
    assert net.calls[0]["fps"].tolist() == [4.0, 8.0]
    assert decoder.sample(embed, num_frames=1).shape[2] == 1


@pytest.mark.parametrize(("embed_frame", "place"), [("first", 0), ("middle", 1)])
@pytest.mark.parametrize("guidance_scale", [1.0, 2.0])
def test_video_shows_the_still_and_moves_by_itself(guidance_scale, embed_frame, place):
    # Images are bright. Videos are dark and get brighter from frame to frame.
    moving = torch.tensor([-0.5, -0.4, -0.2])[None, None, :, None, None]

    def predict(x_t, fps=None, **_):
        return torch.full_like(x_t, 0.25) if fps is None else moving.expand_as(x_t)

    still = {"still_until": 0.0, "embed_frame": embed_frame}
    decoder, net = model(Decoder, predict, image_size=6, num_frames=3, **still)
    decoder.sampler = Sampler("diffusers.DDIMScheduler", num_steps=4)
    embed, fps, seen = torch.randn(2, 5), torch.tensor([4.0, 8.0]), []
    options = {"guidance_scale": guidance_scale, "progress": lambda *step: seen.append(step)}
    video = decoder.sample(embed, fps, **options)
    torch.testing.assert_close(video, (moving - moving[:, :, place] + 0.25).expand_as(video))
    assert [call["x_t"].shape[2] for call in net.calls] == [1] * 4 + [3] * 4  # the still first
    assert net.calls[0]["fps"] is None  # an image has none
    assert net.calls[-1]["fps"][:2].tolist() == [4.0, 8.0]
    assert seen == [(done, 8) for done in range(1, 9)]
    assert decoder.sample(embed, num_frames=1).shape[2] == 1  # a still alone
    decoder.still_until = 1.0  # never moved
    torch.testing.assert_close(decoder.sample(embed, fps), moving.expand_as(video))


@pytest.mark.parametrize(("embed_frame", "place"), [("first", 0), ("middle", 1)])
def test_a_given_still_is_where_its_embedding_belongs_and_the_rest_is_free_at_the_end(embed_frame, place):
    moving = torch.tensor([-0.5, -0.4, -0.2])[None, None, :, None, None]
    options = {"image_size": 6, "num_frames": 3, "embed_frame": embed_frame}
    decoder, _ = model(Decoder, lambda x_t, **_: moving.expand_as(x_t), **options)
    decoder.sampler = Sampler("diffusers.DDIMScheduler", num_steps=20)
    still = torch.rand(2, 3, 1, 6, 6)
    video = decoder.sample(torch.randn(2, 5), torch.tensor([4.0, 8.0]), still=still)
    wanted = moving.expand_as(video).clone()
    wanted[:, :, place] = still[:, :, 0]
    torch.testing.assert_close(video, wanted)


def test_learned_variances_are_not_moved_with_the_frames():
    def predict(x_t, fps=None, **_):
        estimate = torch.full_like(x_t, 0.5 if fps is None else -0.5)
        return torch.cat([estimate, torch.zeros_like(x_t)], dim=1)

    net, diffusion = Fake(predict), GaussianDiffusion(prediction="x_0", learned_variance=True)
    sampler = Sampler("diffusers.UnCLIPScheduler", num_steps=3)
    decoder = Decoder(net, diffusion, sampler, image_size=6, num_frames=3, still_until=0.0)
    video = decoder.sample(torch.randn(1, 5), torch.tensor([8.0]))
    torch.testing.assert_close(video, torch.full_like(video, 0.5), atol=0.05, rtol=0)


def test_the_last_steps_are_left_to_the_network():
    steps = []

    def predict(x_t, fps=None, **_):
        return torch.full_like(x_t, 0.5 if fps is None else -0.5)

    decoder, _ = model(Decoder, predict, image_size=6, num_frames=3, still_until=0.4)
    denoise = decoder.denoise

    def watch(noise, adjust=None, **kwargs):
        def noted(x_0, t):
            steps.append((int(t[0]), float(adjust(x_0, t)[0, 0, 0, 0, 0])))
            return x_0

        return denoise(noise, adjust=None if adjust is None else noted, **kwargs)

    decoder.denoise = watch
    decoder.sample(torch.randn(1, 5), torch.tensor([8.0]), num_steps=10)
    assert len(steps) == 10
    assert all((value == 0.5) == (t >= 400) for t, value in steps)


@pytest.mark.parametrize("until", [-0.1, 1.1, float("nan")])
def test_still_until_out_of_range_is_refused(until):
    with pytest.raises(ValueError, match="still_until"):
        model(Decoder, lambda x_t, **_: x_t, still_until=until)


def test_progress_counts_over_windows():
    sr, _ = model(SRLT, lambda x_t, x_cond, **_: x_cond, scale=2)
    seen = []
    sr.sample(torch.zeros(1, 3, 40, 4, 4), progress=lambda *args: seen.append(args))
    assert seen == [(i, 6) for i in range(1, 7)]


def test_config_rebuilds_a_module():
    decoder = tiny_decoder()
    rebuilt = from_config(decoder.config)
    assert rebuilt.config == decoder.config
    assert rebuilt.state_dict().keys() == decoder.state_dict().keys()
    assert rebuilt.diffusion.prediction == "v"
    assert rebuilt.sampler.num_steps == 3


@pytest.mark.parametrize(
    "class_path",
    ["os.system", "torch.nn.Linear", "lightning_mav.utils.configured.from_config", "lightning_mav.x.Y"],
)
def test_config_builds_nothing_but_this_package(class_path):
    with pytest.raises((ValueError, ImportError)):
        from_config({"class_path": class_path, "init_args": {}})


def test_subclass_records_its_own_arguments():
    class Base(Configured):
        def __init__(self, a, b=2):
            self.sum = a + b

    class Child(Base):
        def __init__(self, c):
            super().__init__(c, b=c)

    assert Child(3).config["init_args"] == {"c": 3}
    assert Base(1).config["init_args"] == {"a": 1, "b": 2}


OWN = """
from lightning_mav.utils.configured import Configured
from lightning_mav.utils.errors import UsageError
from lightning_mav.nn import Pseudo3DUNet, inflate

class UNet(Pseudo3DUNet):
    def __init__(self, *args, gain: float = 1.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.gain = gain

class Renamed(Pseudo3DUNet):
    pass

class Mixed(Configured):
    def __init__(self, a, /, b, *sizes, c=3, **more):
        self.given = (a, b, sizes, c, more)

class Bare(Configured):
    pass

class Keywords(Configured):
    def __init__(self, **kwargs):
        self.given = kwargs

class Stranger:
    pass

def make():
    class Local(Configured):
        def __init__(self, a=1): ...
    return Local()
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of one's own, which nobody has allowed yet."""
    (tmp_path / "own_networks.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(configured, "_own_modules", set())
    monkeypatch.delenv("MAV_IMPORT", raising=False)
    monkeypatch.delitem(sys.modules, "own_networks", raising=False)
    yield importlib.import_module("own_networks")
    sys.modules.pop("own_networks", None)


@pytest.mark.parametrize(
    "make",
    [
        lambda own: own.Mixed(1, 2),
        lambda own: own.Mixed(1, 2, 5, 6, c=7, d=8, e=[9]),
        lambda own: own.Mixed(1, b=2, sizes=3),
        lambda own: own.Keywords(kwargs=1, class_path="x"),
        lambda own: own.Keywords(),
    ],
)
def test_every_kind_of_argument_is_recorded(own, make):
    configured.allow_modules("own_networks")
    made = make(own)
    config = json.loads(json.dumps(made.config))
    again = from_config(config)
    assert again.given == made.given
    assert again.config == made.config == config


def test_classes_of_ones_own_are_recorded(own):
    configured.allow_modules("own_networks")
    sizes = {"channels": 8, "channel_mults": [1], "attention_levels": [], "norm_groups": 4}
    unet = own.UNet(3, 3, gain=2.0, **sizes)
    assert unet.config["init_args"] == {"*args": [3, 3], "gain": 2.0, **sizes}
    again = from_config(unet.config)
    assert (type(again), again.gain) == (own.UNet, 2.0)
    assert (
        inflate(again, Pseudo3DUNet(**sizes, temporal=False)).num_copied > 0
    )  # asks for no argument by name
    assert own.Bare().config == {"class_path": "own_networks.Bare", "init_args": {}}
    assert type(from_config(own.Renamed(**sizes).config)) is own.Renamed


@pytest.mark.parametrize("how", ["call", "environment"])
def test_classes_of_ones_own_are_built_once_their_module_is_allowed(own, how, monkeypatch):
    config = own.Bare().config
    with pytest.raises(ValueError, match=r"only name classes of lightning_mav, .*--import own_networks"):
        from_config(config)  # although it is imported
    if how == "call":
        configured.allow_modules("own_networks")
    else:
        monkeypatch.setenv("MAV_IMPORT", "json,own_networks")
    assert type(from_config(config)) is own.Bare
    for name in ("Stranger", "make", "Missing", "Configured", "Bare.x"):
        with pytest.raises(ValueError, match="own_networks"):
            from_config({"class_path": f"own_networks.{name}", "init_args": {}})


def test_config_imports_no_module(tmp_path, monkeypatch):
    (tmp_path / "trap").mkdir()
    (tmp_path / "trap" / "__init__.py").write_text("")
    (tmp_path / "trap" / "inner.py").write_text("raise SystemExit('executed')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(configured, "_own_modules", set())
    for class_path in ("trap.inner.UNet", "lightning_mav.__main__.UNet", "lightning_mav.cli.main"):
        with pytest.raises(ValueError, match=class_path.replace(".", r"\.")):
            from_config({"class_path": class_path, "init_args": {}})
    assert "trap" not in sys.modules
    configured.allow_modules("trap")  # that is not its inner module
    with pytest.raises(ValueError, match=r"--import trap\.inner"):
        from_config({"class_path": "trap.inner.UNet", "init_args": {}})


@pytest.mark.parametrize("code", ["import nothing_like_it", "1 +", "1 / 0"])
def test_module_that_cannot_be_imported_is_one_line(tmp_path, monkeypatch, code):
    (tmp_path / "broken_networks.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=r"^cannot import broken_networks \(.*\): mend that module$"):
        configured.allow_modules("broken_networks")
    with pytest.raises(UsageError, match=r"cannot import no_such_module .*PYTHONPATH names$"):
        configured.allow_modules("no_such_module")


def test_what_could_not_be_rebuilt_is_noticed_at_once(own, monkeypatch):
    configured.check_config(own.Mixed(1, 2, own.Bare(), more=[1, {"a": None}]))
    assert own.Bare().config["class_path"] == "own_networks.Bare"
    for value in (torch.nn.ReLU(), torch.float16, {1: 2}, Path("x"), lambda x: x, own.Stranger()):
        with pytest.raises(ValueError, match=r"own_networks.Keywords cannot be rebuilt: its argument deep"):
            configured.check_config(own.Mixed(1, own.Keywords(deep=value)))
    with pytest.raises(ValueError, match=r"own_networks.Stranger does not record its arguments"):
        configured.check_config(own.Stranger())
    with pytest.raises(ValueError, match=r"Local cannot be found again"):
        configured.check_config(own.make())
    monkeypatch.setattr(own.Bare, "__module__", "__main__")
    with pytest.raises(ValueError, match=r"__main__.Bare cannot be found again"):
        configured.check_config(own.Bare())


@pytest.mark.parametrize("home", ["lightning_mav.nn", "lightning_mav.nn.unet", "lightning_mav.models.gone"])
def test_class_is_found_by_its_name_wherever_it_was(home):
    config = tiny_decoder().config
    assert config["class_path"] == "lightning_mav.Decoder"
    assert config["init_args"]["net"]["class_path"] == "lightning_mav.Pseudo3DUNet"
    config["init_args"]["net"]["class_path"] = f"{home}.Pseudo3DUNet"
    assert type(from_config(config).net).__name__ == "Pseudo3DUNet"


def test_every_class_of_this_package_is_public():
    package = Path(configured.__file__).parents[1]
    names = {
        name
        for path in package.rglob("*.py")
        for name in re.findall(r"^class (\w+)\(.*Configured.*\):", path.read_text(), re.MULTILINE)
    }
    assert {"Clip", "DiffusionModel", "Sampler", "Pseudo3DUNet", "MicroVideoNetwork"} <= names
    for name in names | {cls.__name__ for cls in (Decoder, Interpolation, Prior, SRLT, SRH)}:
        cls = configured._find_class(f"lightning_mav.{name}")
        assert configured._find_class(f"lightning_mav.elsewhere.{name}") is cls
        assert configured._stable_name(cls) == f"lightning_mav.{name}"
