"""Uses of the cascade: what is given stays where it is, and what is added fits it."""

import re

import pytest
import torch

from helpers.nets import DECODER, VIDEO
from helpers.tiny_cascade import save_tiny_cascade
from lightning_mav import applications
from lightning_mav.cascade import Cascade
from lightning_mav.models import shrink
from lightning_mav.models.sampling import Sampling
from lightning_mav.nn import Pseudo3DUNet

FAST = Sampling(seed=3, num_steps=1)


@pytest.fixture(scope="module")
def cascade(tmp_path_factory):
    found = Cascade.from_pretrained(save_tiny_cascade(tmp_path_factory.mktemp("weights")), "cpu")
    found.precision = "32-true"
    return found


def frames(*shape, seed=0):
    return torch.rand(1, 3, *shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("by", ["decoder", "interpolation"])
def test_an_animated_image_has_all_stages_and_the_size_of_the_cascade(cascade, by):
    output = applications.animate(cascade, frames(20, 30), by=by, sampling=FAST)
    assert {name: tuple(x.shape[2:]) for name, x in output.stages.items()} == {
        "decoder": (16, 8, 8),
        "interpolation": (76, 8, 8),
        "sr_lt": (76, 16, 16),
        "sr_h": (76, 48, 48),
    }
    assert output.fps == 5 * cascade.known.fps
    assert output.rates["decoder"] == cascade.known.fps


@pytest.mark.parametrize("by", ["decoder", "interpolation"])
@pytest.mark.parametrize("embed_frame", ["first", "middle"])
def test_a_video_begins_with_the_image(cascade, by, embed_frame, monkeypatch):
    monkeypatch.setattr(cascade.decoder, "embed_frame", embed_frame)
    image = frames(8, 8)
    output = applications.animate(cascade, image, by=by, until="decoder", sampling=FAST)
    assert output.video.shape[2] == 16
    torch.testing.assert_close(output.video[:, :, 0], image)


@pytest.mark.parametrize(("embed_frame", "drawn"), [("first", 16), ("middle", 8)])
def test_what_the_decoder_draws_from_the_image_on_is_kept(cascade, embed_frame, drawn, monkeypatch):
    monkeypatch.setattr(cascade.decoder, "embed_frame", embed_frame)
    made, sample = [], cascade.decoder.sample
    monkeypatch.setattr(cascade.decoder, "sample", lambda *a, **k: made.append(sample(*a, **k)) or made[-1])
    output = applications.animate(cascade, frames(8, 8), until="decoder", sampling=FAST)
    torch.testing.assert_close(output.video[:, :, :drawn], made[0][:, :, -drawn:])


@pytest.mark.parametrize("name", ["morph", "extend", "loop"])
def test_what_begins_with_the_interpolation_does_not_end_before_it(cascade, name):
    given = {
        "morph": [frames(8, 8), frames(8, 8)],
        "extend": [frames(4, 8, 8), 8.0, 2],
        "loop": [frames(4, 8, 8), 8.0],
    }[name]
    with pytest.raises(ValueError, match="until must be one of interpolation, sr_lt, sr_h, got 'decoder'"):
        getattr(applications, name)(cascade, *given, until="decoder", sampling=FAST)
    made = {"interpolation": frames(4, 8, 8)}
    with pytest.raises(ValueError, match="until must be one of interpolation"):
        cascade.render(torch.zeros(1, cascade.clip.embed_dim), until="decoder", made=made)


@pytest.mark.parametrize("fps", [0, -1.0, float("nan"), float("inf")])
def test_impossible_frame_rates_are_refused(cascade, fps):
    with pytest.raises(ValueError, match=r"fps must be at least 0\.002"):
        applications.animate(cascade, frames(8, 8), fps=fps, until="decoder", sampling=FAST)
    with pytest.raises(ValueError, match=r"fps must be at least 0\.002"):
        applications.extend(cascade, frames(4, 8, 8), fps, 2, until="interpolation", sampling=FAST)


GOOD = frames(4, 8, 8)
WRONG = {
    "a tensor of floats, got list": [1.0],
    "got bytes: divide them by 127.5": (GOOD * 100).byte(),
    "a tensor of floats, got torch.int64": (GOOD * 100).long(),
    "must be (B, 3, F, H, W), each 1 or more, got (3, 4, 8, 8)": GOOD[0],
    "got (1, 4, 4, 8, 8)": torch.zeros(1, 4, 4, 8, 8),
    "got (0, 3, 4, 8, 8)": GOOD[:0],
    "got (1, 3, 0, 8, 8)": GOOD[:, :, :0],
    "must lie in [-1, 1], got values from 0 to 255": torch.linspace(0, 255, 768).view(1, 3, 4, 8, 8),
    "must lie in [-1, 1], got values from nan to nan": GOOD / 0 * 0,
}


@pytest.mark.parametrize("words", WRONG)
def test_what_is_no_video_is_refused_by_name(cascade, words):
    uses = (
        lambda video: applications.vary(cascade, video),
        lambda video: applications.extend(cascade, video, 8, 2),
        lambda video: applications.loop(cascade, video, 8),
        lambda video: applications.interpolate(cascade, video, 8),
        lambda video: applications.upscale(cascade, video, 8),
    )
    for use in uses:
        with pytest.raises(ValueError, match=f"video must .*{re.escape(words)}|^video .*{re.escape(words)}"):
            use(WRONG[words])


def test_what_is_no_image_is_refused_by_name(cascade):
    for value in (GOOD, GOOD[0, :, 0], GOOD[:, :, 0].double() * 300, GOOD[:, :2, 0]):
        with pytest.raises(ValueError, match="image must"):
            applications.animate(cascade, value)
        with pytest.raises(ValueError, match="second must"):
            applications.morph(cascade, GOOD[:, :, 0], value)
    two = torch.cat([GOOD, GOOD])[:, :, 0]
    with pytest.raises(ValueError, match="as many are needed of each, got 2 of first and 1 of second"):
        applications.morph(cascade, two, two[:1])


def test_double_precision_is_as_good(cascade):
    draw = {"until": "interpolation", "sampling": FAST}
    single = applications.extend(cascade, GOOD, 8, 2, **draw)
    torch.testing.assert_close(applications.extend(cascade, GOOD.double(), 8, 2, **draw).video, single.video)


@pytest.mark.parametrize("num_frames", [0, 2.5, True, "2"])
def test_a_number_of_frames_is_whole(cascade, num_frames):
    for use in (applications.extend, applications.loop):
        with pytest.raises(ValueError, match=r"num_frames must be (a whole number|from 1|at least 1)"):
            use(cascade, GOOD, 8, num_frames, sampling=FAST)


def test_embeddings_of_another_number_are_refused(cascade):
    embed = torch.zeros(2, cascade.clip.embed_dim)
    with pytest.raises(ValueError, match="got 2 of image_embed and 1 of decoder"):
        cascade.render(embed, made={"decoder": GOOD})
    with pytest.raises(ValueError, match=r"image_embed must be \(B, 8\), each 1 or more, got \(8,\)"):
        cascade.render(embed[0])


@pytest.mark.parametrize("fps", [6, 7.5, 8, 10, 12, 15, 24, 25, 29.97, 30, 48, 50, 60])
def test_a_loop_takes_about_two_and_a_half_seconds(fps):
    assert 2 <= applications.loop_frames(fps) / fps <= 3.1


@pytest.mark.parametrize("value", [0, -1, "3", None, True, 2.5])
def test_a_frame_skip_is_refused_by_its_name_before_anything_is_drawn(cascade, value, monkeypatch):
    monkeypatch.setattr(cascade.decoder, "sample", None)
    for use in (applications.animate, applications.vary):
        with pytest.raises(ValueError, match="frame_skip must be"):
            use(cascade, GOOD[:, :, 0] if use is applications.animate else GOOD, frame_skip=value)
    with pytest.raises(ValueError, match="frame_skip must be"):
        applications.interpolate(cascade, GOOD, 8, frame_skip=value)


def test_other_words_are_refused_by_their_name_before_anything_is_drawn(cascade, monkeypatch):
    monkeypatch.setattr(cascade.decoder, "sample", None)
    with pytest.raises(ValueError, match="until must be one of decoder"):
        applications.animate(cascade, GOOD[:, :, 0], until="prior")
    with pytest.raises(ValueError, match=r"made must name some of decoder, .*, got 'nope'"):
        cascade.render(torch.zeros(1, 8), made={"nope": GOOD})
    with pytest.raises(ValueError, match="tile must be a whole number"):
        applications.upscale(cascade, GOOD, 8, tile=100.5)


@pytest.mark.parametrize("prompts", [None, 3, [], [3], b"a", {"a": 1}, ["a", None]])
def test_what_is_no_prompt_is_refused_by_name(cascade, prompts):
    for use in (cascade, cascade.embed):
        with pytest.raises(ValueError, match="prompts must be a text or a list of texts"):
            use(prompts)


def test_one_prompt_is_embedded_as_one(cascade):
    assert torch.equal(cascade.embed("a ball", FAST), cascade.embed(["a ball"], FAST))


@pytest.mark.parametrize("value", [None, [1.0], torch.zeros(3, 4, 8, 8), torch.zeros(1, 3, 4, 8, 8).int()])
def test_each_stage_refuses_what_is_no_video_by_name(cascade, value):
    embed = torch.zeros(1, 8)
    for use in (
        lambda: cascade.interpolate(value, embed, 8),
        lambda: cascade.upsample_lt(value, 8),
        lambda: cascade.upsample_h(value),
    ):
        with pytest.raises(ValueError, match="video must be"):
            use()
    with pytest.raises(ValueError, match=r"image_embed must be (a tensor|\(B, 8\))"):
        cascade.decode(value, 8)
    with pytest.raises(ValueError, match=r"got (2 of image_embed and 1 of video|1 of video and 2 of image)"):
        cascade.interpolate(GOOD, torch.zeros(2, 8), 8)
    with pytest.raises(ValueError, match=r"made\['decoder'\] must be"):
        cascade.render(embed, made={"decoder": value})


@pytest.mark.parametrize("fps", [True, "8", 1e30, 0])
def test_a_frame_rate_is_refused_by_its_name(cascade, fps):
    for use in (applications.extend, applications.loop, applications.interpolate, applications.upscale):
        with pytest.raises(ValueError, match="fps must be"):
            use(cascade, GOOD, fps, *([2] if use is applications.extend else []))
    with pytest.raises(ValueError, match="fps must be"):
        cascade("a ball", fps=fps)


def test_values_a_little_outside_are_clipped(cascade):
    draw = {"until": "interpolation", "sampling": FAST}
    wide = applications.extend(cascade, GOOD.sign() * 1.05, 8, 2, **draw)
    torch.testing.assert_close(wide.video, applications.extend(cascade, GOOD.sign(), 8, 2, **draw).video)


@pytest.mark.parametrize("window", [3, 4, 8, 9])
@pytest.mark.parametrize("fps", [2.0, 12.0, 60.0])
def test_a_loop_fits_the_window_of_any_weights(cascade, window, fps, monkeypatch):
    monkeypatch.setattr(cascade.interpolation, "num_frames", window)
    output = applications.loop(cascade, GOOD, fps, until="interpolation", sampling=FAST)
    assert output.video.shape[2] == 4 + applications.loop_frames(fps, window)
    torch.testing.assert_close(output.video[:, :, :4], GOOD)


def test_another_way_to_animate_is_refused(cascade):
    with pytest.raises(ValueError, match="by must be decoder or interpolation, got 'prior'"):
        applications.animate(cascade, frames(8, 8), by="prior")


def test_a_morph_begins_and_ends_with_the_images(cascade):
    first, second = frames(8, 8), frames(8, 8, seed=1)
    output = applications.morph(cascade, first, second, until="interpolation", sampling=FAST)
    assert output.video.shape[2] == 16
    torch.testing.assert_close(output.video[:, :, 0], first)
    torch.testing.assert_close(output.video[:, :, -1], second)


@pytest.mark.parametrize("num_frames", [1, 8, 9, 20])
@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("length", [1, 5, 12])
def test_an_extended_video_holds_the_old_one(cascade, num_frames, before, length):
    video = frames(length, 8, 8)
    output = applications.extend(
        cascade, video, 20.0, num_frames, before=before, until="interpolation", sampling=FAST
    )
    assert output.video.shape[2] == length + num_frames
    old = output.video[:, :, num_frames:] if before else output.video[:, :, :length]
    assert torch.equal(old, video)
    assert output.fps == 20


@pytest.mark.parametrize("before", [False, True])
def test_each_window_goes_on_from_the_frames_that_are_nearest(cascade, before, monkeypatch):
    seen, model = [], cascade.interpolation

    def fill(window, masked, *_, **__):
        seen.append((window, masked))
        return torch.where(masked[:, None, :, None, None], window.new_full((), len(seen)), window)

    monkeypatch.setattr(model, "fill", fill)
    video = -frames(12, 8, 8).abs()
    applications.extend(cascade, video, 20.0, 20, before=before, until="interpolation", sampling=FAST)
    assert len(seen) == 3
    kept = slice(8, 16) if before else slice(0, 8)
    near = video[:, :, :8] if before else video[:, :, -8:]
    for number, (window, masked) in enumerate(seen):
        assert (~masked).nonzero()[:, 1].tolist() == [*range(*kept.indices(16))]
        known = window[:, :, kept]
        assert torch.equal(known, near) if number == 0 else (known == number).all()


@pytest.mark.parametrize("length", [2, 5, 30])
@pytest.mark.parametrize("num_frames", [1, 8, 14])
def test_a_loop_is_closed_by_frames_that_see_both_ends(cascade, length, num_frames, monkeypatch):
    seen, model = [], cascade.interpolation

    def fill(window, masked, *_, **__):
        seen.append((window, masked))
        return torch.where(masked[:, None, :, None, None], window.new_full((), 7.0), window)

    monkeypatch.setattr(model, "fill", fill)
    video = frames(length, 8, 8)
    output = applications.loop(cascade, video, 20.0, num_frames, until="interpolation", sampling=FAST)
    assert torch.equal(output.video[:, :, :length], video)
    assert output.video.shape[2] == length + num_frames
    assert (output.video[:, :, length:] == 7).all()
    ((window, masked),) = seen
    places = masked[0].nonzero().flatten().tolist()
    first, last = places[0], places[num_frames - 1]
    assert places[:num_frames] == [*range(first, last + 1)]
    assert torch.equal(window[:, :, first - 1], video[:, :, -1])
    assert torch.equal(window[:, :, last + 1], video[:, :, 0])


@pytest.mark.parametrize(("fps", "skip"), [(4.0, 1), (8.0, 2), (24.0, 7), (2000.0, 15)])
@pytest.mark.parametrize("length", [1, 5, 40])
def test_a_loop_at_a_high_frame_rate_is_closed_by_key_frames_first(cascade, fps, skip, length, monkeypatch):
    seen, model = [], cascade.interpolation

    def fill(window, masked, embed, rate, **_):
        seen.append((window, masked, rate))
        return torch.where(masked[:, None, :, None, None], window.new_full((), float(len(seen))), window)

    monkeypatch.setattr(model, "fill", fill)
    video = frames(length, 8, 8)
    output = applications.loop(cascade, video, fps, until="interpolation", sampling=FAST)
    added = output.video[:, :, length:]
    assert added.shape[2] == applications.loop_frames(fps) == 9 * skip - 1
    assert torch.equal(output.video[:, :, :length], video)
    window, masked, rate = seen[0]
    assert rate.tolist() == pytest.approx([fps / skip])
    first = int(masked[0].nonzero()[0])
    head, tail = video[:, :, (length - 1) % skip :: skip], video[:, :, ::skip]
    assert torch.equal(window[:, :, :first], head[:, :, -first:])  # ends with the last frame
    assert torch.equal(window[:, :, first + 8], tail[:, :, 0])
    assert (added[:, :, skip - 1 :: skip] == 1).all()  # made first
    assert all((added[:, :, i::skip] > 1).all() for i in range(skip - 1))  # then those between


def test_a_loop_too_long_for_a_window_is_refused(cascade):
    with pytest.raises(ValueError, match="num_frames must be from 1 to 14, got 15"):
        applications.loop(cascade, frames(5, 8, 8), 20.0, 15)


@pytest.mark.parametrize("frame_skip", [1, 2, 7])
def test_an_interpolated_video_keeps_its_frames_and_its_shape(cascade, frame_skip):
    video = frames(9, 8, 13)
    output = applications.interpolate(
        cascade, video, 10.0, frame_skip=frame_skip, until="interpolation", sampling=FAST
    )
    torch.testing.assert_close(output.video[:, :, ::frame_skip], video)
    assert output.fps == 10 * frame_skip
    assert applications.interpolate(cascade, video, 10.0, sampling=FAST).video.shape[2:] == (41, 48, 78)


def test_a_variation_comes_from_the_mean_embedding(cascade):
    video = frames(6, 8, 8)
    with torch.inference_mode():
        embeds = cascade.clip.encode_image(video[0].transpose(0, 1)).float()
    expected = cascade.render(embeds.mean(dim=0, keepdim=True), until="decoder", sampling=FAST)
    found = applications.vary(cascade, video, until="decoder", sampling=FAST)
    torch.testing.assert_close(found.video, expected.video)
    others = applications.vary(cascade, -video, until="decoder", sampling=FAST)
    assert (others.video - expected.video).abs().max() > 1e-3


def test_sentences_are_blended_from_one_to_the_other(cascade, monkeypatch):
    ends = {"a ball": torch.eye(8)[:1], "a star": 2 * torch.eye(8)[1:2]}
    monkeypatch.setattr(cascade, "embed", lambda prompts, sampling: ends[prompts[0]])
    monkeypatch.setattr(cascade, "render", lambda embed, **rest: embed)
    for share in (0.0, 0.25, 1.0):
        found = applications.blend_prompts(cascade, "a ball", "a star", share)
        torch.testing.assert_close(found, applications.slerp(*ends.values(), share))


@pytest.mark.parametrize(("first", "share", "words"), [
    ("a ball", 2.0, "share must be from 0 to 1"),
    (3, 0.5, "first must be a text or a list of texts, got 3"),
    (["a", "b"], 0.5, "got 2 of first and 1 of second"),
])  # fmt: skip
def test_what_cannot_be_blended_is_refused(cascade, first, share, words):
    with pytest.raises(ValueError, match=words):
        applications.blend_prompts(cascade, first, "a star", share)


def test_a_path_between_embeddings_has_even_angles_and_lengths():
    a, b = torch.randn(5, 16), 3 * torch.randn(5, 16)
    path = torch.stack([applications.slerp(a, b, i / 8) for i in range(9)])
    torch.testing.assert_close(path[0], a)
    torch.testing.assert_close(path[-1], b)
    steps = torch.nn.functional.cosine_similarity(path[1:], path[:-1], dim=2).acos()
    torch.testing.assert_close(steps, steps[:1].expand_as(steps), atol=2e-3, rtol=0)
    torch.testing.assert_close(path.norm(dim=2).diff(dim=0).diff(dim=0), torch.zeros(7, 5), atol=1e-4, rtol=0)
    torch.testing.assert_close(applications.slerp(a, a, 0.3), a)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (40, 8), (9, 20), (5, 11), (3, 3)])
def test_the_shorter_side_is_brought_to_a_size(height, width):
    small = shrink(frames(2, height, width), 8)
    assert min(small.shape[-2:]) == 8
    assert small.shape[-1] / small.shape[-2] == pytest.approx(width / height, rel=0.08)
    assert small.abs().max() <= 1


@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 12), (5, 9)])
def test_networks_take_frames_of_any_size(height, width):
    net = Pseudo3DUNet(**DECODER | VIDEO | {"cond_channels": 4})
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    x_t, x_cond = torch.randn(2, 3, 4, height, width), torch.randn(2, 4, 4, height, width)
    factor, t = 2 ** (len(net.down_blocks) - 1), torch.tensor([3, 700])
    sides = (0, -width % factor, 0, -height % factor, 0, 0)
    padded = [torch.nn.functional.pad(x, sides, mode="replicate") for x in (x_t, x_cond)]
    out = net(x_t, t, x_cond=x_cond)
    assert out.shape == x_t.shape
    expected = net(padded[0], t, x_cond=padded[1])[..., :height, :width]
    torch.testing.assert_close(out, expected)
