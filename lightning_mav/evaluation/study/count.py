"""Counts votes: the majority for each pair, how much raters agree, and a report."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...utils.errors import UsageError
from ..intervals import wilson
from ..report import Figure, Report, Table
from ..report.layout import MISSING
from .key import QUESTIONS, Study
from .votes import Ballot

NOTES = """As in Make-A-Video, section 4: raters see two videos of one prompt side by side and do not know
which system made which. For quality, the text is not shown. For faithfulness, raters read the text and are
asked to ignore differences in quality. The majority of its raters decides a pair.

The interval is a Wilson interval of the share of pairs. It says how much the share would vary with other
prompts. Agreement is how often two raters of a pair of videos choose the same one, averaged over the pairs.
Alpha is Krippendorff's for nominal data: 1 is full agreement, 0 is what chance would give. It is also low if
nearly all votes are for one system."""


@dataclass(frozen=True)
class Outcome:
    """What the votes on one question say.

    Args:
        question: The question.
        counts: Votes for A and for B by pair, ``(N, 2)``.
        decided: Which pairs count, ``(N,)``: those with enough votes and a majority.
        share: Share of these pairs that A wins, ``value, low, high, n``; None if no pair counts.
        agreement: How often two raters of a pair agree, on average; None if no pair has two votes.
        alpha: Krippendorff's alpha; None if all votes are for one system, or no pair has two.
    """

    question: str
    counts: Tensor
    decided: Tensor
    share: dict[str, float] | None
    agreement: float | None
    alpha: float | None


def count_votes(study: Study, ballots: Sequence[Ballot], raters: int = 5) -> list[Outcome]:
    """Counts the votes on each question.

    Args:
        study: The study.
        ballots: Votes of all raters.
        raters: Votes that a pair needs; pairs with fewer do not count.

    Raises:
        UsageError: If no pair has that many.
    """
    outcomes = []
    for question in QUESTIONS:
        rows = [[0, 0] for _ in study.pairs]
        for ballot in ballots:
            for (pair, asked), for_a in ballot.votes.items():
                rows[pair][0 if for_a else 1] += asked == question
        counts = torch.tensor(rows)
        decided = (counts.sum(dim=1) >= raters) & (counts[:, 0] != counts[:, 1])
        wins = (counts[:, 0] > counts[:, 1])[decided]
        share = wilson(wins) if len(wins) else None
        outcomes.append(
            Outcome(question, counts, decided, share, agreement(counts), krippendorff_alpha(counts))
        )
    most = max(int(outcome.counts.sum(dim=1).max()) for outcome in outcomes)
    if most < raters:
        raise UsageError(
            f"no pair has {raters} votes, but {most}: wait for more raters, or say --raters {most}"
        )
    return outcomes


def agreement(counts: Tensor) -> float | None:
    """Returns the mean share of pairs of raters who agree, over the units of ``(N, C)`` votes."""
    counts = counts[counts.sum(dim=1) >= 2].double()
    if not len(counts):
        return None
    total = counts.sum(dim=1)
    return ((counts * (counts - 1)).sum(dim=1) / (total * (total - 1))).mean().item()


def krippendorff_alpha(counts: Tensor) -> float | None:
    """Returns Krippendorff's alpha for nominal data (Krippendorff, 2011, "Computing Krippendorff's
    Alpha-Reliability", section C); units may have different numbers of votes.

    Args:
        counts: Votes by unit and category, ``(N, C)``; units with fewer than two votes do not count.

    Returns:
        At most 1; None where it is not defined: with no such units, or with one category.
    """  # noqa: D205
    counts = counts[counts.sum(dim=1) >= 2].double()
    total, by_category = counts.sum(dim=1), counts.sum(dim=0)
    n = by_category.sum()
    expected = (n * n - by_category.square().sum()) / (n - 1)
    if not len(counts) or expected == 0:
        return None
    observed = ((total * total - counts.square().sum(dim=1)) / (total - 1)).sum()
    return (1 - observed / expected).item()


def to_report(study: Study, ballots: Sequence[Ballot], outcomes: Sequence[Outcome], raters: int) -> Report:
    """Returns a report, with a table of the questions and one of the pairs."""
    figures, rows = [], []
    for outcome in outcomes:
        votes = outcome.counts.sum(dim=0)
        row = [MISSING, MISSING, "0"]
        if (share := outcome.share) is not None:
            name = f"A preferred, {outcome.question}"
            figures.append(
                Figure(name, share["value"], share["low"], share["high"], int(share["n"]), "higher")
            )
            row = [f"{share['value']:.1%}", f"{share['low']:.1%} to {share['high']:.1%}", f"{share['n']}"]
        left = len(study.pairs) - int(outcome.decided.sum())
        row += [str(left), f"{int(votes[0])} of {int(votes.sum())}"]
        row += [MISSING if value is None else f"{value:.3f}" for value in (outcome.agreement, outcome.alpha)]
        rows.append([outcome.question, *row])
    header = [
        "question",
        "A preferred",
        "95% interval",
        "pairs",
        "undecided",
        "votes for A",
        "agreement",
        "alpha",
    ]
    pairs = [
        [pair.name, pair.prompt, *(" : ".join(map(str, outcome.counts[i].tolist())) for outcome in outcomes)]
        for i, pair in enumerate(study.pairs)
    ]
    pairs.sort()
    return Report(
        "study",
        f"Human study: A is {study.a}, B is {study.b}",
        notes=NOTES,
        figures=figures,
        tables=[
            Table(f"{len(ballots)} raters; pairs with {raters} votes or more count", header, rows),
            Table("Votes for A and for B", ["name", "prompt", *QUESTIONS], pairs),
        ],
        settings={"study": study.id, "a": study.a, "b": study.b, "raters": raters, "pairs": len(study.pairs)},
    )
