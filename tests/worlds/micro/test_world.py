"""The micro-world is deterministic, looks the same at every size, and each shape moves by its own law."""

import pytest
import torch
import torch.nn.functional as F

from helpers.reading import parse_caption
from lightning_mav.worlds.micro.raster import AREA, EXTENT, SAG, coverage, pixel_centres
from lightning_mav.worlds.micro.world import (
    ALL,
    HELD_OUT,
    SEEN,
    SHAPES,
    Scenes,
    caption,
    captions,
    rasterise,
    render_images,
    render_videos,
    sample_scenes,
    sample_trajectories,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def places_of(shape, fps=10.0, num_frames=60):
    appearances = ALL[ALL[:, 0] == SHAPES.index(shape)]
    return sample_trajectories(appearances, fps, num_frames, seeded(3)).places.unbind(dim=-1)


def is_constant(track):
    return bool((track - track[:, :1]).abs().max() < 1e-5)


def test_every_appearance_exists_once_and_is_seen_or_held_out():
    rows = {tuple(row) for row in ALL.tolist()}
    seen, held_out = ({tuple(row) for row in part.tolist()} for part in (SEEN, HELD_OUT))
    assert len(ALL) == len(rows) == 288
    assert seen | held_out == rows
    assert not seen & held_out


def test_12_pairs_of_shape_and_colour_are_held_out_two_of_each_shape():
    pairs = {(shape, colour) for shape, colour, _, _ in HELD_OUT.tolist()}
    assert pairs == {(i, (i + k) % 8) for i in range(6) for k in (1, 5)}
    assert not pairs & {(shape, colour) for shape, colour, _, _ in SEEN.tolist()}


def test_full_captions_name_everything_and_differ():
    texts = [caption(row) for row in ALL]
    assert len(set(texts)) == 288
    assert caption([1, 0, 0, 0]) == "a small red star on a dark background"
    for text, (shape, colour, size, background) in zip(texts, ALL.tolist(), strict=True):
        assert parse_caption(text) == {
            "shape": shape,
            "colour": colour,
            "size": size,
            "background": background,
        }


def test_shorter_captions_name_less():
    assert captions([0, 1, 1, 2]) == [
        "an orange ball",
        "a large orange ball",
        "an orange ball on a white background",
    ]
    assert parse_caption("A red STAR.") == {"shape": 1, "colour": 0}
    assert parse_caption("something else") == {}


@pytest.mark.parametrize("kind", range(6))
def test_tables_of_extent_area_and_centroid_are_those_of_the_drawn_shape(kind):
    radius, size, grid = 0.6, 256, pixel_centres(256)
    angles = torch.linspace(0, 2 * torch.pi, 41) if SHAPES[kind] == "star" else torch.zeros(1)
    places = torch.stack([torch.tensor([0, 0, radius, angle]) for angle in angles])
    alpha = coverage(torch.full((len(places),), kind), places, size)
    assert alpha[0].mean() * 4 / radius**2 == pytest.approx(AREA[kind].item(), rel=0.01)
    assert grid[(alpha > 0.5).any(dim=1).any(dim=0)].abs().max() / radius == pytest.approx(
        EXTENT[kind, 0].item(), abs=0.03
    )
    assert grid[(alpha > 0.5).any(dim=2).any(dim=0)].abs().max() / radius == pytest.approx(
        EXTENT[kind, 1].item(), abs=0.03
    )
    y = (alpha[0].sum(dim=1) @ grid) / alpha[0].sum() / radius
    assert y.item() == pytest.approx(SAG[kind].item(), abs=0.01)


def test_same_generator_state_same_pixels():
    first, second, other = (render_videos(ALL[::9], 8.0, 4, 16, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(render_images(ALL, 16, seeded(1)), render_images(ALL, 16, seeded(1)))


@pytest.mark.parametrize("size", [48, 64, 192])
def test_same_scene_at_every_size(size):
    appearances, factor = ALL[torch.randperm(288, generator=seeded())[:24]], size // 16
    small = render_videos(appearances, 8.0, 2, 16, seeded(5))
    large = render_videos(appearances, 8.0, 2, size, seeded(5))
    assert small.shape == (24, 3, 2, 16, 16)
    assert large.shape == (24, 3, 2, size, size)
    difference = (F.avg_pool3d(large, (1, factor, factor)) - small).abs()
    assert difference.max() < 0.12
    assert difference.mean() < 0.001


def test_drawing_in_chunks_changes_nothing(monkeypatch):
    scenes = sample_scenes(ALL[::5], seeded())
    whole = rasterise(scenes, 16)
    monkeypatch.setattr("lightning_mav.worlds.micro.raster.CHUNK_ELEMENTS", 3 * 64 * 64)
    torch.testing.assert_close(rasterise(scenes, 16), whole)


def test_frame_rate_changes_when_we_look_not_what_happens():
    slow = sample_trajectories(ALL, 8.0, 10, seeded(2)).places
    fast = sample_trajectories(ALL, torch.full((288,), 16.0), 20, seeded(2)).places
    torch.testing.assert_close(slow, fast[:, ::2], atol=1e-5, rtol=0)


def test_objects_stay_inside():
    still, moving = sample_scenes(ALL, seeded(1)), sample_trajectories(ALL, 30.0, 150, seeded(1))
    for appearances, places in (still, moving):
        reach = places[..., :2].abs() + EXTENT[appearances[:, 0], None] * places[..., 2:3]
        assert reach.max() < 1
    border = torch.ones(128, 128, dtype=torch.bool)  # a pixel is thinner than the gap at the wall
    border[1:-1, 1:-1] = False
    for scenes in (still, Scenes(moving.appearances[::8], moving.places[::8, ::30])):
        edge = rasterise(scenes, 128)[..., border]
        torch.testing.assert_close(edge, edge[..., :1].expand_as(edge), atol=0.02, rtol=0)


def test_ball_falls_and_rises_on_one_vertical():
    x, y, radius, _ = places_of("ball", fps=100.0)
    assert is_constant(x)
    assert is_constant(radius)
    acceleration = y.diff(n=2, dim=1)
    falling = acceleration > 0
    assert falling.float().mean() > 0.97  # all but the moments on the floor
    assert (y.amax(dim=1) - y.amin(dim=1)).min() > 0.1


def test_star_turns_steadily_in_place():
    x, y, radius, angle = places_of("star")
    assert is_constant(x)
    assert is_constant(y)
    assert is_constant(radius)
    assert is_constant(angle.diff(dim=1))
    assert angle.diff(dim=1).abs().min() > 0.05


def test_square_slides_at_one_height():
    x, y, radius, _ = places_of("square")
    assert is_constant(y)
    assert is_constant(radius)
    step = x.diff(dim=1).abs()
    usual = step.median(dim=1, keepdim=True).values
    assert ((step - usual).abs() < 1e-4).float().mean() > 0.8
    assert (step <= usual + 1e-4).all()  # slower only where it turns back


def test_triangle_orbits_without_turning():
    x, y, radius, angle = places_of("triangle", num_frames=200)
    assert is_constant(radius)
    assert not angle.any()
    # Opposite points of the orbit are a diameter apart: the bounding box of the path is a square.
    width, height = x.amax(dim=1) - x.amin(dim=1), y.amax(dim=1) - y.amin(dim=1)
    torch.testing.assert_close(width, height, atol=0.02, rtol=0)
    centre_x, centre_y = (x.amax(dim=1) + x.amin(dim=1)) / 2, (y.amax(dim=1) + y.amin(dim=1)) / 2
    distance = torch.hypot(x - centre_x[:, None], y - centre_y[:, None])
    torch.testing.assert_close(distance, (width / 2)[:, None].expand_as(x), atol=0.02, rtol=0)


def test_ring_pulses_in_place():
    x, y, radius, _ = places_of("ring", num_frames=200)
    assert is_constant(x)
    assert is_constant(y)
    ratio = radius.amax(dim=1) / radius.amin(dim=1)
    torch.testing.assert_close(ratio, torch.full_like(ratio, 5 / 3), atol=0.02, rtol=0)


def test_cross_drifts_along_one_diagonal():
    x, y, radius, _ = places_of("cross")
    assert is_constant(radius)
    assert x.diff(dim=1).abs().max() > 0.01
    torch.testing.assert_close(x.diff(dim=1).abs(), y.diff(dim=1).abs(), atol=1e-5, rtol=0)


def test_speeds_vary_by_two_and_a_half():
    _, _, _, angle = places_of("star")
    speed = angle.diff(dim=1).abs().mean(dim=1)
    assert 2 < speed.max() / speed.min() <= 2.5
