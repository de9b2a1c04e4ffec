"""What the page makes is what the commands make, stage by stage, in every format."""

import json
import zipfile
from dataclasses import asdict
from io import BytesIO

import av
import numpy as np
import pytest
import torch
from PIL import Image

from helpers.tiny_cascade import save_tiny_cascade
from lightning_mav import Cascade
from lightning_mav.applications import interpolate, slerp
from lightning_mav.data.export import save_video
from lightning_mav.models.sampling import Sampling
from lightning_mav.serve.formats import FORMATS, OPAQUE, made_format
from lightning_mav.serve.job import DONE, Job, StopError
from lightning_mav.serve.limits import Limits
from lightning_mav.serve.making import Clock, Maker, Pace, read_pixels
from lightning_mav.serve.pieces import command, downloads
from lightning_mav.serve.requests import check_result, check_settings
from lightning_mav.serve.uploads import check_upload
from lightning_mav.serve.uses import USES


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_tiny_cascade(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def cascade(weights):
    return Cascade.from_pretrained(weights, "cpu")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    save_video(folder / "a.mp4", torch.rand(3, 6, 18, 32) * 2 - 1, 10.0)
    Image.new("RGB", (40, 30), "red").save(folder / "a.png")
    return {"video": folder / "a.mp4", "image": folder / "a.png"}


def test_each_stage_is_told_as_soon_as_it_is_there(cascade):
    told = []

    def finished(name, video, fps):
        told.append((name, video, fps, len(steps)))

    steps = []
    sampling = Sampling(
        3, num_steps=2, progress=lambda stage, done, total: steps.append(stage), finished=finished
    )
    output = cascade.render(cascade.embed(["a red ball"]), fps=4.0, frame_skip=3, sampling=sampling)
    assert [name for name, *_ in told] == list(output.stages)
    for name, video, fps, num_steps in told:
        assert torch.equal(video, output.stages[name])
        assert fps == output.rates[name]
        assert steps[num_steps - 1] == name  # no later stage has begun


def test_a_video_that_is_given_is_told_first(cascade):
    told = []
    sampling = Sampling(3, num_steps=1, finished=lambda *args: told.append(args))
    video = torch.rand(1, 3, 5, 9, 12) * 2 - 1
    output = interpolate(cascade, video, 5.0, frame_skip=2, sampling=sampling)
    assert [(name, fps) for name, _, fps in told] == [
        ("decoder", 5.0),
        ("interpolation", 10.0),
        ("sr_lt", 10.0),
        ("sr_h", 10.0),
    ]
    assert torch.equal(told[0][1], output.stages["decoder"])


def make(cascade, folder, files, name, step=lambda: None, **values):
    use = USES[name]
    settings = check_settings(use, {"steps": 1, **values})
    uploads = [check_upload(files[kind], kind, Limits()) for kind in use.files]
    count = check_result(use, settings, uploads, Limits(), 16)
    prompts = [] if use.files else ["a red ball", "a blue star"][: use.num_inputs]
    job = Job("0" * 16, name, "a red ball", settings, num_frames=count, prompts=prompts)
    Maker(cascade)(job, folder, step, uploads)
    return job


@pytest.mark.parametrize("name", USES)
def test_each_use_makes_as_many_frames_as_it_foretold(cascade, files, tmp_path, name):
    job = make(cascade, tmp_path, files, name)
    assert read_pixels(tmp_path).shape[1] == job.num_frames == job.stages[-1]["frames"]
    for stage in job.stages:
        with av.open(str(tmp_path / f"{stage['name']}.mp4")) as video:
            stream = video.streams.video[0]
            assert stream.frames == stage["frames"]
            assert float(stream.average_rate) == pytest.approx(stage["fps"], rel=0.02)
            assert min(stream.width, stream.height) >= 96  # large enough to be looked at


def test_pixels_are_those_of_the_cascade(cascade, files, tmp_path):
    make(cascade, tmp_path, files, "generate", seed=5, frame_skip=2, fps=4.0)
    expected = cascade("a red ball", seed=5, fps=4.0, num_steps=1, frame_skip=2)
    assert (read_pixels(tmp_path) - expected.video[0]).abs().max() <= 1 / 255 + 1e-6


def test_a_job_remembers_its_weights_and_their_ground(cascade, files, tmp_path, monkeypatch):
    monkeypatch.setattr(cascade.known, "ground", (1, 2, 3))
    settings = check_settings(USES["generate"], {"steps": 1, "frame_skip": 1})
    job = Job("0" * 16, "generate", "x", settings, num_frames=16, prompts=["x"])
    Maker(cascade, "emoji")(job, tmp_path, lambda: None)
    again = Job.from_dict(json.loads(json.dumps(asdict(job))))
    assert (again.weights, again.ground) == ("emoji", [1, 2, 3])
    again.state = DONE
    assert command(again).endswith("--weights emoji")
    assert "webp-clear" in downloads(again)
    monkeypatch.setattr(cascade.known, "ground", None)
    Maker(cascade)(job, tmp_path, lambda: None)
    job.state = DONE
    assert "--weights" not in command(job)
    assert "webp-clear" not in downloads(job)


def test_a_blend_lies_between_its_sentences(cascade, files, tmp_path, monkeypatch):
    ends = {"a red ball": torch.eye(8)[:1], "a blue star": 2 * torch.eye(8)[1:2]}
    drawn, render = [], cascade.render
    monkeypatch.setattr(cascade, "embed", lambda prompts, sampling: ends[prompts[0]])
    monkeypatch.setattr(
        cascade, "render", lambda *args, **rest: drawn.append(args[0]) or render(*args, **rest)
    )
    make(cascade, tmp_path, files, "blend", share=0.3, frame_skip=2)
    torch.testing.assert_close(drawn, [slerp(*ends.values(), 0.3)])


def test_time_left_and_share_go_to_the_end(cascade, files, tmp_path):
    seen = []
    use = USES["generate"]
    job = Job("0" * 16, "generate", "x", check_settings(use, {"steps": 3, "frame_skip": 1}), num_frames=16)
    job.prompts = ["x"]
    maker = Maker(cascade)
    for _ in range(2):
        job.share = 0.0
        seen.clear()
        maker(job, tmp_path, lambda: seen.append((job.share, job.left)))
    shares = [share for share, _ in seen]
    assert shares == sorted(shares)
    assert 0 <= min(shares) <= max(shares) < 1
    assert seen[-1][1] < seen[1][1]


def test_a_stage_that_runs_twice_is_timed_anew(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    pace = Pace()
    clock = Clock(Job("0" * 16, "animate", "", {}, num_frames=16), {"interpolation": 2.0}, pace)
    for seconds, done in ((10.0, 1), (10.0, 2), (1.0, 1), (1.0, 2)):
        now[0] += seconds
        clock.step("interpolation", done, 2)
    assert pace.of("interpolation", 2.0) == 2.0


def test_it_ends_within_a_step_when_told_to(cascade, files, tmp_path):
    calls = []

    def step():
        calls.append(1)
        if len(calls) == 3:
            raise StopError

    with pytest.raises(StopError):
        make(cascade, tmp_path, files, "generate", step)
    assert len(calls) == 3
    assert not (tmp_path / "pixels.npy").exists()


@pytest.fixture(scope="module")
def made(cascade, files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    return folder, make(cascade, folder, files, "generate", frame_skip=1).stages[-1]["fps"]


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_holds_all_frames(made, name):
    path = made_format(*made, name)
    assert made_format(*made, name) == path  # kept
    if name == "mp4":
        with av.open(str(path)) as video:
            assert video.streams.video[0].frames == 16
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            assert archive.testzip() is None
            if name == "frames":
                frame = Image.open(BytesIO(archive.read("frames/0000.png")))
                assert (len(names), frame.size) == (16, (48, 48))
            else:
                assert sorted(names) == ["sprites.json", "sprites.png"]
                assert len(json.loads(archive.read("sprites.json"))["frames"]) == 16
    else:
        with Image.open(path) as image:
            assert image.n_frames == 16


@pytest.mark.parametrize("name", sorted(FORMATS.keys() - set(OPAQUE)))
def test_the_ground_becomes_transparent_where_it_is_known(tmp_path, name):
    pixels = np.full((4, 24, 24, 3), 255, np.uint8)
    for index in range(4):
        pixels[index, 8:16, 4 + index : 12 + index] = 20  # moves, so that no two frames are one
    np.save(tmp_path / "pixels.npy", pixels)
    path = made_format(tmp_path, 8.0, name, ground=[255, 255, 255])
    assert path != made_format(tmp_path, 8.0, name)
    data = path.read_bytes()
    if path.suffix == ".zip":
        inner = {"frames": "frames/0000.png", "sprites": "sprites.png"}[name]
        data = zipfile.ZipFile(path).read(inner)
    alpha = np.asarray(Image.open(BytesIO(data)).convert("RGBA"))[..., 3]
    assert (alpha[0, 0], alpha[12, 8]) == (0, 255)
