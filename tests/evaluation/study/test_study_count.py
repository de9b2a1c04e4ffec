"""Votes of a human study: a known preference is found, and bad votes are refused."""

import json
import math
import random
import re
from pathlib import Path

import pytest
import torch

from lightning_mav import cli
from lightning_mav.evaluation.report import load_report
from lightning_mav.evaluation.study import Ballot, Pair, Study, count_votes, krippendorff_alpha
from lightning_mav.evaluation.study.count import agreement
from lightning_mav.evaluation.study.key import QUESTIONS
from lightning_mav.utils.errors import UsageError

NUM_PAIRS, NUM_RATERS = 40, 5
PAIRS = [Pair(f"p{i}", f"prompt {i}", f"{2 * i:08x}", f"{2 * i + 1:08x}") for i in range(NUM_PAIRS)]
STUDY = Study("0123456789abcdef", "ours", "theirs", 0, PAIRS)


def majority(p):
    """Returns the probability that most of five votes are for A if each is with probability p."""
    return sum(math.comb(5, k) * p**k * (1 - p) ** (5 - k) for k in (3, 4, 5))


def simulate(p, seed):
    """Draws the votes of five raters, each for A with probability ``p[question]``."""
    rng = random.Random(seed)
    keys = [(pair, question) for pair in range(NUM_PAIRS) for question in QUESTIONS]
    return [Ballot(f"rater {i}", {key: rng.random() < p[key[1]] for key in keys}) for i in range(NUM_RATERS)]


def save(ballots, folder):
    """Writes votes as the page does."""
    folder.mkdir(exist_ok=True)
    for ballot in ballots:
        votes = [
            {"pair": pair + 1, "question": question, "choice": PAIRS[pair].a if for_a else PAIRS[pair].b}
            for (pair, question), for_a in ballot.votes.items()
        ]
        content = {"format": 1, "study": STUDY.id, "rater": ballot.rater, "votes": votes}
        (folder / f"votes-{ballot.rater}.json").write_text(json.dumps(content))


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("key.json").write_text(json.dumps(STUDY.to_dict()))
    save(simulate({"quality": 0.8, "faithfulness": 0.4}, 1), tmp_path / "votes")
    return tmp_path


def count(*arguments):
    cli.run(["study", "count", *(arguments or ("votes",)), "--key", "key.json"])


def test_a_known_preference_lies_in_its_interval(place, capsys):
    cli.run(
        ["study", "count", *map(str, sorted(place.glob("votes/*"))), "--key", "key.json", "--out", "report"]
    )
    report = load_report(Path("report"))
    truths = {"quality": majority(0.8), "faithfulness": majority(0.4)}
    for figure, (question, truth) in zip(report.figures, truths.items(), strict=True):
        assert figure.name == f"A preferred, {question}"
        assert figure.low < truth < figure.high
        assert figure.n == NUM_PAIRS
    shown = capsys.readouterr().out
    assert "ours" in shown
    assert re.search(r"quality +│ \d\d\.\d% +│ \d\d\.\d% to \d+\.\d% +│ 40 ", shown)


@pytest.mark.usefixtures("place")
def test_the_page_of_the_raters_is_not_replaced_by_the_report():
    Path("page").mkdir()
    Path("page/index.html").write_text("for raters")
    with pytest.raises(UsageError, match="page: holds a page that is no report"):
        count("votes", "--out", "page")
    assert Path("page/index.html").read_text() == "for raters"
    for _ in range(2):  # a report of the same may be replaced
        count("votes", "--out", "report")


@pytest.mark.parametrize("p", [0.5, 0.65, 0.8, 0.9])
def test_the_interval_covers_the_truth_as_often_as_it_says(p):
    truth, hits, num = majority(p), 0, 500
    for seed in range(num):
        outcome = count_votes(STUDY, simulate(dict.fromkeys(QUESTIONS, p), seed))[0]
        hits += outcome.share["low"] <= truth <= outcome.share["high"]
    assert 0.92 <= hits / num <= 0.985


def test_votes_of_a_pair_are_counted_by_majority():
    votes = {(0, "quality"): [1, 1, 1, 0, 0], (1, "quality"): [0, 0, 0, 0, 1], (2, "quality"): [1, 1, 1, 1]}
    votes |= {(3, "quality"): [1, 1, 1, 0, 0, 0]}
    ballots = [
        Ballot(str(i), {key: bool(row[i]) for key, row in votes.items() if i < len(row)}) for i in range(6)
    ]
    outcome, empty = count_votes(STUDY, ballots)
    assert outcome.counts[:4].tolist() == [[3, 2], [1, 4], [4, 0], [3, 3]]
    assert outcome.decided.nonzero().flatten().tolist() == [0, 1]  # too few votes, and as many for both
    assert (outcome.share["value"], outcome.share["n"]) == (0.5, 2)
    assert empty.share is None
    assert count_votes(STUDY, ballots, raters=4)[0].share["n"] == 3
    with pytest.raises(
        UsageError, match="no pair has 7 votes, but 6: wait for more raters, or say --raters 6"
    ):
        count_votes(STUDY, ballots, raters=7)


def test_alpha_is_that_of_krippendorffs_example():
    # Krippendorff (2011), section C: four observers, twelve units, some values missing.
    rows = ["123321412...", "1233224125.3", ".33323422511", "12332441251."]
    rows[2] = ".333234225" + "1."
    units = [[int(row[i]) for row in rows if row[i] != "."] for i in range(12)]
    counts = torch.tensor([[unit.count(value) for value in range(1, 6)] for unit in units])
    assert krippendorff_alpha(counts) == pytest.approx(0.743, abs=5e-4)


def test_alpha_is_fleiss_kappa_but_for_small_samples():
    counts = torch.distributions.Multinomial(5, torch.tensor([0.3, 0.7])).sample((40,)).long()
    n, total = 5, counts.sum().item()
    observed = agreement(counts)
    expected = (counts.sum(dim=0) / total).square().sum().item()
    pairs = ((counts * (counts - 1)).sum(dim=1) / (n * (n - 1))).mean().item()
    assert observed == pytest.approx(pairs)
    kappa = (observed - expected) / (1 - expected)
    assert 1 - krippendorff_alpha(counts) == pytest.approx((1 - kappa) * (total - 1) / total)


def test_alpha_is_one_if_all_agree_and_about_zero_by_chance():
    assert krippendorff_alpha(torch.tensor([[5, 0], [0, 5], [5, 0]])) == 1
    assert krippendorff_alpha(torch.tensor([[5, 0], [5, 0]])) is None  # nothing that could vary
    assert krippendorff_alpha(torch.tensor([[1, 0], [0, 1]])) is None
    counts = torch.distributions.Binomial(5, torch.tensor(0.5)).sample((2000,)).long()
    assert abs(krippendorff_alpha(torch.stack([counts, 5 - counts], dim=1))) < 0.03


def edit(change):
    path = Path("votes/votes-rater 0.json")
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def cut():
    path = Path("votes/votes-rater 0.json")
    path.write_text(path.read_text()[:-30])


BAD = {
    "cut": (cut, "is no whole file of votes"),
    "not JSON": (lambda: Path("votes/x.json").write_text("hello"), "x.json: is no whole file of votes"),
    "binary": (lambda: Path("votes/x.json").write_bytes(b"\xff\xfe\0"), "x.json: is no whole file of votes"),
    "a list": (lambda: Path("votes/x.json").write_text("[]"), "x.json: is no whole file of votes"),
    "a folder": (lambda: Path("votes/x.json").mkdir(), "x.json: cannot be read"),
    "the key": (
        lambda: Path("votes/x.json").write_text(Path("key.json").read_text()),
        "x.json: is no whole file",
    ),
    "other study": (
        lambda: edit(lambda c: c.update(study="ffff")),
        "votes on another study, ffff, not on 0123",
    ),
    "other format": (lambda: edit(lambda c: c.update(format=2)), "its format is not known"),
    "no rater": (lambda: edit(lambda c: c.update(rater=" ")), "it names no rater"),
    "no votes": (lambda: edit(lambda c: c.update(votes=[])), "it holds no votes"),
    "votes as text": (lambda: edit(lambda c: c.update(votes="many")), "is no whole file of votes"),
    "no pair": (lambda: edit(lambda c: c["votes"][3].update(pair=41)), "vote 4 is on no pair"),
    "pair as text": (lambda: edit(lambda c: c["votes"][3].update(pair="1")), "vote 4 is on no pair"),
    "true as pair": (lambda: edit(lambda c: c["votes"][3].update(pair=True)), "vote 4 is on no pair"),
    "question": (
        lambda: edit(lambda c: c["votes"][3].update(question="beauty")),
        "vote 4 is on no pair and question",
    ),
    "choice": (
        lambda: edit(lambda c: c["votes"][3].update(choice="ffffffff")),
        "vote 4 is for no video of pair 2",
    ),
    "other pair's": (
        lambda: edit(lambda c: c["votes"][3].update(choice=PAIRS[5].a)),
        "vote 4 is for no video of pair 2",
    ),
    "twice": (
        lambda: edit(lambda c: c["votes"].append(c["votes"][0])),
        "vote 81 is the second one on the quality of pair 1",
    ),
    "same rater": (
        lambda: edit(lambda c: c.update(rater="Rater  1")),
        "is of the rater 'rater 1', as votes/votes-rater 0",
    ),
}


@pytest.mark.parametrize("fault", BAD)
def test_bad_votes_are_refused_in_one_line_that_names_them(fault, place):
    spoil, message = BAD[fault]
    spoil()
    with pytest.raises(UsageError, match=re.escape(message)) as error:
        count()
    line = str(error.value)
    assert line.startswith("votes/")
    assert "\n" not in line
    assert ";" in line


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "key.json: cannot be read .*; name the file that 'mav study make' has written"),
        ("{}", "key.json: is no key of a study; name the file"),
        ("[1]", "key.json: is no key of a study"),
        ('{"format": 9}', "key.json: written by another version"),
        ('{"format": 1, "pairs": [1]}', "key.json: is no key of a study"),
    ],
)
def test_a_key_that_is_none_is_refused(content, message, place):
    Path("key.json").unlink()
    if content is not None:
        Path("key.json").write_text(content)
    with pytest.raises(UsageError, match=message):
        count()


def test_a_folder_without_votes_is_refused(place):
    (place / "none").mkdir()
    with pytest.raises(UsageError, match="none: holds no files of votes"):
        count("none")
