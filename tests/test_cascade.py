"""From text to 76 frames; the same ones whenever the same is asked for."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.tiny_cascade import save_tiny_cascade
from lightning_mav.cascade import Cascade, weights_files
from lightning_mav.models.sampling import Sampling
from lightning_mav.utils.errors import UsageError

BALL, STAR = "a small red ball on a white background", "a large blue star on a dark background"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_cascade(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def cascade(folder):
    return Cascade.from_pretrained(folder, "cpu")


@pytest.fixture(scope="module")
def ball(cascade):
    return cascade(BALL, seed=3)


def test_every_stage_has_the_size_of_the_paper_quartered(ball):
    shapes = {name: tuple(stage.shape) for name, stage in ball.stages.items()}
    assert shapes == {
        "prior": (1, 8),
        "decoder": (1, 3, 16, 8, 8),
        "interpolation": (1, 3, 76, 8, 8),
        "sr_lt": (1, 3, 76, 16, 16),
        "sr_h": (1, 3, 76, 48, 48),
    }
    assert ball.video is ball.stages["sr_h"]
    assert ball.fps == 30
    assert ball.seconds.keys() == shapes.keys()
    assert all(stage.isfinite().all() and stage.dtype == torch.float32 for stage in ball.stages.values())


def test_key_frames_stay_in_place(ball):
    torch.testing.assert_close(ball.stages["interpolation"][:, :, ::5], ball.stages["decoder"])


def test_same_seed_same_frames_other_seed_other_frames(cascade, ball):
    assert cascade(BALL, seed=3).video.equal(ball.video)
    other = cascade(BALL, seed=4, until="interpolation").video
    assert not torch.allclose(other, ball.stages["interpolation"], atol=0.1)


def test_a_video_does_not_depend_on_its_neighbours(cascade, ball):
    both = cascade([STAR, BALL], seed=3)
    assert both.video[1:].equal(ball.video)
    assert not both.stages["prior"][0].allclose(both.stages["prior"][1])


def test_no_prompts_are_refused(cascade):
    with pytest.raises(ValueError, match="prompts must be a text or a list of texts"):
        cascade([])


def test_other_steps_in_one_stage_leave_the_stages_before_it_alone(cascade, ball):
    other = cascade(BALL, seed=3, num_steps={"sr_lt": 2}, until="sr_lt")
    for stage in ("prior", "decoder", "interpolation"):
        assert other.stages[stage].equal(ball.stages[stage])
    assert not other.stages["sr_lt"].allclose(ball.stages["sr_lt"])


def test_guidance_is_the_decoders(cascade, ball):
    other = cascade(BALL, seed=3, guidance_scale=5.0, until="decoder")
    assert other.stages["prior"].equal(ball.stages["prior"])
    assert not other.video.allclose(ball.stages["decoder"])
    assert cascade(BALL, seed=3, guidance_scale=2.0, until="decoder").video.equal(ball.stages["decoder"])


def test_until_stops_early_with_the_same_frames(cascade, ball):
    output = cascade(BALL, seed=3, until="decoder")
    assert list(output.stages) == ["prior", "decoder"]
    assert output.video.equal(ball.stages["decoder"])
    assert output.fps == 6


@pytest.mark.parametrize("frame_skip", [1, 4, 15])
def test_frame_skip_sets_the_number_of_frames(cascade, frame_skip):
    output = cascade(BALL, frame_skip=frame_skip, fps=2, until="interpolation")
    assert output.video.shape[2] == 15 * frame_skip + 1
    assert output.fps == 2 * frame_skip


def test_progress_counts_every_stage_to_its_end(cascade):
    calls = []
    cascade(BALL, num_steps=1, progress=lambda *call: calls.append(call))
    for stage in ("prior", "decoder", "interpolation", "sr_lt", "sr_h"):
        counts = [(done, total) for name, done, total in calls if name == stage]
        assert counts[-1][0] == counts[-1][1] == len(counts)


def test_seeds_are_fixed_numbers():
    assert Sampling(1, "a ball").stage_seed("decoder") == Sampling(1, "a ball").stage_seed("decoder")
    seeds = {
        Sampling(s, key).stage_seed(stage) for s in (0, 1) for key in "ab" for stage in ("prior", "sr_h")
    }
    assert len(seeds) == 8
    assert Sampling(0, "a ball").stage_seed("prior") == 3413173049956926137  # as on every machine


def test_only_the_stages_asked_for_are_loaded(folder):
    cascade = Cascade.from_pretrained(folder, until="decoder")
    assert cascade.sr_h is None
    assert list(cascade.files) == ["clip", "prior", "decoder"]
    with pytest.raises(ValueError, match="no interpolation"):
        cascade(BALL, num_steps=1)


def test_unknown_stage_is_refused(cascade):
    with pytest.raises(ValueError, match="until must be one of decoder"):
        cascade(BALL, until="sr_x")


def test_weights_that_are_missing_or_mixed_up_are_named(tmp_path):
    with pytest.raises(UsageError, match=r"nowhere: no weights there; `make train`"):
        weights_files(tmp_path / "nowhere")
    folder = save_tiny_cascade(tmp_path)
    (folder / "sr_h.safetensors").write_bytes((folder / "sr_lt.safetensors").read_bytes())
    (folder / "SHA256SUMS").unlink()
    with pytest.raises(UsageError, match=r"sr_h\.safetensors: holds a SRLT; put a SRH there"):
        Cascade.from_pretrained(folder)
    (folder / "decoder.safetensors").unlink()
    with pytest.raises(UsageError, match=r"decoder\.safetensors.*make train-stage STAGE=decoder"):
        Cascade.from_pretrained(folder)


def test_the_output_is_one_line_in_a_console_and_plays_in_a_notebook(cascade, ball):
    both = cascade([STAR, BALL], seed=3)
    assert repr(both) == "CascadeOutput(2 videos of 76 frames of 48x48, 30 fps)"
    page = both._repr_html_()
    assert page.count("<video ") == 2
    assert "data:video/mp4;base64," in page
    assert len(both) == 2
    assert both[-1].video.equal(ball.video)
    assert both[1].stages["decoder"].equal(ball.stages["decoder"])
    with pytest.raises(IndexError):
        both[2]


def test_frames_are_bytes_and_pictures(ball):
    assert ball.frames.shape == (1, 76, 48, 48, 3)
    assert ball.frames.dtype == np.uint8
    ((first, *others),) = ball.to_pil()
    assert len(others) == 75
    assert np.array_equal(np.asarray(first), ball.frames[0, 0])


def test_several_videos_are_saved_with_numbers(cascade, ball, tmp_path):
    both = cascade([STAR, BALL], seed=3)
    paths = both.save(tmp_path / "x.apng")
    assert [path.name for path in paths] == ["x-0.apng", "x-1.apng"]
    assert ball.save(str(tmp_path / "y.apng")) == [tmp_path / "y.apng"]
    assert (tmp_path / "y.apng").read_bytes() == paths[1].read_bytes()


def test_only_a_known_ground_can_be_replaced(ball, tmp_path):
    with pytest.raises(ValueError, match="these weights know no ground of one colour"):
        ball.save(tmp_path / "x.webp", background="transparent")
    with pytest.raises(ValueError, match="no colour: 'reddish'"):
        ball.save(tmp_path / "x.webp", background="reddish")
    assert not list(tmp_path.iterdir())
    known = dataclasses.replace(ball, ground=(255, 255, 255), video=torch.ones(1, 3, 2, 8, 8))
    known.save(tmp_path / "clear.apng", background="transparent")
    known.save(tmp_path / "red.apng", background=(255, 0, 0))
    for name, pixel in (("clear", (255, 255, 255, 0)), ("red", (255, 0, 0, 255))):
        with Image.open(tmp_path / f"{name}.apng") as image:
            assert image.convert("RGBA").getpixel((3, 3)) == pixel


def test_arguments_of_diffusers_are_understood(cascade, ball):
    same = cascade(BALL, seed=3, num_steps=1, until="decoder").video
    assert cascade(BALL, seed=3, num_inference_steps=1, until="decoder").video.equal(same)
    drawn = [cascade(BALL, generator=torch.Generator().manual_seed(5), until="decoder").video for _ in "ab"]
    assert drawn[0].equal(drawn[1])
    generator = torch.Generator().manual_seed(5)
    first, second = (cascade(BALL, generator=generator, until="decoder").video for _ in "ab")
    assert first.equal(drawn[0])
    assert not second.allclose(first)
    with pytest.raises(ValueError, match="num_steps and num_inference_steps are the same"):
        cascade(BALL, num_steps=1, num_inference_steps=1)
    with pytest.raises(ValueError, match="seed and generator both say"):
        cascade(BALL, seed=0, generator=generator)
