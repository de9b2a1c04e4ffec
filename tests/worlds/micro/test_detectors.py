"""Detectors read true videos right, and read no motion where there is none."""

import functools

import pytest
import torch
import torch.nn.functional as F

from lightning_mav.worlds.micro.detectors import MOTIONS, detect_frames, detect_videos
from lightning_mav.worlds.micro.motion import OTHER, fit_circle, group_frames, harmonic_fit, turning
from lightning_mav.worlds.micro.world import (
    ALL,
    BACKGROUND_RGB,
    SHAPES,
    Scenes,
    rasterise,
    render_images,
    render_videos,
    sample_trajectories,
)

NUM = 96


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(shape, seed=0):
    return torch.randn(shape, generator=seeded(seed))


def quantise(x):
    return ((x.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1


@functools.cache
def appearances():
    return ALL[torch.randperm(len(ALL), generator=seeded())[:NUM]]


@functools.cache
def true_videos(fps=8.0, num_frames=16, image_size=16):
    return quantise(render_videos(appearances(), fps, num_frames, image_size, seeded(1)))


def share(right):
    return right.float().mean().item()


def test_stills_are_read():
    frames = detect_frames(quantise(render_images(ALL, 16, seeded(2))))
    assert share(frames.shape == ALL[:, 0]) > 0.99
    assert share(frames.colour == ALL[:, 1]) > 0.99
    assert share(frames.background == ALL[:, 3]) > 0.99


@pytest.mark.parametrize(
    ("fps", "num_frames", "image_size"),
    [(4.0, 16, 16), (8.0, 16, 16), (15.0, 16, 16), (8.0, 16, 64), (40.0, 76, 16)],
)
def test_true_videos_are_read(fps, num_frames, image_size):
    found = detect_videos(true_videos(fps, num_frames, image_size))
    shape, colour, size, background = appearances().unbind(dim=1)
    assert share(found.shape == shape) > 0.98
    assert share(found.colour == colour) > 0.98
    assert share(found.background == background) > 0.98
    assert share(found.size == size) > 0.9
    assert share(found.motion == shape) > 0.97


def test_mild_noise_and_blur_are_forgiven():
    video = true_videos()
    blurred = F.avg_pool2d(F.pad(video.flatten(0, 1), (1, 1, 1, 1), mode="replicate"), 3, 1).view_as(video)
    for flawed in (video + 0.05 * noise(video.shape), 0.6 * video + 0.4 * blurred):
        found = detect_videos(flawed)
        assert share(found.shape == appearances()[:, 0]) > 0.95
        assert share(found.motion == appearances()[:, 0]) > 0.95


def test_motion_is_read_whatever_moves():
    squares = ALL[(ALL[:, 0] == SHAPES.index("square")) & (ALL[:, 2] == 0)]
    places = sample_trajectories(squares, 8.0, 16, seeded()).places
    balls = squares.clone()
    balls[:, 0] = SHAPES.index("ball")
    found = detect_videos(rasterise(Scenes(balls, places), 16))
    assert (found.shape == SHAPES.index("ball")).all()
    assert (found.motion == MOTIONS.index("slide")).all()


def static(std):
    video = true_videos()[:, :, :1].expand(-1, -1, 16, -1, -1)
    return quantise(video + std * noise(video.shape))


def jittered(pixels):
    video, shifts = static(0.0).clone(), torch.randint(-pixels, pixels + 1, (NUM, 16, 2), generator=seeded(3))
    for clip, shift in zip(video, shifts.tolist(), strict=True):
        for frame, by in enumerate(shift):
            clip[:, frame] = clip[:, frame].roll(by, dims=(1, 2))
    return video


def shuffled(fps, num_frames=16):
    video = true_videos(fps, num_frames)
    order = torch.rand(NUM, num_frames, generator=seeded(4)).argsort(dim=1)
    return video.gather(2, order[:, None, :, None, None].expand_as(video))


def unrelated(things):
    images = render_images(things, 16, seeded(5))
    return images.unflatten(0, (NUM, 16)).transpose(1, 2)


def blank(std):
    video = BACKGROUND_RGB[appearances()[:, 3]][:, :, None, None, None].expand(-1, -1, 16, 16, 16)
    return video + std * noise(video.shape)


CONTROLS = {
    "static": lambda: static(0.0),
    "static, noise .02": lambda: static(0.02),
    "static, noise .05": lambda: static(0.05),
    "jitter of 1 pixel": lambda: jittered(1),
    "jitter of 2 pixels": lambda: jittered(2),
    "shuffled, 4 fps": lambda: shuffled(4.0),
    "shuffled, 8 fps": lambda: shuffled(8.0),
    "shuffled, 15 fps": lambda: shuffled(15.0),
    "shuffled, 76 frames": lambda: shuffled(40.0, 76),
    "uniform noise": lambda: torch.rand(NUM, 3, 16, 16, 16, generator=seeded(6)) * 2 - 1,
    "blank": lambda: blank(0.0),
    "blank, noise .05": lambda: blank(0.05),
    "another image each frame": lambda: unrelated(
        ALL[torch.randint(len(ALL), (NUM * 16,), generator=seeded(7))]
    ),
    "the same thing elsewhere each frame": lambda: unrelated(appearances().repeat_interleave(16, dim=0)),
}


@pytest.mark.parametrize("name", CONTROLS)
def test_controls_have_no_motion(name):
    assert share(detect_videos(CONTROLS[name]()).motion != OTHER) < 0.03


@pytest.mark.parametrize("name", ["uniform noise", "blank", "blank, noise .05"])
def test_no_shape_is_seen_where_there_is_none(name):
    found = detect_videos(CONTROLS[name]())
    assert not found.clear.any()
    assert (found.shape == len(SHAPES)).all()


def test_harmonic_fit_is_one_on_harmonics_and_low_on_noise():
    time = torch.arange(16.0)
    wave = torch.stack([torch.cos(0.5 * time + 1), 2 * torch.sin(0.5 * time)], dim=-1)[None]
    assert harmonic_fit(wave).item() > 0.99
    assert harmonic_fit(3 + 5 * wave).item() == pytest.approx(harmonic_fit(wave).item(), abs=1e-5)
    assert share(harmonic_fit(noise((500, 16, 1))) > 0.8) < 0.01


def test_circle_is_found_from_an_arc():
    angle = torch.linspace(0, 1.5, 16)
    arc = torch.stack([0.2 + 0.3 * angle.cos(), -0.1 + 0.3 * angle.sin()], dim=-1)[None]
    centre, deviation = fit_circle(arc)
    torch.testing.assert_close(centre, torch.tensor([[0.2, -0.1]]), atol=1e-3, rtol=0)
    assert deviation.item() < 1e-3


def test_turning_counts_through_full_circles():
    steady = torch.arange(16.0)[None]
    net, steadiness, coherence = turning(steady.remainder(2 * torch.pi))
    assert net.item() == pytest.approx(15, abs=1e-4)
    assert steadiness.item() == pytest.approx(1, abs=1e-4)
    assert coherence.item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("num_frames", "num_points"), [(8, 8), (16, 16), (31, 31), (32, 16), (76, 19)])
def test_long_tracks_are_averaged(num_frames, num_points):
    track = torch.arange(float(num_frames))[None, :, None].expand(2, -1, 2)
    grouped = group_frames(track)
    assert grouped.shape == (2, num_points, 2)
    assert (grouped.diff(dim=1) > 0).all()
