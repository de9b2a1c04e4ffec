"""Files hold the video that was written: its pixels, its frames, its rate."""

import av
import pytest
import torch
from PIL import Image

from helpers.reading import read_video
from lightning_mav.data.codecs.pixels import from_uint8, spread, to_frames, to_uint8
from lightning_mav.data.video import contact_sheet, stack_sheets, write_gif, write_mp4


def smooth_video(num_frames=10, height=48, width=64):
    """A gradient per channel that drifts from frame to frame."""
    y = torch.linspace(-0.8, 0.8, height)[None, :, None]
    x = torch.linspace(-0.8, 0.8, width)[None, None, :]
    f = torch.linspace(0, 0.2, num_frames)[:, None, None]
    return torch.stack([(x + f).expand(-1, height, -1), (y - f).expand(-1, -1, width), x * y + f])


def psnr(a, b):
    return 10 * torch.log10(4 / (a - b).square().mean())


def test_every_byte_survives_the_round_trip():
    pixels = torch.arange(256, dtype=torch.uint8)
    assert to_uint8(from_uint8(pixels)).equal(pixels)
    assert from_uint8(pixels).min() == -1
    assert from_uint8(pixels).max() == 1
    assert to_uint8(torch.tensor([-3.0, 3.0])).tolist() == [0, 255]


def test_frames_hold_the_pixels_of_a_video():
    video = torch.rand(3, 5, 4, 7) * 2 - 1
    frames = to_frames(video)
    assert frames.shape == (5, 4, 7, 3)
    assert frames[3, 2, 6].equal(to_uint8(video[:, 3, 2, 6]))
    for wrong in (video[None], video[:2], video[:, 0]):
        with pytest.raises(ValueError, match=r"a video must be \(3, F, H, W\), got"):
            to_frames(wrong)


@pytest.mark.parametrize("num", [1, 2, 7, 16])
def test_frames_are_spread_from_the_first_to_the_last(num):
    places = spread(40, num)
    assert places[0] == 0
    assert places[-1] == (39 if num > 1 else 0)
    assert len(places) == num
    assert len(places) < 3 or places.diff().max() - places.diff().min() <= 1


@pytest.mark.parametrize(("num_frames", "fps"), [(76, 40.0), (16, 8.0), (10, 29.97), (1, 5.0), (5, 450.0)])
def test_mp4_keeps_pixels_frames_and_rate(tmp_path, num_frames, fps):
    video = smooth_video(num_frames)
    write_mp4(tmp_path / "a.mp4", video, fps)
    again, fps_again = read_video(tmp_path / "a.mp4")
    assert again.shape == video.shape
    assert fps_again == pytest.approx(fps, rel=1e-6)
    assert psnr(again, video) > 38
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.frames, stream.codec_context.pix_fmt) == (num_frames, "yuv420p")


def test_colours_are_tagged_so_that_players_agree(tmp_path):
    colours = torch.tensor(
        [[1.0, -1, -1], [-1, 1, -1], [-1, -1, 1], [1, 1, 1], [-1, -1, -1], [0.2, 0.5, -0.5]]
    )
    video = colours.T[:, :, None, None].expand(-1, -1, 32, 32)
    write_mp4(tmp_path / "a.mp4", video, 4)
    assert (read_video(tmp_path / "a.mp4")[0] - video).abs().max() < 0.04


def test_odd_sizes_repeat_the_last_row_and_column(tmp_path):
    video = smooth_video(height=33, width=21)
    write_mp4(tmp_path / "a.mp4", video, 8)
    again, _ = read_video(tmp_path / "a.mp4")
    assert again.shape[-2:] == (34, 22)
    assert psnr(again[..., :33, :21], video) > 36


@pytest.mark.parametrize(("fps", "frames"), [(40.0, 76), (8.0, 76), (100.0, 38)])
def test_gif_lasts_as_long_as_the_video(tmp_path, fps, frames):
    write_gif(tmp_path / "a.gif", smooth_video(76), fps)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == frames
        assert gif.info["loop"] == 0
        durations = []
        for i in range(gif.n_frames):
            gif.seek(i)
            durations.append(gif.info["duration"])
    assert min(durations) >= 20
    assert sum(durations) == pytest.approx(1000 * 76 / fps, abs=10)


def test_gif_is_scaled_down_and_keeps_flat_colours(tmp_path):
    video = torch.ones(3, 2, 100, 800)
    video[1:, 1] = -1
    write_gif(tmp_path / "a.gif", video, 2, max_side=400)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.size == (400, 50)
        gif.seek(1)
        assert gif.convert("RGB").getpixel((3, 3)) == (255, 0, 0)


def test_contact_sheet_is_a_grid_under_its_title():
    video = torch.stack([torch.linspace(-1, 1, 76)] * 3)[:, :, None, None].expand(-1, -1, 24, 24)
    sheet = contact_sheet(video, fps=40, num_frames=16, columns=8, width=800)
    assert sheet.size == (800, 2 * (100 + 20))
    first, last = sheet.getpixel((50, 50)), sheet.getpixel((750, 170))
    assert first == (0, 0, 0)
    assert last == (255, 255, 255)
    assert contact_sheet(video, title="a red ball", columns=8, width=800).height > sheet.height
    assert contact_sheet(video[:, :3], columns=8, width=800).size == (800, 120)
    assert stack_sheets([sheet, sheet]).size == (800, 2 * sheet.height)


def test_a_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"got \(1, 2, 8, 8\)"):
        contact_sheet(torch.zeros(1, 2, 8, 8))
