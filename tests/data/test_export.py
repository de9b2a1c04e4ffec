"""Animations, frames and sprite sheets hold the video that was written, as other programs read them."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from lightning_mav.data import export
from lightning_mav.data.animated import durations
from lightning_mav.data.codecs.animations import read_animation
from lightning_mav.data.codecs.pixels import to_uint8
from lightning_mav.data.export import save_video
from lightning_mav.data.matte import cut_out, flood

ANIMATIONS = [".webp", ".apng", ".gif"]


def moving_square(num_frames=7, size=24, ground=1.0, colour=(-0.6, 0.2, -0.9)):
    """A square with a hole of the ground's colour, which moves to the right."""
    video = torch.full((3, num_frames, size, size), ground)
    alpha = torch.zeros(num_frames, size, size)
    for index in range(num_frames):
        video[:, index, 4:16, index : index + 12] = torch.tensor(colour)[:, None, None]
        video[:, index, 8:12, index + 4 : index + 8] = ground
        alpha[index, 4:16, index : index + 12] = 1
    return video, alpha


def read(path):
    with Image.open(path) as image:
        frames, times = [], []
        for index in range(image.n_frames):
            image.seek(index)
            frames.append(np.asarray(image.convert("RGBA")))
            times.append(image.info["duration"])
        return np.stack(frames), times, image.info["loop"]


@pytest.mark.parametrize("suffix", ANIMATIONS)
@pytest.mark.parametrize("fps", [40.0, 8.0, 29.97, 7.0])
def test_animations_last_as_long_as_the_video_and_never_end(suffix, fps, tmp_path):
    video, alpha = moving_square(12)
    save_video(tmp_path / f"a{suffix}", video, fps, alpha=alpha)
    frames, times, loop = read(tmp_path / f"a{suffix}")
    assert (len(frames), loop) == (12, 0)
    assert abs(sum(times) - 12_000 / fps) <= (5 if suffix == ".gif" else 0.5)


@pytest.mark.parametrize("suffix", ANIMATIONS)
@pytest.mark.parametrize("fps", [60.0, 91.0, 120.0, 360.0, 1364.0])
def test_fast_videos_last_as_long_in_a_browser(suffix, fps, tmp_path):
    video, alpha = moving_square(60, size=80)
    save_video(tmp_path / f"a{suffix}", video, fps, alpha=alpha)
    _, ends = read_animation((tmp_path / f"a{suffix}").read_bytes())  # shown as long as in a browser
    assert ends[-1] == pytest.approx(60_000 / fps, abs=20)


@pytest.mark.parametrize("suffix", ANIMATIONS)
def test_frames_that_are_alike_may_be_one_and_last_as_long(suffix, tmp_path):
    video = moving_square(4)[0][:, [0, 0, 0, 1, 1, 2]]
    save_video(tmp_path / f"a{suffix}", video, 10.0)
    assert sum(read(tmp_path / f"a{suffix}")[1]) == 600
    save_video(tmp_path / f"b{suffix}", video[:, :1].expand(-1, 5, -1, -1), 8.0)
    assert Image.open(tmp_path / f"b{suffix}").size == (24, 24)


@pytest.mark.parametrize("suffix", [*ANIMATIONS, "", ".json"])
def test_transparent_ground_is_transparent_and_the_rest_as_it_was(suffix, tmp_path):
    video, alpha = moving_square()
    save_video(tmp_path / f"a{suffix}", video, 8.0, alpha=alpha)
    if suffix == "":
        frames = np.stack([np.asarray(Image.open(path)) for path in sorted((tmp_path / "a").iterdir())])
    elif suffix == ".json":
        frames = np.stack(cut_sprites(tmp_path / "a.json"))
    else:
        frames, _, _ = read(tmp_path / f"a{suffix}")
    assert np.array_equal(frames[..., 3] == 255, alpha.bool().numpy())
    assert np.array_equal(frames[..., 3] == 0, ~alpha.bool().numpy())
    true = to_uint8(video).permute(1, 2, 3, 0).numpy()
    difference = np.abs(frames[..., :3].astype(int) - true)[alpha.bool().numpy()]
    assert difference.mean() < (6 if suffix == ".webp" else 2)
    assert suffix in (".webp", ".gif") or difference.max() == 0


def cut_sprites(path):
    """Cuts frames out of a sheet as an importer of Aseprite's layout does; checks what Phaser's needs."""
    layout = json.loads(path.read_text())
    with Image.open(path.parent / layout["meta"]["image"]) as sheet:
        assert sheet.size == (layout["meta"]["size"]["w"], layout["meta"]["size"]["h"])
        frames = []
        for entry in layout["frames"]:
            assert not entry["rotated"]
            assert not entry["trimmed"]
            assert (entry["sourceSize"]["w"], entry["sourceSize"]["h"]) == (
                entry["frame"]["w"],
                entry["frame"]["h"],
            )
            place = entry["frame"]
            box = (place["x"], place["y"], place["x"] + place["w"], place["y"] + place["h"])
            frames.append(np.asarray(sheet.crop(box)))
    (tag,) = layout["meta"]["frameTags"]
    assert (tag["from"], tag["to"], tag["direction"]) == (0, len(frames) - 1, "forward")
    assert len({entry["filename"] for entry in layout["frames"]}) == len(frames)
    return frames


@pytest.mark.parametrize(("num_frames", "height", "width"), [(1, 8, 8), (76, 16, 16), (7, 30, 9), (5, 3, 40)])
def test_sprites_fill_a_sheet_that_is_nearly_square_and_hold_all_frames(num_frames, height, width, tmp_path):
    video = torch.rand(3, num_frames, height, width) * 2 - 1
    save_video(tmp_path / "a.json", video, 10.0)
    frames = cut_sprites(tmp_path / "a.json")
    assert np.array_equal(np.stack(frames), to_uint8(video).permute(1, 2, 3, 0).numpy())
    with Image.open(tmp_path / "a.png") as sheet:
        assert max(sheet.size) <= 2 * min(sheet.size) + 2 * max(height, width)
    assert sum(entry["duration"] for entry in json.loads((tmp_path / "a.json").read_text())["frames"]) == (
        100 * num_frames
    )


def test_a_sheet_that_no_graphics_card_holds_is_refused(tmp_path):
    with pytest.raises(ValueError, match="40 frames of 3000x3000 make a sprite sheet of 18000x21000"):
        save_video(tmp_path / "a.json", torch.zeros(3, 1, 1, 1).expand(3, 40, 3000, 3000), 8.0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.avi", "a.mov", "a.mp4.part"])
def test_an_unknown_ending_is_refused(name, tmp_path):
    with pytest.raises(ValueError, match=r"choose one of \.mp4, \.gif, \.webp"):
        save_video(tmp_path / name, torch.zeros(3, 2, 8, 8), 8.0)


@pytest.mark.parametrize("name", ["a.mp4", "a.png"])
def test_what_has_no_transparent_ground_says_so(name, tmp_path):
    with pytest.raises(ValueError, match="has no transparent ground"):
        save_video(tmp_path / name, torch.zeros(3, 2, 8, 8), 8.0, alpha=torch.ones(2, 8, 8))


def test_mp4_and_contact_sheet_are_written_by_ending(tmp_path):
    video = moving_square()[0]
    save_video(tmp_path / "a.MP4", video, 8.0)
    save_video(tmp_path / "a.png", video, 8.0)
    with av.open(str(tmp_path / "a.MP4")) as container:
        assert container.streams.video[0].frames == 7
    assert Image.open(tmp_path / "a.png").width == 1536


def test_times_differ_by_one_unit_and_add_up():
    for fps in (1.0, 7.0, 24.0, 29.97, 60.0, 450.0):
        found = durations(100, fps)
        assert max(found) - min(found) <= 1
        assert abs(sum(found) - 100_000 / fps) <= 0.5


@pytest.mark.parametrize("ground", [1.0, -1.0, 0.2])
def test_ground_is_cut_out_up_to_the_edge_but_not_inside(ground):
    video, alpha = moving_square(ground=ground, colour=(0.6, -0.5, -0.9))
    colours, found = cut_out(video, (ground,) * 3)
    assert torch.equal(found, alpha)  # what is closed in stays
    assert torch.equal(colours[:, alpha.bool()], video[:, alpha.bool()])


@pytest.mark.parametrize("thing", [(-0.8, 0.5, 0.1), (0.8, 0.8, 0.85)])
def test_edges_have_the_colour_of_the_thing_and_give_the_video_again(thing):
    weight = torch.tensor([0.0] * 8 + [0.25, 0.75] + [1.0] * 10)[None, None, None].expand(1, 1, 20, 20)
    thing, ground = torch.tensor(thing)[:, None, None, None].expand(3, 1, 20, 20), torch.tensor(1.0)
    video = torch.lerp(ground, thing, weight)
    colours, alpha = cut_out(video, (1.0,) * 3)
    torch.testing.assert_close(torch.lerp(ground, colours, alpha), video)
    inside = slice(0, 16)  # elsewhere the thing meets the frame
    torch.testing.assert_close(alpha[..., inside], weight[0, ..., inside], atol=0.01, rtol=0)
    shown = weight[0] > 0
    torch.testing.assert_close(colours[:, shown], thing[:, shown], atol=0.02, rtol=0)


def test_flood_goes_round_corners_and_nowhere_else():
    walls = torch.tensor(
        [
            [1, 1, 1, 1, 1, 1, 1],
            [1, 0, 0, 0, 0, 0, 1],
            [1, 1, 1, 1, 1, 0, 1],
            [0, 0, 0, 0, 1, 0, 1],
            [1, 1, 1, 0, 1, 0, 1],
            [1, 0, 1, 0, 0, 0, 1],
            [1, 1, 1, 1, 1, 1, 1],
        ]
    ).bool()
    reached = flood(torch.stack([~walls, torch.zeros(7, 7, dtype=torch.bool), ~walls]))
    expected = ~walls
    expected[5, 1] = False  # closed in
    assert torch.equal(reached[0], expected)
    assert torch.equal(reached[2], expected)
    assert not reached[1].any()


def test_a_shorter_video_leaves_no_frames_of_a_longer_one(tmp_path):
    folder = tmp_path / "frames"
    save_video(folder, moving_square(9)[0], 8.0)
    (folder / "cover.png").write_bytes(b"another file")
    (folder / "12.png").write_bytes(b"another file")
    (folder / "20240101.png").write_bytes(b"a photograph")
    (folder / "1999.png").write_bytes(b"a photograph")
    save_video(folder, moving_square(3)[0], 8.0)
    assert sorted(path.name for path in folder.iterdir()) == [
        "0000.png", "0001.png", "0002.png", "12.png", "1999.png", "20240101.png", "cover.png",
    ]  # fmt: skip


@pytest.mark.parametrize("path", ["", ".", "..", "/", ".mp4", ".GIF"])
def test_a_path_without_a_name_is_refused(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="names no file or folder of its own"):
        save_video(path, moving_square(3)[0], 8.0)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("suffix", [*ANIMATIONS, ".mp4", ".png", ".json"])
def test_an_earlier_file_stays_if_a_later_one_fails(suffix, tmp_path, monkeypatch):
    path = tmp_path / f"a{suffix}"
    save_video(path, moving_square(3)[0], 8.0)
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}

    def fails(path, *args, **kwargs):
        Path(path).write_bytes(b"half a file")
        raise OSError("no room")

    monkeypatch.setitem(export.WRITERS, suffix, export.WRITERS[suffix] if suffix == ".json" else fails)
    monkeypatch.setattr(Image.Image, "save", lambda image, path, *args: fails(path))
    with pytest.raises(OSError, match="no room"):
        save_video(path, moving_square(5)[0], 8.0)
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before


@pytest.mark.parametrize("suffix", [*ANIMATIONS, ".mp4", ".json"])
@pytest.mark.parametrize("fps", [0.002, 1e5])
def test_the_slowest_and_fastest_rates_can_be_saved(suffix, fps, tmp_path):
    save_video(tmp_path / f"a{suffix}", moving_square(3)[0], fps)
    assert (tmp_path / f"a{suffix}").stat().st_size


@pytest.mark.parametrize("fps", [0, -1.0, float("inf"), float("nan"), 1e30, "8", True])
@pytest.mark.parametrize("suffix", [*ANIMATIONS, ".mp4", ".json", ".png", ""])
def test_impossible_frame_rates_are_refused_before_anything_is_written(suffix, fps, tmp_path):
    with pytest.raises(ValueError, match="fps must be at least"):
        save_video(tmp_path / f"a{suffix}", moving_square(3)[0], fps)
    assert not [*tmp_path.iterdir()]
