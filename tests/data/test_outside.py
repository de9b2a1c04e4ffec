"""What other programs open: ffprobe, Pillow, and importers of sprite sheets by Phaser's and Godot's rules."""

import json

import numpy as np
import pytest
import torch

from helpers.outside import FFPROBE, WITHOUT_FFPROBE, animation, godot, phaser, probe
from lightning_mav.data.codecs.pixels import to_uint8
from lightning_mav.data.export import save_video

needs_ffprobe = pytest.mark.skipif(FFPROBE is None, reason=WITHOUT_FFPROBE)
RATES = [1.0, 7.0, 8.0, 24.0, 29.97, 60.0, 120.0]
MS = {".gif": 10, ".webp": 1, ".apng": 1}  # unit in which each format counts time


def video(num_frames=9, height=24, width=40):
    frames = torch.full((3, num_frames, height, width), -0.5)
    for index in range(num_frames):
        frames[:, index, :, index % width] = 1
        frames[0, index] = index / num_frames
    return frames


@needs_ffprobe
@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize("size", [(24, 40), (1, 1), (17, 33), (2, 200)])
def test_ffprobe_reads_a_video_as_it_was_meant(fps, size, tmp_path):
    save_video(tmp_path / "a.mp4", video(9, *size), fps)
    found = probe(tmp_path / "a.mp4")
    assert (found["codec_name"], found["pix_fmt"], found["color_space"]) == ("h264", "yuv420p", "bt709")
    assert (found["height"], found["width"]) == tuple(side + side % 2 for side in size)
    assert found["frames"] == 9
    assert float(found["rate"]) == pytest.approx(fps, rel=1e-3)
    assert found["seconds"] == pytest.approx(9 / fps, rel=0.01)
    assert "mp4" in found["format"]


@pytest.mark.parametrize("suffix", MS)
@pytest.mark.parametrize("fps", RATES)
def test_each_frame_of_an_animation_lasts_as_long_as_it_should_within_the_unit(suffix, fps, tmp_path):
    save_video(tmp_path / f"a{suffix}", video(), fps)
    frames, times, loop = animation(tmp_path / f"a{suffix}")
    shortest = 20 if suffix == ".gif" else 11  # ms; browsers show shorter frames for 100 ms
    stride = int(-(-fps * shortest // 1000))
    assert len(frames) == -(-9 // stride)
    assert loop == 0
    ends = np.cumsum(times)
    wanted = np.minimum(np.arange(1, len(frames) + 1) * stride, 9) * 1000 / fps
    assert np.abs(ends - wanted)[:-1].max(initial=0) <= MS[suffix] / 2 + 1e-6
    assert abs(ends[-1] - wanted[-1]) <= max(MS[suffix] / 2, shortest)
    assert min(times) >= shortest


def hashed(layout):
    """Aseprite's other layout: frames by their name."""
    return {**layout, "frames": {entry["filename"]: entry for entry in layout["frames"]}}


@pytest.mark.parametrize("layout_of", [lambda layout: layout, hashed])
@pytest.mark.parametrize("fps", RATES)
def test_importers_of_sprite_sheets_play_the_video(layout_of, fps, tmp_path):
    save_video(tmp_path / "a cat.json", video(13), fps)
    path = tmp_path / "a cat.json"
    layout = layout_of(json.loads(path.read_text()))
    played = phaser(path, layout)
    true = to_uint8(video(13)).permute(1, 2, 3, 0).numpy()
    assert np.array_equal(np.stack([frame for frame, _ in played])[..., :3], true)
    assert np.abs(np.cumsum([time for _, time in played]) - np.arange(1, 14) * 1000 / fps).max() <= 0.5
    rate, regions, lengths = godot(path, layout)
    assert len(set(regions)) == 13
    assert [(frame.shape[1], frame.shape[0]) for frame, _ in played] == [region[2:] for region in regions]
    shortest = min(time for _, time in played)
    assert rate - 1000 / shortest < 1  # the importer's own rounding
    assert sum(lengths) * shortest == pytest.approx(13_000 / fps, abs=0.5)
