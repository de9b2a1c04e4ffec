"""Upscaling in windows and tiles: the same as in one piece, without seams, in memory that does not grow."""

import itertools

import pytest
import torch

from lightning_mav.diffusion import GaussianDiffusion, Sampler
from lightning_mav.models import SRH, SRLT
from lightning_mav.models.sampling import Sampling
from lightning_mav.models.tiling import PlacedNoise, count_tiles, fade_in, spans
from lightning_mav.models.upscaling import upscale_frames
from lightning_mav.nn import Pseudo3DUNet
from lightning_mav.weights import load_stage, weights_files

ROUNDING = 1e-3  # of half precision, in which frames wait


def small_net(**options):
    sizes = {
        "channels": 8,
        "channel_mults": (1, 2),
        "num_blocks": 1,
        "attention_levels": (),
        "norm_groups": 4,
    }
    net = Pseudo3DUNet(**sizes, cond_channels=3, noise_level_condition=True, residual=True, **options)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return net


@pytest.fixture(scope="module", autouse=True)
def seeded():
    torch.manual_seed(0)


def srlt(**options):
    return SRLT(
        small_net(fps_condition=True),
        GaussianDiffusion(prediction="x_0"),
        Sampler(num_steps=2),
        scale=2,
        **options,
    )


def srh(**options):
    net = small_net(temporal=False)
    return SRH(net, GaussianDiffusion(prediction="x_0"), Sampler(num_steps=2, **options), scale=3)


def clip(num_frames, height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(num_frames, 3, height, width, generator=generator) * 2 - 1


def upscaled(models, frames, **options):
    found = upscale_frames(
        models, iter(frames), 25.0, sampling=Sampling(seed=1), precision="32-true", **options
    )
    return torch.stack([*found])


@pytest.mark.parametrize("num_frames", [1, 3, 16, 17, 27, 28, 29, 41])
@pytest.mark.parametrize("overlap", [0, 4])
def test_windows_are_those_of_the_stage(num_frames, overlap, monkeypatch):
    """Without noise, what is streamed is what the stage gives for the whole video."""
    model, video = srlt(overlap=overlap), clip(num_frames, 10, 14)
    zeros = lambda low, frames, generator: low.new_zeros(2, 1, 3, frames, *model.enlarged(low))  # noqa: E731
    monkeypatch.setattr(model, "sample_frame_noise", zeros)
    monkeypatch.setattr(
        PlacedNoise, "_block", lambda self, draw, frame, y, x, channels: torch.zeros(channels, 64, 64)
    )
    whole = model.sample(video.transpose(0, 1)[None], torch.tensor([25.0]))[0].transpose(0, 1)
    torch.testing.assert_close(upscaled({"sr_lt": model}, video), whole, atol=ROUNDING, rtol=0)


@pytest.mark.parametrize("total", [1, 5, 16, 95, 96, 97, 100, 240, 1920])
@pytest.mark.parametrize("tile", [16, 64, 96])
def test_tiles_cover_a_side_evenly_and_overlap(total, tile):
    found = spans(total, tile)
    assert found[0].start == 0
    assert found[-1].stop == total
    assert len({len(span) for span in found}) == 1
    assert len(found[0]) <= tile
    shared = [a.stop - b.start for a, b in itertools.pairwise(found)]
    assert all(min(16, tile // 2) <= n <= len(found[0]) for n in shared)
    assert len(found) == 1 or (len(found) - 2) * (tile - min(16, tile // 2)) + tile < total


def test_noise_belongs_to_a_place_and_is_normal():
    noise = PlacedNoise(5)
    whole = noise(0, range(3), range(200), range(150))
    assert torch.equal(noise(0, range(1, 3), range(70, 131), range(10, 90)), whole[:, :, 1:, 70:131, 10:90])
    others = [noise(1, range(3), range(200), range(150)), PlacedNoise(6)(0, range(3), range(200), range(150))]
    for other in (*others, whole.roll(1, 2), whole.roll(64, 3), whole.roll(64, 4)):
        assert abs(float((whole * other).mean())) < 0.02
    assert abs(float(whole.mean())) < 0.01
    assert float(whole.std()) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("dim", [-1, -2])
def test_a_fade_is_smooth_and_begins_and_ends_with_one_of_the_two(dim):
    place = torch.full((1, 20, 20), 9.0)
    assert fade_in(place, torch.zeros(1, 20, 20).narrow(dim, 0, 12), range(12), 0, dim) == 12
    assert fade_in(place, torch.ones(1, 20, 20).narrow(dim, 0, 16), range(4, 20), 12, dim) == 20
    line = place[0, 0] if dim == -1 else place[0, :, 0]
    assert torch.equal(place[0], line.expand(20, 20) if dim == -1 else line[:, None].expand(20, 20))
    assert line[:6].tolist() == [0.0] * 6
    assert line[10:].tolist() == [1.0] * 10
    assert line.diff().min() >= 0
    assert line.diff().max() <= 0.26


def test_tiles_of_a_network_that_sees_nearby_pixels_alone_are_the_whole(monkeypatch):
    """Without norms over the frame, a tile differs from the whole only near its edge, which is faded out."""
    model, video = srh(), clip(2, 70, 90)

    def forward(x_t, t, *, conditions, **_):
        blurred = torch.nn.functional.avg_pool3d(x_t, (1, 5, 5), 1, (0, 2, 2), count_include_pad=False)
        return 0.3 * blurred + 0.7 * conditions[:, :, : x_t.shape[2]]

    monkeypatch.setattr(model.net, "conditions", lambda *, x_cond, **_: x_cond)
    monkeypatch.setattr(model.net, "forward", forward)
    whole = upscaled({"sr_h": model}, video, tile=10_000)
    assert count_tiles(model, (70, 90), 96) > 9
    torch.testing.assert_close(upscaled({"sr_h": model}, video, tile=96), whole, atol=ROUNDING, rtol=0)


def test_all_frames_of_sr_h_have_the_same_noise_and_frames_of_sr_lt_their_own():
    still = clip(1, 12, 20).expand(20, -1, -1, -1)
    for scheduler in ("diffusers.DPMSolverMultistepScheduler", "diffusers.DDPMScheduler"):
        large = upscaled({"sr_h": srh(scheduler=scheduler)}, still)
        assert torch.equal(large, large[:1].expand_as(large))
    large = upscaled({"sr_lt": srlt()}, still)
    assert (large[1:] - large[:-1]).abs().amax(dim=(1, 2, 3)).min() > 0


def test_a_seed_gives_the_same_frames_and_another_seed_others():
    models, video = {"sr_lt": srlt(), "sr_h": srh()}, clip(3, 9, 7)
    first = upscaled(models, video)
    assert first.shape == (3, 3, 54, 42)
    assert torch.equal(upscaled(models, video), first)
    other = upscale_frames(models, iter(video), 25.0, sampling=Sampling(seed=2), precision="32-true")
    assert (torch.stack([*other]) - first).abs().max() > 0.01


@pytest.mark.parametrize("num_frames", [1, 17, pytest.param(28, marks=pytest.mark.slow)])
def test_progress_ends_where_it_said_and_never_goes_back(num_frames):
    seen = {}
    sampling = Sampling(progress=lambda stage, done, total: seen.setdefault(stage, []).append((done, total)))
    models = {"sr_lt": srlt(), "sr_h": srh()}
    options = {"sampling": sampling, "precision": "32-true", "tile": 128, "num_frames": num_frames}
    assert len([*upscale_frames(models, clip(num_frames, 12, 80), 25.0, **options)]) == num_frames
    assert [*seen] == ["sr_lt", "sr_h"]
    for steps in seen.values():
        assert [done for done, _ in steps] == [*range(1, len(steps) + 1)]
        assert {total for _, total in steps} == {len(steps)}


def test_only_a_window_is_read_ahead():
    read = []

    def frames():
        for number, frame in enumerate(clip(60, 8, 8)):
            read.append(number)
            yield frame

    models, ahead = {"sr_lt": srlt(), "sr_h": srh()}, []
    for number, _ in enumerate(
        upscale_frames(models, frames(), 25.0, sampling=Sampling(), precision="32-true")
    ):
        ahead.append(len(read) - number)
    assert max(ahead) <= 16 + 12
    assert len(ahead) == len(read) == 60


@pytest.mark.parametrize("values", [{"tile": 63}, {"fps": 0.0}, {"fps": float("nan")}])
def test_wrong_numbers_are_refused(values):
    values = {"fps": 25.0, **values}
    with pytest.raises(ValueError, match=f"{'tile' if 'tile' in values else 'fps'} must be"):
        next(upscale_frames({"sr_h": srh()}, clip(1, 8, 8), sampling=Sampling(), **values))


def test_no_frames_give_no_frames():
    assert [*upscale_frames({"sr_lt": srlt(), "sr_h": srh()}, [], 25.0, sampling=Sampling())] == []


# Of the shipped emoji weights on drawn shapes. Their norms see a whole tile; on real footage more is seen.
MEAN, EDGE = 1.0, 0.05  # levels of 256; share by which steps between pixels may be larger where tiles meet


@pytest.mark.parametrize(
    ("stage", "num_frames", "size", "tile"),
    [("sr_h", 1, 128, 128), pytest.param("sr_lt", 2, 48, 96, marks=pytest.mark.slow)],
)
def test_tiles_of_shipped_weights_are_nearly_the_whole_without_seams(stage, num_frames, size, tile):
    model = load_stage(stage, weights_files("emoji")[stage]).eval()
    video = textured(num_frames, size)
    whole, tiled = (upscaled({stage: model}, video, tile=side) for side in (10_000, tile))
    levels = 127.5 * (tiled - whole).abs()
    assert 0 < levels.mean() < MEAN
    other = upscale_frames({stage: model}, video, 25.0, sampling=Sampling(seed=2), precision="32-true")
    assert levels.mean() < 127.5 * (torch.stack([*other]) - whole).abs().mean()
    found = spans(size, tile // model.scale)
    edges = [model.scale * edge - 1 for span in found for edge in (span.start, span.stop) if 0 < edge < size]
    assert edges
    for dim in (-1, -2):
        steps = [
            x.diff(dim=dim).abs().mean(dim=[i for i in range(4) if i != dim + 4]) for x in (tiled, whole)
        ]
        ratio = steps[0] / steps[1]
        assert ratio[edges].mean() < (1 + EDGE) * ratio.mean()


def textured(num_frames, size):
    """Soft shapes on white, which move to the right: what the shipped weights know."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    frames = []
    for k in range(num_frames):
        waves = torch.stack([((x - k) / (7 + 3 * c)).sin() * (y / (9 + c)).cos() for c in range(3)])
        disc = ((x - k - size / 2) ** 2 + (y - size / 2) ** 2 < (size / 2.6) ** 2).float()
        frames.append(torch.lerp(torch.ones(3, size, size), 0.7 * waves, disc))
    return torch.stack(frames)
