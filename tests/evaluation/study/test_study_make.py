"""The page of a human study: its pairs, and that nothing on it tells which system made what."""

import json
import re
from pathlib import Path

import av
import pytest
import torch

from helpers.reading import read_video
from lightning_mav import cli
from lightning_mav.data.export import save_video
from lightning_mav.evaluation import study
from lightning_mav.evaluation.study import find_pairs, load_study
from lightning_mav.utils.errors import UsageError

PROMPTS = ["a red car", "a red car in rain", "</script><script>alert(1)</script>", "猫"]
NAMES = ["a-red-car-0", "a-red-car-in-rain-0", "script-script-alert-1-script-0", "prompt-9f2c-0"]


def film(path, level, size=32):
    """Writes a video of one brightness, by which a system is known."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_video(path, torch.full((3, 6, size, size), level), 12.0)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Two folders as ``mav generate`` leaves them: the first is dark, the second bright."""
    monkeypatch.chdir(tmp_path)
    for name, prompt in zip(NAMES, PROMPTS, strict=True):
        for folder, level in (("ours", -0.5), ("theirs", 0.5)):
            film(tmp_path / folder / f"{name}.mp4", level)
            (tmp_path / folder / f"{name}.json").write_text(json.dumps({"prompt": prompt, "seed": 0}))
    return tmp_path


def make(*options):
    cli.run(["study", "make", "ours", "theirs", "--out", "study", *options])


def shown():
    """Returns what the page knows."""
    text = re.search(
        r'<script type="application/json" id="data">(.*?)</script>', Path("study/index.html").read_text()
    )
    return json.loads(text[1])


def test_the_key_tells_the_videos_apart_and_the_page_does_not(place, capsys):
    make()
    study, page = load_study(Path("study.key.json")), shown()
    assert capsys.readouterr().out.splitlines()[:2] == [
        str(place / "study/index.html"),
        str(place / "study.key.json"),
    ]
    assert {pair.name for pair in study.pairs} == set(NAMES)
    for pair, entry in zip(study.pairs, page["pairs"], strict=True):
        assert entry["prompt"] == pair.prompt
        assert sorted(entry["videos"]) == sorted([pair.a, pair.b])
        assert read_video(Path(f"study/videos/{pair.a}.mp4"))[0].mean() < 0
        assert read_video(Path(f"study/videos/{pair.b}.mp4"))[0].mean() > 0
    files = [path.relative_to("study").as_posix() for path in Path("study").rglob("*") if path.is_file()]
    wanted = [f"videos/{video}.mp4" for pair in study.pairs for video in (pair.a, pair.b)]
    assert sorted(files) == sorted(["index.html", *wanted])
    html = Path("study/index.html").read_text()
    for secret in ("ours", "theirs", str(study.seed), *(name for name in NAMES if name.endswith("-0"))):
        assert not re.search(rf"\b{secret}\b", html), secret
    assert page["study"] == study.id


def test_the_page_loads_nothing_from_elsewhere(place):
    make()
    html = Path("study/index.html").read_text()
    assert not re.findall(
        r"https?:|//\w+\.\w+|@import|url\(|<link(?! rel=\"icon\" href=\"data:,\")|<script src", html
    )
    assert [entry["prompt"] for entry in shown()["pairs"]].count(PROMPTS[2]) == 1
    assert "<script>alert" not in html


def test_all_videos_are_encoded_alike(place):
    for name in NAMES:
        Path(f"theirs/{name}.mp4").unlink()
        film(Path(f"theirs/{name}.gif"), 0.5, size=64)
    make()
    found = set()
    for path in Path("study/videos").iterdir():
        with av.open(str(path)) as container:
            stream = container.streams[0]
            found.add(
                (
                    len(container.streams),
                    stream.codec.name,
                    stream.pix_fmt,
                    *sorted(container.metadata.items()),
                )
            )
    assert len(found) == 1
    assert next(iter(found))[:3] == (1, "h264", "yuv420p")


def test_order_and_sides_are_drawn_anew_unless_a_seed_is_given(place):
    pages = []
    for i, options in enumerate(([], [], ["--seed", "5"], ["--seed", "5"])):
        make(*options)
        pages.append((shown()["pairs"], Path("study.key.json").read_text()))
        Path("study").rename(f"study-{i}")
        Path("study.key.json").unlink()
    assert pages[2] == pages[3]
    assert len({json.dumps(pairs) for pairs, _ in pages}) == 3


def test_both_systems_are_on_both_sides_and_pairs_are_out_of_order(place):
    for i in range(60):
        for folder in ("ours", "theirs"):
            film(Path(folder, f"n{i:02}.mp4"), 0.0, size=8)
            Path(folder, f"n{i:02}.txt").write_text(f"number {i}\n")
    make("--seed", "1")
    study = load_study(Path("study.key.json"))
    first = [entry["videos"][0] == pair.a for pair, entry in zip(study.pairs, shown()["pairs"], strict=True)]
    assert 16 <= sum(first) <= 48
    names = [pair.name for pair in study.pairs]
    assert names != sorted(names)
    ids = [int(pair.a, 16) < int(pair.b, 16) for pair in study.pairs]
    assert 16 <= sum(ids) <= 48


def test_prompts_choose_the_pairs(place):
    Path("p.txt").write_text("# two of them\na red car\n猫\n", encoding="utf-8")
    make("--prompts", "p.txt")
    assert sorted(entry["prompt"] for entry in shown()["pairs"]) == ["a red car", "猫"]


def test_names_tell_the_prompt_where_no_file_does(place):
    for path in (*Path("ours").glob("*.json"), *Path("theirs").glob("*.json")):
        path.unlink()
    Path("p.txt").write_text("A red car\na red car in rain\n")
    make("--prompts", "p.txt")
    found = {pair.name: pair.prompt for pair in load_study(Path("study.key.json")).pairs}
    assert found == {"a-red-car-0": "A red car", "a-red-car-in-rain-0": "a red car in rain"}


def lose(pattern, folders=("ours", "theirs")):
    for folder in folders:
        for path in Path(folder).glob(pattern):
            path.unlink()


BAD = {
    "no folder": (lambda: Path("ours").rename("mine"), "ours: is no folder of videos"),
    "no videos": (lambda: lose("*.mp4", ["theirs"]), "ours and theirs: have no videos of the same name"),
    "no prompts": (lambda: lose("*.json"), "a-red-car-0: no a-red-car-0.json or .txt tells its prompt; list"),
    "two prompts": (
        lambda: Path("theirs/a-red-car-0.json").write_text('{"prompt": "a cat"}'),
        "a-red-car-0: its prompt is 'a red car' in ours, and 'a cat' in theirs; keep one",
    ),
    "broken JSON": (
        lambda: Path("ours/a-red-car-0.json").write_text("{"),
        "ours/a-red-car-0.json: holds no prompt",
    ),
    "no prompt": (
        lambda: Path("ours/a-red-car-0.json").write_text("[]"),
        "ours/a-red-car-0.json: holds no prompt",
    ),
    "broken video": (
        lambda: Path("ours/a-red-car-0.mp4").write_bytes(b"gone"),
        "ours/a-red-car-0.mp4: cannot be read",
    ),
    "cut video": (
        lambda: Path("theirs/a-red-car-0.mp4").write_bytes(Path("ours/a-red-car-0.mp4").read_bytes()[:900]),
        "theirs/a-red-car-0.mp4: cannot be read",
    ),
    "a study": (lambda: film(Path("study/index.mp4"), 0.0), "study: is there already; remove it, or choose"),
    "a key": (lambda: Path("study.key.json").write_text("{}"), "study.key.json: is there already"),
}


@pytest.mark.parametrize("fault", BAD)
def test_what_makes_no_study_is_refused_in_one_line_and_leaves_nothing(fault, place):
    spoil, message = BAD[fault]
    spoil()
    before = sorted(path for path in place.rglob("*"))
    with pytest.raises(UsageError, match=re.escape(message)) as error:
        make()
    assert "\n" not in str(error.value)
    assert sorted(path for path in place.rglob("*")) == before


def test_a_study_that_another_run_has_made_meanwhile_is_kept(place, monkeypatch):
    def slow(*args):
        monkeypatch.undo()
        monkeypatch.chdir(place)
        make("--seed", "1")
        return find_pairs(*args)

    monkeypatch.setattr(study, "find_pairs", slow)
    with pytest.raises(UsageError, match=re.escape("study.key.json: is there already")):
        make("--seed", "2")
    assert load_study(Path("study.key.json")).seed == 1
    assert shown()["pairs"]


def test_prompts_without_a_pair_are_named(place):
    Path("p.txt").write_text("a red car\na green cat\n")
    with pytest.raises(
        UsageError, match="--prompts: 1 of 2 prompts have no video in both folders, such as 'a green cat'"
    ):
        make("--prompts", "p.txt")


def test_videos_that_one_folder_alone_has_are_told(place, capsys):
    film(Path("ours/more.mp4"), 0.0)
    make()
    assert (
        "mav: warning: ours: left out 1 videos that theirs has not, such as more" in capsys.readouterr().err
    )
