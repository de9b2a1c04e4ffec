"""The true pictures of a world are read whole, in order and with their own times; what is damaged is said."""

import json
import shutil
import tarfile

import pytest
import torch

from helpers.emoji_packages import NUM_FRAMES
from helpers.tars import write_tar
from lightning_mav.data.codecs.images import GROUND
from lightning_mav.evaluation.worlds.emoji.truth import (
    SEEN,
    THINGS,
    TONES_HIDDEN,
    VALIDATION,
    Animation,
    codes_of,
    read_animations,
    read_entries,
    read_stills,
)
from lightning_mav.evaluation.worlds.emoji.words import read_captions, read_other_names
from lightning_mav.utils.errors import UsageError

NUMBERED = {
    "code": "1", "emoji": "1", "name": 5, "keywords": [], "thing": "1", "tones": [], "animation": "none"
}  # fmt: skip
KINDS = (SEEN, THINGS, TONES_HIDDEN, VALIDATION)


@pytest.fixture
def own(emoji_world, tmp_path):
    """A copy of the world, to be damaged."""
    return shutil.copytree(emoji_world, tmp_path / "w")


@pytest.mark.parametrize("start", [0.0, 0.1, 1.3])
def test_at_native_rate_each_frame_is_seen_once_and_then_again(start):
    num = 17
    animation = Animation(torch.zeros(num, 3, 4, 4), torch.arange(num).double() / 24, num / 24)
    indices = animation.indices(start, 24.0, 2 * num).tolist()
    first = int(24 * start + 1e-3) % num
    assert indices == [(first + i) % num for i in range(2 * num)]


def test_a_frame_is_seen_for_its_own_time():
    animation = Animation(torch.zeros(3, 3, 4, 4), torch.tensor([0.0, 0.1, 0.4]).double(), 1.0)
    assert animation.indices(0.0, 10.0, 12).tolist() == [0, 1, 1, 1, 2, 2, 2, 2, 2, 2, 0, 1]
    assert animation.indices(0.95, 10.0, 3).tolist() == [2, 0, 1]


def test_stills_are_in_the_order_of_the_list(emoji_world):
    entries = read_entries(emoji_world)
    stills = read_stills(emoji_world, entries, 32, len(entries))
    assert stills.shape == (len(entries), 3, 32, 32)
    colours = stills[:, :, 16, 8]  # within the square, whose colour is that of the code
    assert len(colours.unique(dim=0)) == len(entries)
    chosen = [entries[i] for i in (20, 3, 11)]
    assert read_stills(emoji_world, chosen, 32, len(entries)).equal(stills[[20, 3, 11]])
    ground = torch.tensor(GROUND) / 127.5 - 1
    assert stills[:, :, 0, 0].allclose(ground.expand(len(entries), -1))


@pytest.mark.parametrize("min_seconds", [2.0, 0.5])  # three rounds in a clip, or exactly one
def test_animations_are_one_round_with_their_times(min_seconds, make_emoji_world):
    world = make_emoji_world(min_seconds=min_seconds)
    entries = read_entries(world)
    assert {entry.animation for entry in entries} == {*KINDS, "none"}
    stills = dict(zip((e.code for e in entries), read_stills(world, entries, 32, len(entries)), strict=True))
    for kind in KINDS:
        codes = codes_of(entries, kind)
        found = read_animations(world, kind, 32, codes)
        assert found.keys() == set(codes)
        for code, one in found.items():
            assert one.frames.shape == (NUM_FRAMES, 3, 32, 32)
            torch.testing.assert_close(
                one.starts, 0.042 * torch.arange(NUM_FRAMES).double(), atol=1e-3, rtol=0
            )
            assert one.seconds == pytest.approx(0.042 * NUM_FRAMES, abs=1e-3)
            clip = one.clip(0.0, 24.0, 4)
            assert clip.shape == (3, 4, 32, 32)
            assert (clip[:, 0] - stills[code]).abs().mean() < 0.05  # the still is the first frame


def test_only_what_is_asked_for_is_read(emoji_world):
    codes = codes_of(read_entries(emoji_world), SEEN)[:2]
    assert read_animations(emoji_world, SEEN, 16, codes).keys() == set(codes)
    assert read_animations(emoji_world / "nowhere", SEEN, 16, []) == {}


def test_captions_are_all_there(emoji_world):
    captions, entries = read_captions(emoji_world), read_entries(emoji_world)
    assert len(captions) == 3 * len(entries)
    assert captions[: len(entries)] == [entry.name for entry in entries]


def read_all(root):
    entries = read_entries(root)
    read_stills(root, entries, 32, len(entries))
    for kind in KINDS:
        read_animations(root, kind, 32, codes_of(entries, kind))
    read_captions(root)
    return read_other_names(root)


def test_without_other_names_there_are_none(own):
    assert read_all(own)[0] == ("1f980", "fire engine")
    (own / "other_names.json").unlink()
    assert read_all(own) == []


def relisted(root):
    """Lists an emoji as hidden whose clip lies elsewhere."""
    listed = json.loads((root / "emoji.json").read_text())
    next(entry for entry in listed if entry["animation"] == SEEN)["animation"] = THINGS
    (root / "emoji.json").write_text(json.dumps(listed))


def changed(suffix, new):
    """Returns a function that changes the members of a suffix in the first shard of images; None removes."""

    def damage(root):
        shard = root / "images" / "000000.tar"
        with tarfile.open(shard) as tar:
            files = [(one.name, tar.extractfile(one).read()) for one in tar]
        files = [(name, new if name.endswith(suffix) else data) for name, data in files]
        write_tar(shard, [(name, data) for name, data in files if data is not None])

    return damage


def unknown(root):
    listed = json.loads((root / "emoji.json").read_text())
    (root / "emoji.json").write_text(json.dumps([*listed, listed[0] | {"code": "1f4af"}]))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "emoji.json: cannot be read"),
        (lambda root: (root / "emoji.json").unlink(), "emoji.json: cannot be read"),
        (lambda root: (root / "emoji.json").write_text("[{]"), "emoji.json: is no list of emoji"),
        (lambda root: (root / "emoji.json").write_text('{"a": 1}'), "emoji.json: is no list of emoji"),
        (lambda root: (root / "emoji.json").write_text('[{"code": "1"}]'), "emoji.json: is no list of emoji"),
        (lambda root: (root / "emoji.json").write_text("[]"), "emoji.json: lists no emoji"),
        (lambda root: (root / "other_names.json").write_text("7"), "other_names.json: is no list of names"),
        (
            lambda root: (root / "other_names.json").write_text("[{}]"),
            "other_names.json: is no list of names",
        ),
        (lambda root: (root / "other_names.json").write_text("{}"), "other_names.json: .*must be a list"),
        (lambda root: (root / "emoji.json").write_text(json.dumps([NUMBERED])), "name must be a text, got 5"),
        (changed("txt", b"\xff"), r"000000\.tar: cannot be used \(caption is not UTF-8"),
        (changed("txt", None), r"000000\.tar: cannot be used \(no caption\)"),
        (changed("json", None), r"000000\.tar: cannot be used \('json' is missing\)"),
        (
            changed("webp", None),
            r"000000\.tar: cannot be used \(member missing: none ends in png, jpg, jpeg, webp\)",
        ),
        (lambda root: shutil.rmtree(root / "videos-things"), "no shard .*videos-things"),
        (lambda root: shutil.rmtree(root / "images"), "no shard .*images"),
        (relisted, "videos-things: no animation of 1f48|videos-things: no animation of 1f98"),
        (unknown, "images: no still of 1f4af"),
    ],
)
def test_damage_is_one_line_with_the_remedy(damage, message, own):
    damage(own)
    with pytest.raises(UsageError, match=message) as caught:
        read_all(own)
    assert "make world WORLD=emoji" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_damaged_picture_is_named(own):
    shard = own / "images" / "000000.tar"
    data = bytearray(shard.read_bytes())
    place = data.index(b"RIFF") + 8
    data[place : place + 4] = b"oops"
    shard.write_bytes(bytes(data))
    with pytest.raises(
        UsageError, match=r"0000000000 in .*000000\.tar: cannot be used .*make world"
    ) as caught:
        read_all(own)
    assert len(str(caught.value).splitlines()) == 1
