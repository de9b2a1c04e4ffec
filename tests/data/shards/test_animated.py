"""``mav data pack`` takes animated pictures as videos, with their own frame times, on a chosen ground."""

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from helpers.emoji_packages import animation
from lightning_mav.cli import main
from lightning_mav.data.codecs.decode import decode_image, decode_video


def pack(tmp_path, *options):
    main(["data", "pack", str(tmp_path / "in"), str(tmp_path / "out"), "--workers", "1", *options])
    found = {}
    for path in sorted((tmp_path / "out").glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, suffix = member.name.partition(".")
                found.setdefault(key, {})[suffix] = tar.extractfile(member).read()
    return {json.loads(sample["json"])["name"]: sample for sample in found.values()}


@pytest.fixture
def files(tmp_path):
    (tmp_path / "in").mkdir()

    def write(**contents):
        for name, data in contents.items():
            (tmp_path / "in" / name.replace("_", ".")).write_bytes(data)

    return write


def video_of(sample):
    (suffix,) = sample.keys() - {"json"}
    return decode_video(sample[suffix], suffix, None)


@pytest.mark.parametrize(("kind", "suffix"), [("WEBP", "webp"), ("GIF", "gif"), ("PNG", "png")])
def test_frames_keep_their_pixels_and_times(kind, suffix, files, tmp_path):
    durations = [40, 250, 30, *[100] * 17]
    files(**{f"a_{suffix}": animation("1f600", 20, duration=durations, kind=kind)})
    (sample,) = pack(tmp_path, "--kind=video").values()
    frames, times = video_of(sample)
    assert np.allclose(times, np.cumsum([0, *durations])[:-1] / 1000, atol=1e-3)
    with Image.open(io.BytesIO(animation("1f600", 20, duration=durations, kind=kind))) as image:
        image.seek(7)
        true = Image.new("RGBA", image.size, "white")
        true.alpha_composite(image.convert("RGBA"))
    difference = np.abs(frames[7].permute(1, 2, 0).numpy() - np.asarray(true.convert("RGB")).astype(int))
    assert difference.mean() < 6  # colours are stored at half the resolution


def test_the_ground_is_under_clips_and_images(files, tmp_path, capsys):
    files(a_webp=animation("1f600"))
    (sample,) = pack(tmp_path, "--kind=video", "--ground=#00ff00").values()
    red, green, blue = video_of(sample)[0][0, :, 0, 0].tolist()
    assert green > 225
    assert max(red, blue) < 30
    (tmp_path / "out").rename(tmp_path / "videos")
    files(b_png=animation("1f600", 1, kind="PNG"), captions_tsv=b"b.png\tface\na.webp\tmoving face\n")
    capsys.readouterr()
    images = pack(tmp_path, "--kind=image", "--ground=lime")
    assert not capsys.readouterr().err  # no warning of torch either
    assert images.keys() == {"a.webp", "b.png"}
    for sample in images.values():
        assert decode_image(sample["png"], "png", None)[:, 0, 0].tolist() == [0, 255, 0]


def test_what_is_taken_for_a_video_is_asked_or_clear(files, tmp_path, capsys):
    still, moving, gif = animation("1f600", 1), animation("1f601"), animation("1f602", kind="GIF")
    files(a_webp=still, b_webp=moving, c_gif=gif, captions_tsv=b"a.webp\tone\nb.webp\ttwo\n")
    assert pack(tmp_path).keys() == {"a.webp", "b.webp"}  # as ever: first frames
    assert "GIF file" in capsys.readouterr().out
    (tmp_path / "out").rename(tmp_path / "images")
    assert pack(tmp_path, "--kind=video").keys() == {"b.webp", "c.gif"}
    (tmp_path / "out").rename(tmp_path / "videos")
    for name in ("a.webp", "b.webp"):
        (tmp_path / "in" / name).unlink()
    assert pack(tmp_path).keys() == {"c.gif"}  # nothing else is there


def test_size_and_least_number_of_frames_hold_for_animations(files, tmp_path, capsys):
    files(a_webp=animation("1f600", 20, size=64), b_webp=animation("1f601", 5))
    packed = pack(tmp_path, "--kind=video", "--size=32")
    assert packed.keys() == {"a.webp"}
    assert "too few frames" in capsys.readouterr().out
    frames, _ = video_of(packed["a.webp"])
    assert frames.shape == (20, 3, 32, 32)


def test_a_broken_animation_is_left_out_and_counted(files, tmp_path, capsys):
    data = animation("1f600")
    files(a_webp=data[: len(data) // 2], b_webp=animation("1f601"))
    assert pack(tmp_path, "--kind=video").keys() == {"b.webp"}
    assert "broken animation" in capsys.readouterr().out


def fails(tmp_path, capsys, *options):
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        pack(tmp_path, *options)
    assert end.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("colour", ["sky", "rgb(300,0,0)", "#00ff0080", "hsl(0,300%,50%)", ""])
def test_a_colour_that_is_none_is_one_line(colour, tmp_path, files, capsys):
    files(a_webp=animation("1f600"))
    said = fails(tmp_path, capsys, f"--ground={colour}")
    assert f"must be a colour's name or #rrggbb, got {colour or 'nothing'}" in said


def test_animations_are_videos_whatever_their_names_end_in_and_that_is_counted(files, tmp_path):
    gif, webp, png = (animation("1f600", kind=kind) for kind in ("GIF", "WEBP", "PNG"))
    files(a_gif=gif, b_mp4=gif, c_png=gif, d=gif, e_mp4=webp, f_gif=webp, g_webp=png, h_apng=png)
    assert [*pack(tmp_path, "--kind=video")] == [
        "a.gif",
        "b.mp4",
        "c.png",
        "d",
        "e.mp4",
        "f.gif",
        "g.webp",
        "h.apng",
    ]
    misnamed = json.loads((tmp_path / "out" / "00000.stats.json").read_text())["misnamed"]
    counted = (
        "GIF in .mp4",
        "GIF in .png",
        "GIF without a suffix",
        "WebP in .mp4",
        "WebP in .gif",
        "PNG in .webp",
    )
    assert misnamed == dict.fromkeys(sorted(counted), 1)


def test_what_cannot_be_packed_is_counted_with_what_can(files, tmp_path, capsys):
    files(a_webp=animation("1f600"))
    assert "no caption; add --kind video to pack animated pictures" in fails(tmp_path, capsys)
    files(a_webp=animation("1f600", 1))
    assert "--kind video" not in fails(tmp_path, capsys)  # a still
    files(a_webp=b"", b_png=b"")
    said = fails(tmp_path, capsys, "--kind=video")
    assert "but 2 x image, where videos are packed: name a folder of files that end in mp4" in said
    assert "gif, webp, png" in said


def test_reasons_are_the_same_in_each_run(files, tmp_path):
    files(a_gif=b"GIF89a", b_webp=animation("1f601"), c_gif=animation("1f600", kind="GIF")[:9])
    pack(tmp_path, "--kind=video")
    assert "object at" not in (tmp_path / "out" / "00000.stats.json").read_text()


def test_folders_of_earlier_versions_are_gone_on_with(files, tmp_path):
    files(a_webp=animation("1f600", 1), captions_tsv=b"a.webp\tone\n")
    pack(tmp_path)
    for path in (tmp_path / "out").rglob("*"):
        if path.suffix == ".json" or path.name.startswith("."):
            assert b"ground" not in path.read_bytes()
