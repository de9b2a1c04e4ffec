"""Protocols: what is asked for, which frames are taken, and samples that outlive a kill."""

import errno
import itertools
import json
import math
import subprocess
import sys
from collections import Counter

import pytest
import torch
from lightning.pytorch.utilities import rank_zero_info

from helpers.official_sets import CLASSES, NUM_TRAIN, write_msrvtt, write_ucf101, write_video
from helpers.reading import read_video
from lightning_mav.data.codecs.lossless import decode_lossless, encode_lossless
from lightning_mav.data.codecs.pixels import to_uint8
from lightning_mav.data.shards.check import check_shard
from lightning_mav.evaluation.intervals import bootstrap_interval
from lightning_mav.evaluation.metrics import frechet_distance_of, inception_score
from lightning_mav.evaluation.protocols import PROTOCOLS, load_settings
from lightning_mav.evaluation.protocols.cache import FeatureCache
from lightning_mav.evaluation.protocols.items import Item
from lightning_mav.evaluation.protocols.metrics import METRICS, variants
from lightning_mav.evaluation.protocols.real import even_frames, read_window, window_of
from lightning_mav.evaluation.protocols.samples import make_trainer
from lightning_mav.evaluation.protocols.scoring import why_incomparable
from lightning_mav.evaluation.protocols.showing import choose_shown
from lightning_mav.evaluation.protocols.store import SINGLY, SampleStore
from lightning_mav.evaluation.protocols.ucf101 import apportion, read_templates
from lightning_mav.training.runs import config_folder
from lightning_mav.utils.errors import UsageError
from lightning_mav.utils.numbers import seed_from, subsample


def settings_of(name, **overrides):
    return load_settings(config_folder() / "eval" / f"{name}.yaml", **overrides)


@pytest.fixture(scope="module")
def ucf101(tmp_path_factory):
    return write_ucf101(tmp_path_factory.mktemp("data") / "ucf101")


@pytest.fixture(scope="module")
def msrvtt(tmp_path_factory):
    return write_msrvtt(tmp_path_factory.mktemp("data") / "msrvtt")


@pytest.mark.parametrize("total", [1, 7, 100, 10_000])
@pytest.mark.parametrize("weights", [(1,), (3, 1, 2), (95, 97, 112, 70, 71), tuple(range(1, 102))])
def test_apportionment_is_fair(weights, total):
    shares = apportion(weights, total)
    assert sum(shares) == total
    for share, weight in zip(shares, weights, strict=True):
        assert abs(share - weight * total / sum(weights)) < 1
    for (a, wa), (b, wb) in itertools.combinations(zip(shares, weights, strict=True), 2):
        assert (a - b) * (wa - wb) >= 0 or a == b  # more videos, no fewer samples


def test_every_official_class_has_a_sentence_of_its_own():
    path = config_folder() / "eval" / "ucf101.txt"
    names = [line.split(":")[0] for line in path.read_text().splitlines() if not line.startswith("#")]
    sentences = read_templates(path, names)
    assert len(names) == len(set(names)) == len(set(sentences.values())) == 101
    assert all(text[0].isupper() and text.endswith(".") for text in sentences.values())
    with pytest.raises(UsageError, match=r"ucf101\.txt: no sentence for class NoSuch; add a line"):
        read_templates(path, ["NoSuch"])


def test_ucf101_follows_the_training_split(ucf101):
    protocol = PROTOCOLS["ucf101"](settings_of("ucf101", data=str(ucf101), num_samples=12))
    items = protocol.items()
    assert [item.id for item in items] == list(range(12))
    assert Counter(item.label for item in items) == {
        name: 2 * num for name, num in zip(CLASSES, NUM_TRAIN, strict=True)
    }
    assert {item.prompt for item in items if item.label == "Archery"} == {protocol.templates["Archery"]}
    assert len({item.seed for item in items}) == 12
    files = protocol.real_files()
    assert len(files) == sum(NUM_TRAIN)
    assert all(path.is_file() for path in files)


def test_a_sample_keeps_its_seed_when_there_are_more(msrvtt):
    few, all_of_them = (
        PROTOCOLS["msrvtt"](settings_of("msrvtt", data=str(msrvtt), num_samples=num)).items()
        for num in (2, None)
    )
    assert few == all_of_them[:2]


def test_msrvtt_takes_every_caption_of_the_test_videos(msrvtt):
    protocol = PROTOCOLS["msrvtt"](settings_of("msrvtt", data=str(msrvtt)))
    asked = [(item.prompt, item.label) for item in protocol.items()]
    assert asked == [
        ("a blue star", "video7010"),
        ("a blue star is spinning", "video7010"),
        ("a red ball is bouncing", "video7011"),
    ]
    assert [path.name for path in protocol.real_files()] == ["video7010.mp4", "video7011.mp4"]


def test_prompts_are_read_line_by_line(tmp_path):
    (tmp_path / "p.txt").write_text("# mine\n\n a red  ball \nein grüner Stern\n")
    protocol = PROTOCOLS["prompts"](settings_of("prompts", prompts=str(tmp_path / "p.txt"), num_samples=3))
    assert [item.prompt for item in protocol.items()] == ["a red ball", "ein grüner Stern", "a red ball"]


@pytest.mark.parametrize(
    ("name", "files", "message"),
    [
        ("ucf101", {}, "classInd.txt: cannot be read .*; unpack UCF101.rar"),
        ("ucf101", {"classInd.txt": "1 Archery", "trainlist01.txt": "X/v.avi 1"}, "'X' is not in classInd"),
        ("msrvtt", {}, "test_videodatainfo.json: cannot be read .*; unpack"),
        ("msrvtt", {"test_videodatainfo.json": "[]"}, "is not MSR-VTT's list"),
        ("msrvtt", {"test_videodatainfo.json": '{"videos": [], "sentences": []}'}, "has no captions"),
        ("prompts", {}, "cannot be read .*; name a text file"),
        ("prompts", {"p.txt": "# nothing\n"}, "has no prompts"),
    ],
)
def test_missing_files_are_named_with_the_remedy(name, files, message, tmp_path):
    for file, text in files.items():
        path = tmp_path / ("ucfTrainTestlist" if name == "ucf101" else "") / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        PROTOCOLS[name](settings_of(name, data=str(tmp_path), prompts=str(tmp_path / "p.txt")))
    assert len(str(caught.value).splitlines()) == 1


def test_missing_videos_are_counted(tmp_path):
    folder = write_ucf101(tmp_path / "ucf101")
    for path in (folder / "UCF-101" / "ApplyEyeMakeup").iterdir():
        path.unlink()
    protocol = PROTOCOLS["ucf101"](settings_of("ucf101", data=str(folder)))
    with pytest.raises(UsageError, match=r"there is no .*_c01.avi and 2 more of 6; unpack"):
        protocol.real_files()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"metrics": ["fvd", "psnr"]}, "metrics are some of fvd, kvd, is, fid, clipsim, got psnr"),
        ({"num_frames": 17, "stride": 5}, "num_frames=17 with stride=5"),
        ({"until": "decoder", "stride": 2, "num_frames": 9}, "num_frames=9"),
        ({"fps": 60}, "fps must be from 1 to 30"),
        ({"shard_size": 0}, "shard_size must be at least 1"),
        ({"frame_skip": 16}, "frame_skip must be from 1 to 15"),
        ({"nothing": 1}, "nothing"),
    ],
)
def test_wrong_settings_are_named(overrides, message):
    with pytest.raises(UsageError, match=rf"ucf101\.yaml with other .*: .*{message}"):
        settings_of("ucf101", **overrides)


WHOLE = {  # what a figure has to depend on so that published numbers are shown beside it
    "fvd": {"network": {"name": "i3d", "sha256": "0" * 64}, "real": {"num_videos": 9537, "thinned": False}},
    "is": {"network": {"name": "c3d", "sha256": "0" * 64}, "num_splits": 10},
    "fid": {"network": {"name": "inception", "sha256": "0" * 64}},
    "clipsim": {"network": {"name": "ViT-B-32-quickgelu", "sha256": METRICS["clipsim"].sha256}},
}


@pytest.mark.parametrize(
    ("metric", "protocol", "changed", "num", "reason"),
    [
        ("fvd", "ucf101", {"network": {"name": "micro_video", "sha256": "0" * 64}}, 10_000, "network"),
        ("clipsim", "msrvtt", {"network": {"name": "micro/clip", "sha256": "0" * 64}}, 59_800, "network"),
        (
            "clipsim",
            "msrvtt",
            {"network": {"name": "ViT-B-32-quickgelu", "sha256": "0" * 64}},  # other weights of that name
            59_800,
            "network",
        ),
        ("fvd", "ucf101", {"resolution": "768x768"}, 10_000, "at 768x768 pixels, published ones at 256x256"),
        ("is", "ucf101", {"resolution": "64x64"}, 10_000, "at 64x64 pixels"),
        ("fid", "msrvtt", {"resolution": "768x768"}, 59_794, "at 768x768 pixels"),
        ("clipsim", "msrvtt", {"resolution": "256x128"}, 59_794, "at 256x128 pixels"),
        ("fvd", "ucf101", {}, 9_999, "on 9,999 samples, published ones on 10,000"),
        ("clipsim", "msrvtt", {}, 100, "on 100 samples, published ones on 59,794"),
        ("is", "ucf101", {"num_splits": 1}, 10_000, "in 1 splits, published ones in 10"),
        ("fvd", "ucf101", {"real": {"num_videos": 500, "thinned": True}}, 10_000, "500 of the real videos"),
    ],
)
def test_numbers_in_print_stand_beside_those_of_the_same_protocol_alone(
    metric, protocol, changed, num, reason
):
    whole = {"resolution": "256x256", **WHOLE[metric]}
    assert why_incomparable(METRICS[metric], whole, 59_800, PROTOCOLS[protocol]) == []
    (found,) = why_incomparable(METRICS[metric], whole | changed, num, PROTOCOLS[protocol])
    assert reason in found


def test_inception_score_is_reported_in_the_usual_splits_and_in_one():
    logits = torch.randn(40, 1, 7)
    found = {name: (statistic(logits), facts) for name, statistic, facts in variants(METRICS["is"], 10)}
    assert found == {
        "IS": (inception_score(logits[:, 0], num_splits=10), {"num_splits": 10}),
        "IS in one split": (inception_score(logits[:, 0]), {"num_splits": 1}),
    }
    assert [name for name, *_ in variants(METRICS["is"], 1)] == ["IS"]
    assert [name for name, *_ in variants(METRICS["fvd"], 10)] == ["FVD"]


def test_a_setting_can_be_taken_back():
    assert settings_of("ucf101").num_samples is not None
    assert settings_of("ucf101", num_samples=None).num_samples is None


@pytest.mark.parametrize(("name", "fps"), [("ucf101", 25.0), ("msrvtt", 6.0), ("prompts", 6.0)])
def test_shipped_settings_are_valid(name, fps):
    settings = settings_of(name)
    assert settings.protocol == name
    assert settings.video_fps == fps
    assert settings.until == ("sr_h" if name == "prompts" else "sr_lt")  # published numbers are of 256 pixels
    assert settings.num_splits == 10


def test_window_at_the_videos_own_rate_is_frames_in_a_row(tmp_path):
    path = write_video(tmp_path / "v.avi", 0, num_frames=40, fps=25)
    every = to_uint8(read_video(path)[0])[..., :, 5:35]  # the middle square of 40 x 30
    starts = set()
    for seed in range(12):
        window = read_window(path, 16, 25.0, seed)
        assert window.shape == (3, 16, 30, 30)
        (start,) = [s for s in range(25) if torch.equal(window, every[:, s : s + 16])]
        starts.add(start)
    assert len(starts) > 5


def test_window_at_another_rate_takes_every_nth_frame(tmp_path):
    path = write_video(tmp_path / "v.mp4", 0, num_frames=40, fps=24, codec="libx264")
    every = to_uint8(read_video(path)[0])[..., :, 5:35]
    window = read_window(path, 5, 6.0, 3)
    assert any(torch.equal(window, every[:, s : s + 17 : 4]) for s in range(24))


def test_short_and_broken_videos_are_refused(tmp_path):
    path = write_video(tmp_path / "v.avi", 0, num_frames=10)
    with pytest.raises(ValueError, match="too short"):
        read_window(path, 16, 25.0, 0)
    assert read_window(path, 10, 25.0, 0).shape[1] == 10
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="no video"):
        read_window(path, 1, 25.0, 0)


def test_windows_of_samples_and_frames_for_fid():
    video = torch.arange(20).view(1, 20, 1, 1).expand(3, 20, 2, 2)
    starts = {int(window_of(video, 16, seed)[0, 0, 0, 0]) for seed in range(60)}
    assert starts == set(range(5))
    assert window_of(video, 30, 0).equal(video)
    assert even_frames(video, 4)[0, :, 0, 0].tolist() == [2, 7, 12, 17]
    assert even_frames(video, 99).equal(video)
    assert subsample(range(10), 5) == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("size", [(16, 16), (17, 19), (1, 1)])
def test_lossless_is(size):
    video = torch.randint(0, 256, (3, 5, *size), dtype=torch.uint8)
    data = encode_lossless(video, 25.0)
    assert decode_lossless(data).equal(video)
    assert encode_lossless(video, 25.0) == data
    with pytest.raises(ValueError, match=r"damaged|truncated"):
        decode_lossless(data[: len(data) // 2])


MARK = {"seed": 0, "weights": {"prior": "a" * 64, "decoder": "b" * 64}}


def items(num):
    return [Item(i, f"prompt {i}", None, seed_from(0, i)) for i in range(num)]


def video_of(item):
    return torch.full((3, 2, 4, 4), item.id, dtype=torch.uint8)


def store_at(folder, size=3, **mark):
    store = SampleStore(folder, {**MARK, **mark}, size)
    store.claim()
    return store


def test_samples_survive_until_the_next_run(tmp_path):
    store = store_at(tmp_path / "s")
    for item in items(5):
        store.add(item, video_of(item), 25.0)
    # Killed here: three are in a shard, two are not, and one was being written.
    (tmp_path / "s" / SINGLY / "00000005.mkv").write_bytes(b"half")
    (tmp_path / "s" / ".00000007.tar.abc.part").write_bytes(b"half")
    again = store_at(tmp_path / "s")
    assert again.recover() == {0, 1, 2, 3, 4}
    assert again.numbers() == [0, 1, 2, 3, 4]
    for item in items(5):
        assert again.read(item.id).equal(video_of(item))
    assert not [*(tmp_path / "s" / SINGLY).iterdir(), *(tmp_path / "s").glob(".*.part")]
    for path in (tmp_path / "s").glob("*.tar"):
        report = check_shard(str(path), decode=True)
        assert not report.shards | report.samples
    meta = json.loads(subprocess.check_output(["tar", "-xOf", tmp_path / "s/00000000.tar", "00000001.json"]))
    assert (meta["key"], meta["prompt"], meta["seed"]) == ("00000001", "prompt 1", seed_from(0, 1))


@pytest.mark.parametrize("lost", [".index.json", ".stats.json"])
def test_shard_that_was_not_finished_is_neither_lost_nor_doubled(lost, tmp_path):
    store = store_at(tmp_path / "s")
    for item in items(3):
        store.add(item, video_of(item), 25.0)
    (tmp_path / "s" / f"00000000{lost}").unlink()
    again = store_at(tmp_path / "s")
    singly = SampleStore(tmp_path / "s", MARK, 99)  # killed before what the shard holds was removed
    for item in items(3)[1:]:
        singly.add(item, video_of(item), 25.0)
    assert again.recover() == {0, 1, 2}
    assert again.numbers() == [0, 1, 2]
    assert [path.name for path in (tmp_path / "s").glob("*.tar")] == ["00000000.tar"]


def test_full_disk_costs_no_sample(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    store = store_at(tmp_path / "s")
    with monkeypatch.context() as patch:
        patch.setattr("lightning_mav.evaluation.protocols.store.write_shard", full)
        for item in items(2):
            store.add(item, video_of(item), 25.0)
        with pytest.raises(UsageError, match=r"No space left on device.*; make room"):
            store.add(items(3)[2], video_of(items(3)[2]), 25.0)
        with pytest.raises(UsageError, match=r"No space left on device.*; make room"):
            store_at(tmp_path / "s").recover()  # not enough room was made
    assert store_at(tmp_path / "s").recover() == {0, 1, 2}


def test_damaged_shard_is_put_aside_and_said(tmp_path):
    store = store_at(tmp_path / "s")
    for item in items(6):
        store.add(item, video_of(item), 25.0)
    path = tmp_path / "s" / "00000003.tar"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.warns(UserWarning, match=r"00000003\.tar.*put aside as 00000003\.damaged"):
        assert store_at(tmp_path / "s").recover() == {0, 1, 2}


@pytest.mark.parametrize(
    ("mark", "message"),
    [({"seed": 1}, "seed is 0 there, 1 now"), ({"weights": {"prior": "c" * 64}}, r"weights\.prior is aaaa")],
)
def test_folder_of_other_settings_is_refused(mark, message, tmp_path):
    store_at(tmp_path / "s")
    with pytest.raises(UsageError, match=message):
        store_at(tmp_path / "s", **mark)


def test_shard_of_another_run_is_not_taken(tmp_path):
    other = store_at(tmp_path / "other", seed=1)
    other.add(items(1)[0], video_of(items(1)[0]), 25.0)
    other.flush()
    store = store_at(tmp_path / "s")
    for path in (tmp_path / "other").glob("0*"):
        path.rename(tmp_path / "s" / path.name)
    with pytest.raises(UsageError, match="a shard of another run; move it away"):
        store.recover()


def test_second_run_waits_outside(tmp_path):
    store, second = store_at(tmp_path / "s"), store_at(tmp_path / "s")
    store.lock()
    with pytest.raises(UsageError, match="another run is writing there"):
        second.lock()
    store.unlock()
    second.lock()


HOLDER = """
import os, sys, time
from pathlib import Path
from lightning_mav.evaluation.protocols.store import SampleStore

store = SampleStore(Path(sys.argv[1]), {}, 3)
store.claim()
store.lock()
if not os.fork():  # as reading processes are
    time.sleep(20)
    os._exit(0)
print("locked", flush=True)
time.sleep(60)
"""


def test_lock_ends_with_the_run_and_not_with_what_it_has_forked(tmp_path):
    store = SampleStore(tmp_path / "s", {}, 3)
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, store.folder], stdout=subprocess.PIPE, text=True)
    with holder:
        assert holder.stdout.readline() == "locked\n"
        for _ in range(2):  # the first must not have given the other's lock away
            with pytest.raises(UsageError, match=rf"another run is writing there \(process {holder.pid} on"):
                store.lock()
        holder.kill()
        holder.stdout.close()
        holder.wait()
        store.lock()
    store.unlock()


def test_features_are_computed_once(tmp_path):
    asked = []

    def load(number):
        asked.append(number)
        if number == 3:
            raise ValueError("too short: 0.1 s")
        return torch.full((3, 2, 4 + number % 2, 4), number, dtype=torch.uint8)

    def measure(video, numbers):
        assert len(video) <= 4
        return ((video + 1) * 127.5).mean(dim=(1, 2, 3, 4)).view(-1, 1, 1)

    def fill(numbers, **spec):
        return FeatureCache(tmp_path, "f", spec).fill(numbers, load, measure, batch_size=4, num_workers=1)

    found = fill(range(10), a=1)
    assert found.numbers == [0, 1, 2, *range(4, 10)]
    torch.testing.assert_close(found.values.flatten(), torch.tensor(found.numbers, dtype=torch.float))
    assert found.left_out == {3: "too short"}
    assert asked == list(range(10))
    again = fill(range(12), a=1)
    assert asked == list(range(12))
    assert again.values[: len(found.values)].equal(found.values)
    fill(range(2), a=2)
    assert asked == [*range(12), 0, 1]
    for path in tmp_path.glob("*/*.safetensors"):
        path.write_bytes(b"damaged")
    assert fill(range(10), a=1).values.equal(found.values)


def test_interval_of_a_mean_is_that_of_the_theory():
    torch.manual_seed(0)
    sample = torch.randn(400, 1, 1)
    low, high = bootstrap_interval(lambda x: float(x.mean()), [sample], 4000, 0)
    half = 1.96 * float(sample.std()) / math.sqrt(400)
    assert high - low == pytest.approx(2 * half, rel=0.06)
    assert (low + high) / 2 == pytest.approx(float(sample.mean()), abs=0.1 * half)
    assert bootstrap_interval(lambda x: float(x.mean()), [sample], 50, 7) == bootstrap_interval(
        lambda x: float(x.mean()), [sample], 50, 7
    )


def test_interval_holds_the_value_where_plain_percentiles_would_not():
    torch.manual_seed(0)
    groups = [torch.randn(60, 20), torch.randn(60, 20)]
    value = frechet_distance_of(*groups)
    low, high = bootstrap_interval(frechet_distance_of, groups, 100, 0)
    assert low < value < high
    rows = [torch.randint(60, (60,)) for _ in range(40)]
    raised = [frechet_distance_of(groups[0][row], groups[1][row.roll(1)]) for row in rows]
    assert min(raised) > value


def test_shown_are_the_ends_of_each_score_and_one_of_each_label():
    many = [Item(i, "p", f"label {i % 10}", 0) for i in range(200)]
    scores = {i: {"CLIPSIM": float((i * 37) % 200)} for i in range(200)}
    shown = choose_shown(many, scores, 60)
    ids = [item.id for item in shown]
    assert ids == sorted(set(ids))
    ranked = sorted(range(200), key=lambda i: scores[i]["CLIPSIM"])
    assert {*ranked[:8], *ranked[-8:], *range(10)} <= set(ids)
    assert 15 <= len(choose_shown(many, scores, 20)) <= 20
    assert choose_shown(many, scores, 0) == []
    assert len(choose_shown([Item(i, "p", None, 0) for i in range(7)], {}, 60)) == 7


def test_a_quiet_trainer_leaves_the_messages_to_other_listeners(caplog, capfd):
    trainer = make_trainer(accelerator="cpu", devices=1)
    with caplog.at_level("INFO"):
        rank_zero_info("said later")
    assert trainer.world_size == 1
    assert "said later" in caplog.text
    assert "said later" not in capfd.readouterr().err
