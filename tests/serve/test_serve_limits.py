"""What a client may ask for, and that all else is refused with a message."""

import importlib
import math
import shlex
import struct
import zlib

import pytest
import torch
from PIL import Image

from lightning_mav.data.export import save_video
from lightning_mav.serve.job import Job
from lightning_mav.serve.limits import Limits, RefusedError
from lightning_mav.serve.pieces import command
from lightning_mav.serve.requests import check_prompt, check_result, check_settings
from lightning_mav.serve.settings import SETTINGS
from lightning_mav.serve.uploads import check_upload
from lightning_mav.serve.uses import USES

LIMITS = Limits()


@pytest.mark.parametrize(
    "prompt", ["a red car", "ein großer roter Ball", "一个大红球", "كرة حمراء", " x " * 99]
)
def test_prompts_of_all_languages_are_taken(prompt):
    assert check_prompt(prompt, LIMITS) == prompt.strip()


@pytest.mark.parametrize(
    "prompt", ["", " \n", "\u200b", "x" * 301, "a\0b", "a\ud800b", None, 3, ["a"], {"path": "/etc/passwd"}]
)
def test_other_prompts_are_refused(prompt):
    with pytest.raises(RefusedError, match=r"[.\d]$"):
        check_prompt(prompt, LIMITS)


@pytest.mark.parametrize("name", USES)
def test_settings_left_out_are_the_defaults(name):
    use = USES[name]
    assert check_settings(use, {}) == {each: SETTINGS[each].default for each in use.all_settings}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("seed", value) for value in (-1, 2**31, 0.5, math.nan, math.inf, "1", True, [1], 10**400)),
        *(("steps", value) for value in (0, 101, 1.5, "10")),
        *(("fps", value) for value in (0, 31, math.nan, -math.inf)),
        *(("guidance_scale", value) for value in (-0.1, 21)),
        *(("frame_skip", value) for value in (0, 16, 2.5)),
        *(("config", "x.yaml"), ("weights", "/tmp"), ("until", "decoder")),
    ],
)
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(RefusedError):
        check_settings(USES["generate"], {name: value})


def test_settings_at_the_ends_of_their_ranges_are_taken():
    for use in USES.values():
        for end in ("low", "high"):
            values = {
                each: bool(getattr(SETTINGS[each], end)) if SETTINGS[each].kind is bool
                else getattr(SETTINGS[each], end) for each in use.all_settings
            }  # fmt: skip
            assert check_settings(use, values) == values


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    video = torch.rand(3, 6, 18, 32) * 2 - 1
    for name in ("a.mp4", "a.gif", "a.webp", "a.apng"):
        save_video(folder / name, video, 10.0)
    for name in ("a.png", "a.jpg"):
        Image.new("RGB", (40, 30), "red").save(folder / name)
    return folder


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a.webp", "a.apng"])
def test_videos_are_measured(files, name):
    found = check_upload(files / name, "video", LIMITS)
    assert (found.num_frames, found.fps) == (6, pytest.approx(10, rel=0.01))


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_images_are_taken(files, name):
    assert check_upload(files / name, "image", LIMITS).num_frames == 1


def png_header(width, height):
    """A PNG that says it is large, and holds next to nothing."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


HOSTILE = {
    "nothing": b"",
    "text": b"no picture at all",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "playlist": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
    "concat": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "half a header": b"\x89PNG\r\n\x1a\n\0\0",
    "bomb": png_header(30000, 30000),
    "zip": b"PK\3\4" + bytes(50),
    "pickle": b"\x80\x04cos\nsystem\n.",
}


@pytest.mark.parametrize("kind", ["image", "video"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused(tmp_path, name, kind):
    path = tmp_path / "file.mp4"
    path.write_bytes(HOSTILE[name])
    with pytest.raises(RefusedError, match="File 2") as caught:
        check_upload(path, kind, LIMITS, 2)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    ("limit", "value", "message"),
    [
        ("upload_bytes", 10, "at most 0 MB"),
        ("upload_pixels", 500, "is 32 x 18"),
        ("decoded_pixels", 3000, "in all its frames"),
        ("upload_frames", 5, "has 6 frames"),
        ("upload_seconds", 0.5, "lasts 0.6 s"),
        ("aspect", 1.5, "1.5 times"),
    ],
)
@pytest.mark.parametrize("name", ["a.mp4", "a.gif"])
def test_videos_beyond_a_limit_are_refused(files, name, limit, value, message):
    assert check_upload(files / name, "video", Limits())
    with pytest.raises(RefusedError, match=message):
        check_upload(files / name, "video", Limits(**{limit: value}))


def test_large_images_are_refused_before_they_are_decoded(tmp_path):
    (tmp_path / "a.png").write_bytes(png_header(5000, 4000))  # which cannot be decoded
    with pytest.raises(RefusedError, match="5000 x 4000"):
        check_upload(tmp_path / "a.png", "image", Limits())


def test_results_are_as_long_as_foretold_and_no_longer_than_allowed(files):
    video = [check_upload(files / "a.mp4", "video", LIMITS)]
    frames = {
        ("generate", "frame_skip", 2): 31,
        ("extend", "seconds", 1.0): 16,
        ("loop", "frames", 4): 10,
        ("loop", "frames", None): 32,
        ("interpolate", "frame_skip", 3): 16,
        ("morph", "result_fps", 8.0): 16,
    }
    for (name, setting, value), count in frames.items():
        settings = check_settings(USES[name], {setting: value})
        assert check_result(USES[name], settings, video, LIMITS, 16) == count
        with pytest.raises(RefusedError, match=f"would have {count} frames"):
            check_result(USES[name], settings, video, Limits(frames=count - 1), 16)


def test_a_still_has_nothing_between(tmp_path):
    save_video(tmp_path / "one.gif", torch.zeros(3, 1, 16, 16), 10.0)
    still = [check_upload(tmp_path / "one.gif", "video", LIMITS)]
    with pytest.raises(RefusedError, match="nothing between"):
        check_result(USES["interpolate"], check_settings(USES["interpolate"], {}), still, LIMITS, 16)
    assert (
        check_result(USES["vary"], check_settings(USES["vary"], {"frame_skip": 2}), still, LIMITS, 16) == 31
    )


@pytest.mark.parametrize("name", USES)
@pytest.mark.parametrize("first", ["it's; a $HOME", "--help me"])
def test_the_command_to_copy_means_the_same(name, first):
    use = USES[name]
    chosen = {int: 4, float: 1 / 3, bool: True}  # a third has more digits than most formats keep
    settings = {each: chosen[SETTINGS[each].kind] for each in use.all_settings}
    settings |= {each: 7 / 3 for each in ("fps", "result_fps") if each in settings}
    prompts = [] if use.files else [first, "two"][: use.num_inputs]
    job = Job(
        "0" * 16, name, "title", check_settings(use, settings),
        [{"kind": kind} for kind in use.files], weights="micro", prompts=prompts,
    )  # fmt: skip
    mav, use_name, *words = shlex.split(command(job))
    assert (mav, use_name) == ("mav", name)
    module = name if name in ("generate", "blend") else "applications"
    parser = importlib.import_module(f"lightning_mav.cli.{module}")._parser
    args = (parser(name) if module == "applications" else parser()).parse_args(words)
    assert args.weights == "micro"
    for each, value in settings.items():
        assert getattr(args, (SETTINGS[each].option or each).replace("-", "_")) == value, each
    if use.files:
        assert [str(path) for path in args.files] == [f"FILE{i + 1}" for i in range(use.num_inputs)]
    else:
        assert args.prompts == prompts
