"""Motion is told by the order of frames alone: neither by looks nor where nothing is in order."""

import pytest
import torch

from lightning_mav.evaluation.worlds.controls import shuffled, static
from lightning_mav.evaluation.worlds.emoji.motion import Gallery, Ranking, edges
from lightning_mav.evaluation.worlds.emoji.moving import others_of
from lightning_mav.evaluation.worlds.emoji.truth import Animation

FPS, NUM_FRAMES = 4.8, 16
NAMES = [f"animation {number}" for number in range(24)]


def animation(generator, num_frames=72, size=32):
    """A bright square that runs along a closed path of its own, over dark ground."""
    phase = torch.arange(num_frames) / num_frames * 2 * torch.pi
    weight, offset = torch.rand(2, 2, 2, 1, generator=generator)
    waves = weight * torch.sin(torch.arange(1, 3)[:, None] * phase + 2 * torch.pi * offset)
    path = waves.sum(dim=1)
    places = (12 + 10 * path / path.abs().amax(dim=1, keepdim=True)).round().long()
    frames = torch.full((num_frames, 3, size, size), 60, dtype=torch.uint8)
    for frame, (x, y) in zip(frames, places.T.tolist(), strict=True):
        frame[:, y : y + 8, x : x + 8] = 200
    return Animation(frames, torch.arange(num_frames).double() / 24, num_frames / 24)


@pytest.fixture(scope="module")
def animations():
    generator = torch.Generator().manual_seed(0)
    return {name: animation(generator) for name in NAMES}


@pytest.fixture(scope="module")
def gallery(animations):
    return Gallery(animations, FPS, NUM_FRAMES)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("start", [0.0, 0.37, 1.1, 2.95])
def test_a_clip_from_any_phase_finds_its_animation_whatever_its_colours(animations, gallery, start):
    colours = torch.tensor([-0.3, 0.9, 0.4]).view(3, 1, 1, 1)
    clips = [0.4 * one.clip(start, FPS, NUM_FRAMES) * colours + 0.2 for one in animations.values()]
    assert gallery.ranks(clips, NAMES, generator()).tolist() == [0] * len(NAMES)


def test_a_clip_of_another_size_finds_its_animation(animations, gallery):
    clips = [
        torch.nn.functional.interpolate(one.clip(0.5, FPS, NUM_FRAMES), scale_factor=2)
        for one in animations.values()
    ]
    assert gallery.ranks(clips, NAMES, generator()).tolist() == [0] * len(NAMES)


def test_shuffled_and_independent_frames_rank_by_chance(animations, gallery):
    clips = torch.stack([one.clip(0.5, FPS, NUM_FRAMES) for one in animations.values()] * 10)
    frames = torch.stack([one.frames for one in animations.values()] * 10) / 127.5 - 1
    chosen = torch.randint(frames.shape[1], (len(frames), NUM_FRAMES), generator=generator(2))
    independent = torch.stack([own[rows] for own, rows in zip(frames, chosen, strict=True)]).transpose(1, 2)
    for videos in (shuffled(clips, generator(1)), independent):
        ranks = gallery.ranks(list(videos), NAMES * 10, generator(3)).double()
        # The mean of 240 uniform ranks of 0 to 23 is 11.5, give or take 0.45; so is their spread.
        assert abs(ranks.mean().item() - 11.5) < 1.8
        assert abs(ranks.std().item() - 6.9) < 1
        assert (ranks == 0).double().mean() < 0.1


def test_at_rest_all_scores_are_0_and_the_rank_is_drawn_by_lot(animations, gallery):
    clips = torch.stack([one.clip(0.5, FPS, NUM_FRAMES) for one in animations.values()])
    still = static(clips + 0.1 * torch.rand(clips.shape, generator=generator()))  # numbers that round
    assert all(gallery.scores(video).eq(0).all() for video in still)
    ranks = gallery.ranks(list(still) * 10, NAMES * 10, generator()).double()
    assert abs(ranks.mean().item() - 11.5) < 1.8
    assert abs(ranks.std().item() - 6.9) < 1


def test_what_stays_the_same_is_not_described(animations):
    frames = animations[NAMES[0]].clip(0.0, FPS, NUM_FRAMES).movedim(1, 0)
    described = edges(frames)
    torch.testing.assert_close(described.mean(dim=0), torch.zeros(described.shape[1]), atol=1e-6, rtol=0)
    assert described.abs().amax() > 0.1


def test_scores_are_those_of_comparing_order_by_order(animations):
    few = dict(list(animations.items())[:3])
    gallery = Gallery(few, FPS, NUM_FRAMES, num_shuffles=5, step=3)
    video = few[NAMES[1]].clip(0.2, FPS, NUM_FRAMES) + 0.3 * torch.randn(3, NUM_FRAMES, 32, 32)
    frames = edges(video.movedim(1, 0))
    orders = gallery.orders.unflatten(1, (NUM_FRAMES, NUM_FRAMES)).argmax(dim=1)  # frame shown at each time
    assert orders[0].tolist() == list(range(NUM_FRAMES))
    assert all(order.sort().values.tolist() == list(range(NUM_FRAMES)) for order in orders)
    expected = []
    for one in few.values():
        described = edges(one.frames.float() / 127.5 - 1)
        truths = [described[one.indices(start, FPS, NUM_FRAMES)] for start in one.starts[::3].tolist()]
        best = torch.tensor(
            [
                max(torch.cosine_similarity(frames[order].flatten(), t.flatten(), dim=0) for t in truths)
                for order in orders
            ]
        )
        expected.append((best[0] - best[1:].mean()) / best[1:].std())
    torch.testing.assert_close(gallery.scores(video), torch.stack(expected), rtol=1e-3, atol=1e-3)


def test_shares_count_the_first_and_the_first_five(animations, gallery):
    ranking = Ranking(gallery, generator())
    own = [one.clip(0.5, FPS, NUM_FRAMES) for one in animations.values()]
    ranks = ranking.add("own", own, NAMES)
    ranking.add("another's", [own[i] for i in others_of(NAMES)], NAMES)
    ranking.split("half", ranks, [True] * 12 + [False] * 12)
    ranking.split("none", ranks, [False] * 24)
    ranking.add("nothing", [], [])
    ranking.chance()
    assert ranking.shares.keys() == {"own", "another's", "half", "chance"}
    assert ranking.shares["own"]["top 1"]["value"] == 1
    assert ranking.shares["half"]["top 5"]["n"] == 12
    assert ranking.shares["another's"]["top 1"]["value"] == 0
    assert ranking.shares["chance"]["top 5"]["value"] == 5 / 24


def test_the_control_takes_the_animation_of_another_thing():
    assert others_of(["a", "a", "b", "c"]) == [2, 2, 3, 0]
    assert others_of(["a"]) == [0]
