"""``mav evaluate ucf101``, ``msrvtt``, ``prompts``: killed and gone on with, the score is that of one go."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.official_sets import CLASSES, Stats, load_stats, write_msrvtt, write_ucf101
from helpers.places import ROOT
from helpers.reading import read_video
from helpers.tiny_cascade import save_tiny_cascade
from lightning_mav.cli.evaluate import main
from lightning_mav.evaluation.protocols import Ucf101, measures, samples
from lightning_mav.evaluation.protocols.store import SampleStore
from lightning_mav.evaluation.report import load_report
from lightning_mav.evaluation.report.compare import compare_figures, incomparable
from lightning_mav.utils.errors import UsageError

FEW = ["--steps", "1", "--accelerator", "cpu", "--set", "num_resamples=20", "--set", "shard_size=3"]
FEW += ["--set", "num_splits=2"]
RUN_SCRIPT = """
import os, signal, sys
sys.path.insert(0, os.environ["TESTS"])
from helpers import official_sets
from lightning_mav.cli import main
from lightning_mav.evaluation.protocols.samples import SampleModule
from lightning_mav.evaluation.protocols import measures

measures.load_features = official_sets.load_stats
step = SampleModule.predict_step

def die(self, batch, batch_idx):
    if [str(batch_idx), str(self.trainer.global_rank)] == [os.environ["KILL_AT"], os.environ["KILL_RANK"]]:
        os.killpg(0, signal.SIGKILL)
    step(self, batch, batch_idx)

SampleModule.predict_step = die
main()
"""


class Killed(BaseException):
    """Ends a run as abruptly as this process survives."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Holds weights and data, and is where runs are started."""
    folder = tmp_path_factory.mktemp("place")
    save_tiny_cascade(folder / "weights")
    write_ucf101(folder / "ucf101")
    write_msrvtt(folder / "msrvtt")
    return folder


@pytest.fixture(autouse=True)
def stand_ins(place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setattr(measures, "load_features", load_stats)


def ucf101(out, *more, num=8):
    data = ["--weights", "weights", "--data", "ucf101", "--num-samples", str(num)]
    return ["ucf101", *data, "--out", str(out), *FEW, *more]


def sample_ids(out):
    """Reads the ids off the names of the shards' members, as a stranger would."""
    names = [
        subprocess.check_output(["tar", "-tf", path], text=True).split() for path in out.glob("samples/*.tar")
    ]
    return sorted(name[:8] for shard in names for name in shard if name.endswith(".json"))


def figures(out):
    return [(figure.name, figure.value, figure.low, figure.high) for figure in load_report(out).figures]


@pytest.fixture(scope="module")
def whole(place):
    """One run of UCF-101 without disturbance."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setattr(measures, "load_features", load_stats)
        main(ucf101(place / "whole"))
    return place / "whole"


def test_report_has_the_figures_and_what_they_depend_on(whole):
    report = load_report(whole)
    assert [figure.name for figure in report.figures] == ["FVD", "IS", "IS in one split"]
    fvd, score, of_all = report.figures
    assert (fvd.n, fvd.better) == (8, "lower")
    assert fvd.settings["resolution"] == "16x16"  # of sr_lt
    assert (score.settings["num_splits"], of_all.settings["num_splits"]) == (2, 1)
    assert score.value < of_all.value
    assert fvd.settings["network"]["sha256"] == Stats.sha256
    assert fvd.settings["real"]["num_videos"] == 6
    assert (fvd.settings["fps"], fvd.settings["num_frames"]) == (25.0, 16)
    assert score.low <= score.value <= score.high
    assert 1 <= score.value <= 6
    assert report.weights.keys() == {"clip", "prior", "decoder", "interpolation", "sr_lt"}
    assert report.settings["num_resamples"] == 20
    assert [figure.published for figure in report.figures] == [{}, {}, {}]
    for reason in ("at 16x16 pixels, published ones at 256x256", "on 8 samples, published ones on 10,000"):
        assert (
            f"are not shown beside FVD: it was measured {reason}" in report.notes
            or f"; {reason}" in report.notes
        )
    assert "in 2 splits, published ones in 10" in report.notes
    assert "8 samples, published ones of 10,000" in report.notes
    assert {sample.label for sample in report.samples} == set(CLASSES)
    for sample in report.samples:
        video, fps = read_video(whole / sample.video)
        assert (video.shape, fps) == ((3, 16, 16, 16), 25.0)
    assert {"report.json", "report.md", "index.html"} <= set(os.listdir(whole))


def test_killed_twice_it_ends_as_one_that_was_not(whole, place, monkeypatch):
    add, made = SampleStore.add, []
    for kill in (2, 5, None):

        def die(self, item, video, fps, kill=kill):
            if len(made) == kill:
                raise Killed
            add(self, item, video, fps)
            made.append(item.id)

        monkeypatch.setattr(SampleStore, "add", die)
        try:
            main(ucf101(place / "killed"))
        except Killed:
            assert kill is not None
            # As a killed process leaves it: half a sample.
            (place / "killed/samples/.singly/00000007.mkv").write_bytes(b"half")
    assert sorted(made) == list(range(8))  # each once
    assert sample_ids(place / "killed") == sample_ids(whole) == [f"{i:08d}" for i in range(8)]
    assert figures(place / "killed") == figures(whole)


def test_once_more_computes_nothing(whole, place, monkeypatch):
    before = figures(whole)
    monkeypatch.setattr(samples, "generate", None)
    networks = []

    def load(name, folder=None):
        networks.append(load_stats(name, folder))
        return networks[-1]

    monkeypatch.setattr(measures, "load_features", load)
    main(ucf101(whole))
    assert [network.num_videos for network in networks] == [1, 1]  # the trial before generation
    assert figures(whole) == before


def test_real_statistics_are_shared_between_runs(whole, place, monkeypatch):
    monkeypatch.setattr("lightning_mav.evaluation.protocols.scoring.read_window", None)
    main(ucf101(place / "seed", "--seed", "1", "--metrics", "fvd,kvd"))
    assert figures(place / "seed")[0][1] != figures(whole)[0][1]


def test_two_distances_share_a_network_and_its_features(place, monkeypatch):
    loaded = []
    monkeypatch.setattr(measures, "load_features", lambda *args: loaded.append(args) or load_stats(*args))
    main(ucf101(place / "both", "--metrics", "fvd,kvd"))
    assert [name for name, *_ in figures(place / "both")] == ["FVD", "KVD"]
    assert len(list((place / "both" / "features").iterdir())) == len(loaded) == 1


def test_figures_of_other_numbers_of_samples_are_not_comparable(whole, place):
    main(ucf101(place / "few", num=6))
    a, b = load_report(whole), load_report(place / "few")
    reasons = "; ".join(
        f"{name} has other settings (num_samples)" for name in ("FVD", "IS", "IS in one split")
    )
    assert incomparable(a, b, compare_figures(a, b)) == f"Not comparable: {reasons}"


def test_resolution_decides_what_is_comparable(whole, place, monkeypatch):
    a = load_report(whole)
    main(ucf101(place / "large", "--set", "until=sr_h"))
    b = load_report(place / "large")
    assert {figure.settings["resolution"] for figure in b.figures} == {"48x48"}
    assert "FVD has other settings (resolution); IS" in incomparable(a, b, compare_figures(a, b))
    monkeypatch.setattr(Ucf101, "published_resolution", "48x48")
    monkeypatch.setattr(Ucf101, "published_num", 8)
    main(ucf101(place / "large", "--set", "until=sr_h"))
    fvd = load_report(place / "large").figures[0]
    assert fvd.published == {"Make-A-Video": 367.23, "CogVideo (English)": 701.59}
    main(ucf101(place / "large", "--set", "until=sr_h", "--set", "num_real=3"))
    assert load_report(place / "large").figures[0].published == {}


def test_samples_do_not_depend_on_how_many_there_are(place, monkeypatch):
    videos = {}

    def keep(self, item, video, fps):
        videos.setdefault(item.id, []).append(video)
        return SampleStore.__dict__["kept"](self, item, video, fps)

    monkeypatch.setattr(SampleStore, "kept", SampleStore.add, raising=False)
    monkeypatch.setattr(SampleStore, "add", keep)
    for num in (2, 3):
        more = ["--data", "msrvtt", "--weights", "weights", "--num-samples", str(num)]
        main(["msrvtt", *more, "--metrics", "fid", "--out", f"msrvtt-{num}", *FEW])
    for i in (0, 1):
        first, second = videos[i]
        assert first.equal(second)
    assert not videos[0][0].equal(videos[1][0])


def test_msrvtt_is_scored_by_fid_and_clipsim(place):
    data = ["--data", "msrvtt", "--weights", "weights", "--clip", "micro/clip"]
    main(["msrvtt", *data, "--out", "msrvtt-out", *FEW])
    report = load_report(Path("msrvtt-out"))
    fid, similarity = report.figures
    assert (fid.name, fid.n, similarity.name) == ("FID", 3, "CLIPSIM")
    assert fid.settings["frames_of_each_video"] == 4
    assert fid.published == similarity.published == {}
    assert "beside CLIPSIM: it was measured with another network" in report.notes  # another CLIP
    assert "on 3 samples, published ones on 59,794" in report.notes
    own = [sample.scores["CLIPSIM"] for sample in report.samples]
    assert len(own) == 3
    assert similarity.value == pytest.approx(sum(own) / 3)
    assert [sample.label for sample in report.samples] == ["video7010", "video7010", "video7011"]


def test_prompts_of_ones_own_need_no_data(place):
    Path("p.txt").write_text("# mine\na red ball\n\na blue star\n")
    more = ["--prompts", "p.txt", "--weights", "weights", "--clip", "micro/clip", "--set", "until=decoder"]
    main(["prompts", *more, "--set", "stride=1", "--num-samples", "3", "--out", "prompts-out", *FEW])
    report = load_report(Path("prompts-out"))
    assert [(figure.name, figure.n, figure.published) for figure in report.figures] == [("CLIPSIM", 3, {})]
    assert report.weights.keys() == {"clip", "prior", "decoder"}
    assert read_video(Path("prompts-out", report.samples[0].video))[1] == 6.0
    first, _, again = (SampleStore(Path("prompts-out/samples"), {}, 3).read(number) for number in range(3))
    assert report.samples[0].prompt == report.samples[2].prompt
    assert not first.equal(again)  # the same sentence, other noise


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ucf101", "--data", "no/where"], "no/where.*classInd.txt: cannot be read.*UCF101.rar"),
        (["--bench=msrvtt", "--data", "no/where"], "test_videodatainfo.json"),
        (["msrvtt", "--data", "msrvtt"], "CLIPSIM needs the weights of ViT-B-32-quickgelu: fetch"),
        (["msrvtt", "--data", "msrvtt", "--clip-file", "no.pt"], r"there is no no\.pt; fetch"),
        (["ucf101", "--data", "ucf101", "--features", "no"], "i3d: there is no no; fetch"),
        (["prompts"], "--prompts FILE"),
        (
            ["prompts", "--prompts", "ucf101/ucfTrainTestlist/classInd.txt", "--metrics", "kvd"],
            "real videos are needed for KVD.*--data",
        ),
        (["ucf101", "--data", "ucf101", "--weights", "no/where"], "no weights there"),
        (["ucf101", "--data", "ucf101", "--num-samples", "1"], "two samples"),
        (
            ["ucf101", "--data", "ucf101", "--num-samples", "9"],
            "IS in 10 splits needs as many samples, got 9",
        ),
        (["ucf101", "--data", "ucf101", "--set", "fps"], "--set fps: give KEY=VALUE"),
        (["ucf101", "--data", "ucf101", "--set", "nothing=1"], "nothing"),
        (["ucf101", "--data", "ucf101", "--strategy", "magic"], "strategy=magic.*not usable here"),
        (["ucf101", "--precision", "8-bit"], "32-true"),
        (["--stage", "decoder", "ucf101"], "BENCH comes first: mav evaluate ucf101"),
    ],
)
def test_mistakes_are_named_before_anything_is_generated(arguments, message, tmp_path):
    with pytest.raises(UsageError, match=message) as caught:
        main([*arguments, "--out", str(tmp_path / "out")])
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_folder_of_other_settings_is_refused(whole):
    with pytest.raises(UsageError, match=r"seed is 0 there, 3 now; choose another --out"):
        main(ucf101(whole, "--seed", "3"))
    with pytest.raises(UsageError, match=r"num_samples is 8 there, 9 now"):
        main(ucf101(whole, num=9))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("devices", [1, 2])
def test_killed_processes_neither_lose_nor_repeat_a_sample(devices, whole, place, tmp_path):
    script, out = tmp_path / "run.py", place / f"processes-{devices}"
    script.write_text(RUN_SCRIPT)
    more = ["--strategy", "ddp", "--devices", str(devices)] if devices > 1 else []
    seen = set()
    # When one of two dies, the other may have made all of its samples: then one each is left.
    for i, kill in enumerate((2, 2 - devices, -1)):
        env = {**os.environ, "TESTS": str(ROOT / "tests")}
        env |= {"KILL_AT": str(kill), "KILL_RANK": str(i % devices)}
        command = [sys.executable, str(script), "evaluate", *ucf101(out, *more)]
        status = subprocess.run(command, check=False, env=env, start_new_session=True, timeout=300).returncode
        assert status == (0 if kill == -1 else -signal.SIGKILL)
        now = {path.name for path in (*out.glob("samples/*.tar"), *out.glob("samples/.singly/*.json"))}
        assert kill == 0 or now != seen
        seen = now
    assert sample_ids(out) == [f"{i:08d}" for i in range(8)]
    assert figures(out) == figures(whole)
    assert not [*out.glob("samples/.singly/*"), *out.glob("samples/.*.part")]
    assert json.loads((out / "samples/samples.json").read_text())["num_samples"] == 8


def test_every_metric_of_the_table_is_in_the_help(capsys):
    from lightning_mav.evaluation.protocols.metrics import METRICS

    with pytest.raises(SystemExit):
        main(["prompts", "--help"])
    assert f"some of {','.join(METRICS)}" in " ".join(capsys.readouterr().out.split())


def test_a_metric_in_splits_asks_for_as_many_samples_whatever_its_name(monkeypatch):
    from lightning_mav.cli.protocol import _check_numbers
    from lightning_mav.evaluation.protocols.metrics import METRICS
    from lightning_mav.evaluation.protocols.settings import ProtocolSettings

    monkeypatch.setitem(METRICS, "is5", dataclasses.replace(METRICS["is"], name="IS5"))
    settings = ProtocolSettings("prompts", metrics=["is5"], networks={"is5": "c3d"}, num_frames=16)
    with pytest.raises(UsageError, match="IS5 in 10 splits needs as many samples, got 9"):
        _check_numbers(settings, 9, 0)
    _check_numbers(settings, 10, 0)
