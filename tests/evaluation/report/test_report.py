"""Reports: their files hold what was found, link to nothing outside, and two of them are told apart."""

import dataclasses
import json
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from lightning_mav.cli import main
from lightning_mav.evaluation.report import (
    Figure,
    Report,
    ShownVideo,
    Table,
    keep_other_report,
    load_report,
    write_report,
)
from lightning_mav.evaluation.report.compare import (
    compare_figures,
    compare_samples,
    differences,
    incomparable,
)
from lightning_mav.evaluation.report.layout import decimals, rankings
from lightning_mav.utils.errors import UsageError

EVIL = """<script>alert("x & 'y'")</script> </title> {{ 7 * 7 }} | `a`"""
PUBLISHED = {"Make-A-Video": 367.23, "CogVideo (English)": 701.59}


def report(**changes):
    samples = [
        ShownVideo(str(i), f"prompt {i}", f"samples/{i} #%&.mp4", {"CLIPSIM": score}, f"class {i % 2}")
        for i, score in enumerate([0.3, 0.1, 0.2, 0.4, 0.25])
    ]
    values = {
        "bench": "ucf101",
        "title": "UCF-101",
        "notes": "Some **notes**.",
        "figures": [
            Figure("FVD", 400.0, 380.0, 425.0, 100, "lower", {"features": {"size": 224}}, PUBLISHED),
            Figure("CLIPSIM", 0.25, None, None, 5, "higher"),
        ],
        "samples": samples,
        "tables": [Table("Confusion", ["asked for", "ball"], [["ball", "3"]])],
        "images": [("A plot", "plots/a plot.png")],
        "settings": {"seed": 0, "sampler": {"steps": 10}},
        "weights": {"decoder": {"file": "decoder.safetensors", "sha256": "ab" * 32}},
        "versions": {"torch": "2.12"},
        "device": "cpu",
        "seconds": {"score": 1.5},
        "details": {"anything": [1, 2]},
    }
    return Report(**(values | changes))


class Page(HTMLParser):
    """Collects what a page links to, the text of its cells and its tags."""

    def __init__(self, text):
        super().__init__()
        self.links, self.tags, self.rows = [], [], []
        self.in_cell = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [
            value for name, value in attrs if name in ("src", "href", "srcset", "poster", "action")
        ]
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag):
        self.in_cell = self.in_cell and tag not in ("td", "th")

    def handle_data(self, data):
        if self.in_cell:
            self.rows[-1][-1] += data.strip()


def test_what_was_written_is_read_again(tmp_path):
    write_report(report(), tmp_path)
    assert load_report(tmp_path) == report()
    assert load_report(tmp_path / "report.json") == report()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.html", "report.json", "report.md"]


def test_the_page_links_to_files_of_its_folder_alone(tmp_path):
    write_report(report(), tmp_path)
    page = Page((tmp_path / "index.html").read_text())
    targets = set()
    for link in page.links:
        parts = urlsplit(link)
        assert not parts.netloc
        assert parts.scheme in ("", "data")
        if parts.path and not parts.scheme:
            targets.add(unquote(parts.path))
    files = {"report.json", "report.md", "plots/a plot.png", *(sample.video for sample in report().samples)}
    assert {str(Path(target)) for target in targets} == files
    assert "url(" not in (tmp_path / "index.html").read_text()


def test_nothing_of_a_prompt_is_markup(tmp_path):
    plain = report()
    changed = [dataclasses.replace(sample, prompt=EVIL, label=EVIL) for sample in plain.samples]
    scores = [dataclasses.replace(sample, scores={EVIL: 1.0}) for sample in changed]
    for samples in (changed, scores):
        evil = report(samples=samples, title=EVIL, notes=EVIL, settings={EVIL: EVIL}, device=EVIL)
        write_report(evil, tmp_path)
        text = (tmp_path / "index.html").read_text()
        page = Page(text)
        assert page.tags.count("script") == 1  # our own
        assert 'alert("x' not in text
        assert "49" not in page.rows[-1]
        assert "<script>" not in (tmp_path / "report.md").read_text().split("## Settings")[0].split(EVIL)[-1]


def test_numbers_in_print_stand_beside_ours(tmp_path):
    write_report(report(), tmp_path)
    rows = Page((tmp_path / "index.html").read_text()).rows
    fvd = next(row for row in rows if row and row[0].startswith("FVD"))
    assert fvd[1] == "400.00[380.00, 425.00]"
    assert fvd[-2:] == ["367.23", "701.59"]
    lines = (tmp_path / "report.md").read_text().splitlines()
    cells = next(line for line in lines if line.startswith("| FVD")).split(" | ")
    assert cells[-2:] == ["367.23", "701.59 |"]
    clip_sim = next(row for row in rows if row and row[0].startswith("CLIPSIM"))
    assert clip_sim[-2:] == ["-", "-"]


def test_best_come_first_and_none_is_also_worst():
    (ranking,) = rankings(report().samples, num=4)
    assert [sample.scores["CLIPSIM"] for sample in ranking.best] == [0.4, 0.3]
    assert [sample.scores["CLIPSIM"] for sample in ranking.worst] == [0.1, 0.2]
    assert rankings(report().samples[:1]) == []


@pytest.mark.parametrize("value", [1234.5678, 33.0, 9.87, 0.3049, 0.00123])
def test_four_digits_say_what_differs(value):
    shown = f"{value:.{decimals([value])}f}"
    assert float(shown) == pytest.approx(value, rel=1e-3)
    assert len(shown.replace(".", "").lstrip("0")) <= 6


@pytest.mark.parametrize("name", ["/etc/a.mp4", "../a.mp4", "samples/../../a.mp4"])
def test_files_outside_are_refused(name):
    with pytest.raises(ValueError, match="relative to the report's folder"):
        ShownVideo("0", "a", name)
    with pytest.raises(ValueError, match="relative to the report's folder"):
        report(images=[("a", name)])


def test_an_older_report_survives_one_that_cannot_be_written(tmp_path):
    write_report(report(), tmp_path)
    with pytest.raises(ValueError, match="JSON"):
        write_report(report(figures=[Figure("FVD", float("nan"), None, None, 1, "lower")]), tmp_path)
    assert load_report(tmp_path) == report()


def test_differences_are_dotted():
    assert differences({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 1, "c": 4}, "e": {}}) == [
        ("a.c", "2", "4"),
        ("d", "3", "-"),
        ("e", "-", "{}"),
    ]
    assert differences(report().settings, report().settings) == []


def test_figures_and_samples_are_paired():
    a, b = (
        report(),
        report(figures=[Figure("FVD", 350.0, 340.0, 379.0, 100, "lower")], samples=report().samples[1:]),
    )
    fvd, clip_sim = compare_figures(a, b)
    assert fvd.difference == "-50.00, B better"
    assert fvd.overlap is False
    assert (clip_sim.b, clip_sim.difference, clip_sim.overlap) == (None, "-", None)
    assert compare_figures(b, a)[0].difference == "+50.00, A better"
    for one, other in compare_samples(a, b):
        assert one.prompt == "prompt 0" if other is None else one.prompt == other.prompt


def test_numbers_of_other_networks_are_not_comparable():
    a = report()
    resized = dataclasses.replace(a.figures[0], settings={"features": {"size": 112}})
    assert incomparable(a, a, compare_figures(a, a)) == ""
    b = report(figures=[resized])
    assert "FVD has other settings (features.size)" in incomparable(a, b, compare_figures(a, b))
    b = report(bench="msrvtt")
    assert "the bench is ucf101 in A and msrvtt in B" in incomparable(a, b, compare_figures(a, b))


def test_compare_prints_and_writes_a_page(tmp_path, capsys):
    write_report(report(), tmp_path / "a")
    write_report(report(bench="msrvtt", settings={"seed": 1}), tmp_path / "b c")
    out = tmp_path / "pages" / "both.html"
    main(["compare", str(tmp_path / "a"), str(tmp_path / "b c"), "--out", str(out)])
    printed = capsys.readouterr()
    assert "FVD" in printed.out
    assert "sampler.steps" in printed.out
    assert len(printed.err.splitlines()) == 1
    assert "Not comparable" in printed.err
    links = [unquote(link) for link in Page(out.read_text()).links if link.endswith(".mp4")]
    for folder in ("a", "b c"):
        targets = {(out.parent / link).resolve() for link in links if f"/{folder}/" in link}
        assert targets == {(tmp_path / folder / sample.video).resolve() for sample in report().samples}


def test_a_page_replaces_pages_of_compare_alone(tmp_path, capsys):
    write_report(report(), tmp_path / "a")
    out, reports = tmp_path / "both.html", (str(tmp_path / "a"), str(tmp_path / "a"))
    for _ in range(2):
        main(["compare", *reports, "--out", str(out)])
    (tmp_path / "folder").mkdir()
    before = {path: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    for path in (*before, tmp_path / "folder"):
        with pytest.raises(SystemExit) as stop:
            main(["compare", *reports, "--out", str(path)])
        assert stop.value.code == 2
        assert f"{path}: is there, and no page of 'mav compare'" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (tmp_path / "a").iterdir()} == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "micro"],
        ["evaluate", "micro", "--stage", "decoder"],
        ["evaluate", "prompts", "--prompts", "prompts.txt"],
        ["data", "show", "shards"],
    ],
)
def test_the_report_of_another_evaluation_is_kept(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.txt").write_text("a ball")
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "0.tar").write_bytes(bytes(10240))
    write_report(report(title="The micro-world, image"), tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--out", "out"])
    assert stop.value.code == 2
    assert "out: holds the report of another evaluation, 'The micro-world, image'" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    keep_other_report(tmp_path / "out", "The micro-world, image")  # the same may be measured again
    keep_other_report(tmp_path, "anything")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read"),
        ("{", "is no report"),
        ("[]", "is no report"),
        ('{"version": 0}', "another version"),
        (json.dumps({"version": 1}), "is no report"),
    ],
)
def test_what_is_no_report_is_one_line(tmp_path, text, message):
    if text is not None:
        (tmp_path / "report.json").write_text(text)
    with pytest.raises(UsageError, match=message) as error:
        load_report(tmp_path)
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)
