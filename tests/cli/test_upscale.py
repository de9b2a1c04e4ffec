"""``mav upscale``: files, sizes, formats, what is refused, what an interruption leaves, and its memory."""

import errno
import json
import shutil
import signal
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile, PngImagePlugin

from helpers.coded import encode
from helpers.outside import check_files, read_settings
from helpers.tiny_cascade import save_tiny_cascade
from lightning_mav import applications
from lightning_mav.cascade import Cascade
from lightning_mav.cli import main, upscale
from lightning_mav.data import streamed
from lightning_mav.data.codecs import mp4
from lightning_mav.data.codecs.film import Film, look_through
from lightning_mav.data.codecs.pixels import from_uint8, to_uint8
from lightning_mav.models.sampling import Sampling

FORMATS = "mp4,gif,webp,apng,frames,sprites"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_tiny_cascade(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    path.write_bytes(
        encode("mp4", "libx264", num_frames=5, size=(18, 32), options={"x264-params": "log-level=none"})
    )
    return path


def run(weights, out, clip, *arguments):
    main(["upscale", str(clip), "--weights", str(weights), "--out", str(out), *map(str, arguments)])
    return read_settings(out)


@pytest.mark.parametrize(
    ("arguments", "scales"),
    [
        ([], {"sr_lt": 2, "sr_h": 3}),
        (["--until", "sr_lt"], {"sr_lt": 2}),
        (["--from", "sr_h"], {"sr_h": 3}),
    ],
)
def test_the_result_is_as_many_times_as_large_as_the_stages_say(arguments, scales, weights, clip, tmp_path):
    settings = run(weights, tmp_path, clip, *arguments, "--steps", "1")
    scale = int(np.prod([*scales.values()]))
    assert settings["scales"] == scales
    assert settings["video"]["shape"] == [3, 5, 18 * scale, 32 * scale]
    assert settings["weights"].keys() == scales.keys()
    (video,) = tmp_path.glob("*.mp4")
    film = look_through(video)
    assert (film.size, film.rate, len(film)) == ((18 * scale, 32 * scale), 25, 5)


def test_all_formats_hold_what_python_gives(weights, clip, tmp_path):
    cascade = Cascade.from_pretrained(weights, "cpu")
    video = torch.stack([from_uint8(torch.from_numpy(x.copy())) for x in look_through(clip).frames()])
    output = applications.upscale(cascade, video.permute(3, 0, 1, 2)[None], 25.0, sampling=Sampling(seed=4))
    assert output.video.shape == (1, 3, 5, 108, 192)
    settings = run(weights, tmp_path, clip, "--seed", 4, "--formats", FORMATS)
    assert settings["seed"] == 4
    found = check_files(tmp_path)
    assert {name.partition("-4")[2] for name in found} >= {".gif", ".webp", ".apng", "-sprites.json"}
    pictures = sorted((tmp_path / "upscale-clip-4-frames").iterdir())
    written = np.stack([np.asarray(Image.open(path)) for path in pictures])
    assert np.array_equal(written, to_uint8(output.video[0]).permute(1, 2, 3, 0).numpy())
    output.save(tmp_path / "whole.mp4")
    assert (tmp_path / "upscale-clip-4.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


def test_the_same_command_replaces_its_files_and_another_does_not(weights, clip, tmp_path):
    for seed in (0, 0, 1):
        run_anew = ["--seed", seed, "--steps", 1, "--from", "sr_h"]
        main(["upscale", str(clip), "--weights", str(weights), "--out", str(tmp_path), *map(str, run_anew)])
    run_anew = ["--steps", "2", "--from", "sr_h"]
    main(["upscale", str(clip), "--weights", str(weights), "--out", str(tmp_path), *run_anew])
    names = sorted(path.name for path in tmp_path.glob("*.mp4"))
    assert names == ["upscale-clip-0-2.mp4", "upscale-clip-0.mp4", "upscale-clip-1.mp4"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--from", "sr_h", "--until", "sr_lt"], "--from sr_h comes after --until sr_lt"),
        (["--until", "decoder"], "invalid choice: 'decoder'"),
        (["--tile", "63"], "--tile: must be a whole number of 64 or more, at most 16384, got 63"),
        (["--background", "white"], "these weights know no ground of one colour: leave it out"),
        (["--background", "transparent"], "mp4 has no transparent ground"),
    ],
)
def test_mistakes_are_one_line(arguments, words, weights, clip, tmp_path, capsys):
    with pytest.raises(SystemExit) as error:
        run(weights, tmp_path / "out", clip, *arguments)
    assert error.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert words in line
    assert not (tmp_path / "out").exists()


def test_a_result_larger_than_mp4_or_memory_holds_is_refused(weights, clip, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(upscale, "MAX_PIXELS", 108 * 192 - 1)
    monkeypatch.setattr(streamed, "MAX_KEPT", 5 * 54 * 96 * 3 - 1)
    for arguments, words in (
        ([], "become 192x108 (sr_lt x2, sr_h x3), more than mp4 can hold: take one stage, --until sr_lt or"),
        (["--from", "sr_h", "--formats", "mp4,webp"], "--formats webp: needs all 5 frames of 96x54 at once"),
    ):
        with pytest.raises(SystemExit) as error:
            run(weights, tmp_path / "out", clip, *arguments)
        assert error.value.code == 2
        assert words in capsys.readouterr().err.strip().splitlines()[-1]
    run(weights, tmp_path / "out", clip, "--from", "sr_h", "--formats", "mp4,frames")
    monkeypatch.setattr(upscale, "MAX_PIXELS", 1)
    with pytest.raises(SystemExit):  # no stage can help
        run(weights, tmp_path / "out", clip)
    assert capsys.readouterr().err.strip().endswith("more than mp4 can hold: make it smaller")


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_what_is_done_is_kept_after_an_interruption(
    usual_signals, signum, code, weights, clip, tmp_path, monkeypatch
):
    add = streamed.StreamedVideo.add

    def stop(self, frame):
        if self.num_frames == 3:
            signal.raise_signal(signum)
        add(self, frame)

    monkeypatch.setattr(streamed.StreamedVideo, "add", stop)
    with pytest.raises(SystemExit) as error:
        run(weights, tmp_path, clip, "--formats", "mp4,gif,frames")
    assert error.value.code == code
    settings = json.loads((tmp_path / "upscale-clip-0.json").read_text())
    assert (settings["interrupted"], settings["video"]["shape"][1]) == (True, 3)
    assert len(look_through(tmp_path / "upscale-clip-0.mp4")) == 3
    assert len(look_through(tmp_path / "upscale-clip-0.gif")) == 3
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".unfinished")]


@pytest.mark.parametrize("moment", ["within a picture", "after the picture"])
def test_what_is_begun_at_an_interruption_is_left_out(weights, clip, tmp_path, monkeypatch, moment):
    save, smaller, saved, kept = ImageFile._save, streamed._smaller, [], []

    def stop_within(image, file, *args, **kwargs):
        saved.append(1)
        if moment == "within a picture" and len(saved) == 4:
            file.write(b"half a picture")
            raise KeyboardInterrupt
        save(image, file, *args, **kwargs)

    def stop_after(pixels, side):
        kept.extend([1] * (side == streamed.MAX_GIF_SIDE))
        if moment == "after the picture" and len(kept) == 4:
            raise KeyboardInterrupt
        return smaller(pixels, side)

    monkeypatch.setattr(PngImagePlugin.ImageFile, "_save", stop_within)
    monkeypatch.setattr(streamed, "_smaller", stop_after)
    with pytest.raises(SystemExit):
        run(weights, tmp_path, clip, "--formats", "mp4,frames,webp,gif")
    shape = json.loads((tmp_path / "upscale-clip-0.json").read_text())["video"]["shape"]
    pictures = sorted((tmp_path / "upscale-clip-0-frames").iterdir())
    assert [path.name for path in pictures] == ["0000.png", "0001.png", "0002.png"]
    assert (shape[1], len(look_through(tmp_path / "upscale-clip-0.mp4"))) == (3, 3)
    for path in pictures:
        Image.open(path).load()
    for kind in ("webp", "gif"):
        with Image.open(tmp_path / f"upscale-clip-0.{kind}") as image:
            assert image.n_frames == 3


@pytest.mark.parametrize("size", [(270, 480)])
def test_spare_space_holds_what_the_encoder_still_writes(tmp_path, size, monkeypatch):
    noise = torch.rand(3, *size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    video = streamed.StreamedVideo(tmp_path, ["mp4"], total=60, rate=Fraction(24))
    for index in range(60):
        video.add(noise.roll(7 * index, dims=2))
    before = (tmp_path / "video.mp4").stat().st_size
    video.finish()
    assert (tmp_path / "video.mp4").stat().st_size - before < streamed.HELD * noise.numel()


def test_a_nearly_full_disk_keeps_the_finished_frames(weights, clip, tmp_path, monkeypatch, capsys):
    usage = shutil.disk_usage(tmp_path)
    free = iter([usage] * 5)  # before the first frame, and before each
    monkeypatch.setattr(streamed.shutil, "disk_usage", lambda path: next(free, usage._replace(free=2**20)))
    with pytest.raises(SystemExit) as error:
        run(weights, tmp_path, clip, "--formats", "mp4,webp,frames")
    assert error.value.code == 2
    said = capsys.readouterr()
    assert said.err.splitlines()[-1].endswith("(No space left on device); make room or choose another folder")
    assert str(tmp_path / "upscale-clip-0.mp4") in said.out
    assert json.loads((tmp_path / "upscale-clip-0.json").read_text())["interrupted"]
    assert len(look_through(tmp_path / "upscale-clip-0.mp4")) == 4
    assert len([*(tmp_path / "upscale-clip-0-frames").iterdir()]) == 4
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".unfinished")]
    assert "kept the first 4 of 5 frames" in said.err


def test_a_disk_too_full_to_begin_is_told_before_anything_is_drawn(
    weights, clip, tmp_path, monkeypatch, capsys
):
    usage = shutil.disk_usage(tmp_path)._replace(free=2**20)
    monkeypatch.setattr(streamed.shutil, "disk_usage", lambda path: usage)
    monkeypatch.setattr(streamed.StreamedVideo, "add", None)
    with pytest.raises(SystemExit):
        run(weights, tmp_path / "out", clip)
    assert "No space left on device" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_single_frames_are_kept_if_the_video_cannot_be_finished(weights, clip, tmp_path, monkeypatch, capsys):
    def fails(self, *args):
        raise OSError(errno.EFBIG, "File too large")

    write = mp4.Mp4Writer.write
    monkeypatch.setattr(
        mp4.Mp4Writer,
        "write",
        lambda self, pixels: fails(self) if self.num_frames == 2 else write(self, pixels),
    )
    monkeypatch.setattr(mp4.Mp4Writer, "__exit__", fails)
    with pytest.raises(SystemExit) as error:
        run(weights, tmp_path, clip, "--formats", "mp4,frames")
    assert error.value.code == 2
    assert "(File too large); make room" in capsys.readouterr().err
    assert len([*(tmp_path / "upscale-clip-0-frames").iterdir()]) == 2
    assert not [*tmp_path.glob("*.mp4")]


def test_a_video_that_cannot_be_read_to_its_end_keeps_what_is_done(
    weights, clip, tmp_path, monkeypatch, capsys
):
    frames = Film.frames

    def broken(self):
        for number, frame in enumerate(frames(self)):
            if number == 3:
                raise OSError(errno.EIO, "Input/output error")
            yield frame

    monkeypatch.setattr(Film, "frames", broken)
    with pytest.raises(SystemExit) as error:
        run(weights, tmp_path, clip, "--from", "sr_h", "--formats", "frames")
    assert error.value.code == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith(f"mav: error: {clip}: ")
    assert len([*(tmp_path / "upscale-clip-0-frames").iterdir()]) == 3


# The network's arithmetic is left out, which takes most of the time and the same memory for each tile.
PEAK = """
import resource, sys
from lightning_mav.cli import main
from lightning_mav.models import SuperResolution
SuperResolution.denoise_frames = lambda self, low, fps, noise, cond_noise, options: self.upsample(low)
main(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
MARGIN = 12 * 2**10  # KiB; the longer video's frames alone would take four times as much
SHORT = 80  # frames, more than the encoder looks ahead


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_video_eight_times_as_long_needs_no_more_memory(weights, tmp_path):
    peaks = []
    for num_frames in (SHORT, 8 * SHORT):
        path, out = tmp_path / f"{num_frames}.mp4", tmp_path / f"out-{num_frames}"
        frames = [np.full((24, 32, 3), k % 256, np.uint8) for k in range(num_frames)]
        options = {"x264-params": "log-level=none"}
        path.write_bytes(encode("mp4", "libx264", frames=frames, size=(24, 32), options=options))
        command = ["upscale", str(path), "--weights", str(weights), "--out", str(out), "--steps", "1"]
        result = subprocess.run(
            [sys.executable, "-c", PEAK, *command], capture_output=True, text=True, check=True
        )
        peaks.append(int(result.stdout.splitlines()[-1]))
    assert 7 * SHORT * 144 * 192 * 3 > 3 * 1024 * MARGIN  # bytes
    assert peaks[1] - peaks[0] < MARGIN, peaks
