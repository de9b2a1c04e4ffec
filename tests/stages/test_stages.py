"""The stages: what they train, what they are told, and that text reaches two of them alone."""

import io

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from helpers.nets import DECODER, SR, VIDEO
from helpers.stages import save_tiny_clip
from lightning_mav.diffusion import GaussianDiffusion, Sampler
from lightning_mav.nn import Pseudo3DUNet
from lightning_mav.stages import DecoderStage, InterpolationStage, SRHStage, SRLTStage
from lightning_mav.stages.frames import random_frames
from lightning_mav.stages.panels import LINE_HEIGHT, log_panel
from lightning_mav.utils.errors import UsageError


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return save_tiny_clip(tmp_path_factory.mktemp("clip"))


def parts(**unet):
    return Pseudo3DUNet(**unet), GaussianDiffusion(prediction="v"), Sampler(num_steps=2)


def decoder(clip, **kwargs):
    stage = DecoderStage(*parts(**DECODER | VIDEO), clip=clip, image_size=16, num_frames=4, **kwargs)
    stage.setup("test")
    return stage


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"lr": -1.0}, ValueError, "lr must be at least 0"),
        ({"cond_drop_prob": 2.0}, ValueError, "cond_drop_prob must be from 0 to 1"),
        ({"init_from": 7}, ValueError, "init_from must be a text"),
        ({"num_samples": 1.5}, ValueError, "num_samples must be a whole number"),
        ({"weight_decey": 0.1}, TypeError, "unexpected keyword argument 'weight_decey'"),
    ],
)
def test_what_a_stage_passes_on_is_checked_where_it_belongs(clip, wrong, error, words):
    with pytest.raises(error, match=words):
        decoder(clip, **wrong)


def test_a_misspelt_option_of_sampling_is_refused(clip):
    with pytest.raises(TypeError, match="unexpected keyword argument 'number_steps'"):
        decoder(clip).model.sample(torch.randn(1, 6), number_steps=2)


def test_batch_of_both_kinds_weighs_images(clip):
    stage = decoder(clip, image_weight=0.5, cond_drop_prob=0.0)
    stage.log = stage.log_dict = lambda *args, **kwargs: None
    losses = iter((torch.tensor(2.0), torch.tensor(3.0)))
    stage.loss = lambda batch: next(losses)
    assert stage.training_step({"video": {}, "image": {}}, 0).item() == 2 + 0.5 * 3


@pytest.mark.parametrize(("embed_frame", "index"), [("middle", 2), ("first", 0)])
def test_embedding_is_that_of_the_chosen_frame(clip, embed_frame, index):
    stage, video = decoder(clip, embed_frame=embed_frame), torch.rand(3, 3, 4, 16, 16)
    x_0, cond = stage.prepare({"video": video, "fps": torch.full((3,), 8.0)})
    assert torch.equal(x_0, video)
    torch.testing.assert_close(cond["image_embed"], stage.clip.encode_image(video[:, :, index]))
    assert not cond["image_embed"].requires_grad


def test_unknown_frame_to_embed_is_refused(clip):
    with pytest.raises(ValueError, match=r"embed_frame must be one of .*'first'.*, got 'last'"):
        decoder(clip, embed_frame="last")


def test_random_frames_come_from_their_own_video():
    video = torch.arange(6.0).view(2, 1, 3, 1, 1).expand(2, 3, 3, 2, 2)
    frames = torch.stack([random_frames(video)[:, 0, 0, 0] for _ in range(50)])
    assert set(frames[:, 0].tolist()) == {0, 1, 2}
    assert set(frames[:, 1].tolist()) == {3, 4, 5}


def test_share_of_dropped_embeddings(clip):
    stage = decoder(clip, cond_drop_prob=0.3)
    drops = [stage.prepare({"image": torch.rand(50, 3, 16, 16)})[1]["drop"] for _ in range(10)]
    assert torch.cat(drops).float().mean().item() == pytest.approx(0.3, abs=0.08)


def test_frozen_clip_is_neither_trained_nor_saved(clip):
    stage = decoder(clip)
    assert not any("clip" in name for name in stage.state_dict())
    assert not any(p.requires_grad for p in stage.clip.parameters())


@pytest.mark.parametrize("trainable", ["all", "spatial", "temporal"])
def test_trainable_chooses_layers(clip, trainable):
    stage = decoder(clip, trainable=trainable, lr=1.0, spatial_lr_scale=0.5)
    temporal = {id(p) for _, p in stage.model.net.temporal_parameters()}
    groups = stage.parameter_groups()
    rates = {(id(p) in temporal): group["lr"] for group in groups for p in group["params"]}
    assert (
        rates
        == {
            "all": {False: 0.5, True: 1.0},
            "spatial": {False: 1.0},
            "temporal": {True: 1.0},
        }[trainable]
    )
    total = sum(len(group["params"]) for group in groups)
    assert total == sum(p.requires_grad for p in stage.model.net.parameters())


def test_masks_are_what_sampling_uses(clip):
    stage = InterpolationStage(*parts(**DECODER | VIDEO | {"cond_channels": 4}), clip=clip, init_from=None)
    masked, between = stage.sample_masks(2000, 16)
    assert masked.any(dim=1).all()
    assert not masked.all(dim=1).any()
    rows = {tuple((~row).nonzero().flatten().tolist()) for row in masked}
    assert (0, 5, 10, 15) in rows  # five windows of these make 76 frames
    assert (0,) in rows  # an image, to be animated
    assert any(row[-1] == 15 and row[0] > 0 for row in rows)  # what came before
    assert any(row == tuple(range(len(row))) and len(row) > 1 for row in rows)  # what comes after
    assert (0, 1, 2, 3, 14, 15) in rows  # from one video to another
    assert (~masked[:, [0, 15]]).all(dim=1).float().mean() > 0.5  # most have both ends
    assert masked[between, 1].all()  # every K-th frame is kept, and K is at least 2
    assert between.float().mean().item() == pytest.approx(0.8, abs=0.04)


def test_noise_between_key_frames_is_as_configured_and_elsewhere_even(clip):
    unet, _, sampler = parts(**DECODER | VIDEO | {"cond_channels": 4})
    highest = GaussianDiffusion(prediction="x_0", timesteps="logit_normal", logit_mean=6)
    stage = InterpolationStage(unet, highest, sampler, clip=clip, init_from=None)
    between = torch.arange(4000) % 2 == 0
    t = stage.sample_timesteps(between)
    assert t[between].min() > 800
    histogram = torch.histc(t[~between].float(), bins=10, min=0, max=1000) / 2000
    torch.testing.assert_close(histogram, torch.full_like(histogram, 0.1), atol=0.03, rtol=0)


@pytest.mark.parametrize("blend", [False, True])
def test_interpolation_shows_no_masked_frame(clip, blend):
    net = DECODER | VIDEO | {"cond_channels": 4}
    stage = InterpolationStage(*parts(**net), clip=clip, image_size=16, init_from=None, blend=blend)
    stage.setup("test")
    video, fps = torch.rand(2, 3, 16, 16, 16), torch.full((2,), 8.0)
    x_cond = stage.prepare({"video": video, "fps": fps})[1]["x_cond"]
    masked = x_cond[:, 3:].bool().expand(-1, 3, -1, -1, -1)
    assert torch.equal(x_cond[:, :3][~masked], video[~masked])
    stage.sample_masks = lambda *_: (masked[:, 0, :, 0, 0], torch.ones(2, dtype=torch.bool))
    other = stage.prepare({"video": torch.where(masked, -1.0, video), "fps": fps})[1]["x_cond"]
    assert torch.equal(x_cond, other)
    assert x_cond[:, :3][masked].any() == blend


def test_clip_sees_frames_as_they_are_read(clip):
    # They must be as large as the prior's, or the decoder would know other embeddings than it is given.
    seen = []
    video, fps = torch.rand(2, 3, 4, 32, 32), torch.full((2,), 8.0)
    net = DECODER | VIDEO | {"cond_channels": 4}
    frames = InterpolationStage(*parts(**net), clip=clip, image_size=16, init_from=None)
    for stage in (decoder(clip), frames):
        stage.setup("test")
        stage.clip.encode_image = lambda image: seen.append(image.shape) or torch.zeros(len(image), 6)
        x_0, _ = stage.prepare({"video": video, "fps": fps})
        torch.testing.assert_close(x_0, F.avg_pool3d(video, (1, 2, 2)))
        assert stage.sample_like({"video": video, "fps": fps})["real"].shape == x_0.shape
        with pytest.raises(UsageError, match="frames of 8 px are read for a network of 16 px"):
            stage.prepare({"video": video[..., :8, :8], "fps": fps})
    assert {shape[-2:] for shape in seen[:2]} == {(32, 32)}


def test_super_resolution_sees_the_small_video_alone():
    stage = SRLTStage(*parts(**SR | VIDEO), max_noise_level=0.0, noise_level=0.0)
    video = torch.rand(1, 3, 2, 16, 16)
    _, cond = stage.prepare({"video": video, "fps": torch.tensor([8.0])})
    checker = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(8, 8)  # gone at a quarter of the size
    _, other = stage.prepare({"video": video + 0.1 * checker, "fps": torch.tensor([8.0])})
    torch.testing.assert_close(cond["x_cond"], other["x_cond"], atol=1e-5, rtol=0)


def test_noise_level_tells_how_noisy_the_condition_is():
    stage = SRHStage(*parts(**SR | {"temporal": False}), scale=4, max_noise_level=0.5)
    x_0, cond = stage.prepare({"image": torch.zeros(200, 3, 16, 16)})
    assert x_0.shape[2] == 1
    torch.testing.assert_close(cond["x_cond"].flatten(1).std(dim=1), cond["noise_level"], atol=0.05, rtol=0.1)


@pytest.mark.parametrize("stage_class", [SRHStage, SRLTStage])
@pytest.mark.parametrize("corruption", ["noise", "blur", "bsr"])
def test_super_resolution_learns_from_each_corruption(corruption, stage_class):
    torch.manual_seed(0)
    parts_of_stage = parts(**SR | {"temporal": stage_class is SRLTStage})
    stage = stage_class(
        *parts_of_stage, scale=2, corruption=corruption, max_noise_level=1.0, clamp_input=False
    )
    batch = (
        {"video": 2 * torch.rand(2, 3, 2, 16, 16) - 1}
        if stage_class is SRLTStage
        else {"image": torch.rand(2, 3, 16, 16)}
    )
    x_0, cond = stage.prepare(batch)
    clean = stage.model.upsample(stage.shrink(x_0))
    changed = (cond["x_cond"] - clean).square().flatten(1).mean(dim=1)
    assert cond["x_cond"].shape == x_0.shape
    assert changed.max() > 1e-4  # the level of one may be next to none
    assert ((cond["noise_level"] > 0) & (cond["noise_level"] <= 1)).all()
    assert stage.loss(batch).isfinite()
    assert stage.model.config["init_args"]["corruption"] == corruption  # a weights file knows it
    assert stage.model.config["init_args"]["clamp_input"] is False


def test_panels_reach_tensorboard(tmp_path):
    from lightning.pytorch.loggers import TensorBoardLogger
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(tmp_path, name="", version="")
    log_panel(logger, "image", {"real": torch.rand(3, 3, 1, 8, 8)}, 1)
    rows = {"real": torch.rand(5, 3, 4, 8, 8), "generated": torch.rand(5, 3, 4, 8, 8)}
    log_panel(logger, "video", rows, 2, ["a red ball", "", "words " * 50, "8 fps", "\u2603"])
    logger.experiment.flush()
    events = EventAccumulator(str(tmp_path), size_guidance={"images": 0})
    events.Reload()
    (image,), (video,) = events.Images("image"), events.Images("video")
    assert (image.width, image.height) == (3 * 96, 96 + LINE_HEIGHT)
    assert (video.width, video.height) == (5 * 96, 2 * (96 + LINE_HEIGHT) + 3 * LINE_HEIGHT)
    with Image.open(io.BytesIO(video.encoded_image_string)) as animation:
        assert animation.n_frames == 4


def test_frame_skips_out_of_range_are_refused(clip):
    with pytest.raises(ValueError, match=r"2\.\.15, got \[1\]"):
        InterpolationStage(*parts(**DECODER | VIDEO | {"cond_channels": 4}), clip=clip, frame_skips=[1])
