"""What ablations found, as a page and plots."""

import re
from pathlib import Path
from typing import Any

from ..evaluation.verdicts import Outcome, compare, verdict
from ..textfile import read_text
from .ablation import Ablation, Comparison, Variant, needs_training

PAGE = "claims.md"
INTRODUCTION = """\
# Claims of the paper, tested

Each section tests a claim of Make-A-Video (arXiv 2209.14792), or of unCLIP where the paper builds on it, on
the micro-world: variants that differ in one thing, judged alike by the instrument (`mav evaluate`), which
reads shapes, colours and motion off the pixels. `make ablations` runs them again, `make ablations
NAMES=noise` one of them. This page is written by that command.

Figures have 95% intervals: Wilson's for shares of prompts, Student's for means over prompts or clips. A claim
consists of comparisons. One *holds* if the first variant is better and *does not hold* if it is worse, at a
level of 95%; else it is *unclear*. The claim fares as the worst of its comparisons does.

Variants that see the same prompts or clips are compared one by one: numbers by what they differ by, whose
mean stands beside the verdict with its interval (Student's paired test), shares by the prompts that only one
of the two has right (McNemar's test). So variants may be told apart whose own intervals overlap. Where they
see different ones, their intervals must not touch.

The intervals cover prompts and clips. Each variant is trained once, so that the chance in training is not in
them. And what holds for small networks in a small world need not hold for large ones, nor the other way
round. Under each section stand the checksums of the weights that were not trained for it, and how long
judging took; training what is trained takes an hour more, in all, on two cores with AVX512-BF16.
"""
SECTION = re.compile(r"<!-- (\S+):begin -->\n(.*?)\n<!-- \1:end -->", re.DOTALL)
# Factor, digits and what to say of a metric; shares are the rest.
FORMATS = {
    "psnr": (1, 1, "dB"),
    "flicker": (1, 4, "less is better"),
    "loss": (1, 4, "less is better"),
    "cosine": (1, 3, ""),
}
SHARE = (100, 0, "%")

Results = dict[str, dict[str, Any]]  # by variant: figures, spec, minutes, date


def section(name: str, ablation: Ablation, results: Results, scale: str) -> str:
    """Returns an ablation's section as Markdown: claim, verdict, table, plot."""
    found = [_compare(results, pair) for pair in ablation.compare]
    header = ["variant", *(_title(metric) for metric in ablation.metrics), "n"]
    rows = [[variant, *_cells(ablation, results[variant])] for variant in ablation.variants]
    if needs_training(ablation):
        header.append("trained")
        for row, variant in zip(rows, ablation.variants.values(), strict=True):
            row.append(_trained(variant, scale))
    table = [header, ["---"] * len(header), *rows]
    lines = [
        f"- {pair.better} better than {pair.than} by {pair.metric}: {_told(pair.metric, outcome)}"
        for pair, outcome in zip(ablation.compare, found, strict=True)
    ]
    minutes = sum(result["minutes"] for result in results.values())
    date = max(result["date"] for result in results.values())
    specs = [result["spec"] for result in results.values()]
    versions = {f"{name} {version}" for spec in specs for name, version in spec["versions"].items()}
    weights = {f"{stage} {digest[:8]}" for spec in specs for stage, digest in spec["weights"].items()}
    origin = [date, f"scale {scale}", *sorted(versions), *sorted(weights), f"judged in {minutes:.1f} minutes"]
    parts = [
        f"## {ablation.title}",
        f"Claim: {ablation.claim}",
        f"**Verdict: {verdict([outcome.word for outcome in found])}.**",
        "\n".join(lines),
        *([ablation.note] if ablation.note else []),
        "\n".join(f"| {' | '.join(row)} |" for row in table),
        f"![{ablation.title}](ablations/{name}.png)",
        f"*{'; '.join(origin)}.*",
    ]
    return "\n\n".join(parts)


def insert(path: Path, name: str, text: str) -> str:
    """Returns the page with a section put in or replaced; the others stay, in alphabetical order."""
    sections = dict(SECTION.findall(read_text(path, "choose another --out"))) if path.is_file() else {}
    sections[name] = text
    blocks = [f"<!-- {key}:begin -->\n{sections[key]}\n<!-- {key}:end -->" for key in sorted(sections)]
    return "\n\n".join([INTRODUCTION.rstrip(), *blocks]) + "\n"


def plot(ablation: Ablation, results: Results, path: Path) -> None:
    """Draws the figures of each variant with their intervals, a panel for each metric."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names, metrics = list(results), ablation.metrics
    size = (1.5 + 3 * len(metrics), 1.2 + 0.35 * len(names))
    figure, panels = pyplot.subplots(
        1, len(metrics), figsize=size, sharey=True, squeeze=False, layout="constrained"
    )
    for metric, panel in zip(metrics, panels[0], strict=True):
        factor = FORMATS.get(metric, SHARE)[0]
        figures = [_figure(results, name, metric) for name in names]
        values = [factor * share["value"] for share in figures]
        errors = [[factor * abs(share["value"] - share[end]) for share in figures] for end in ("low", "high")]
        panel.errorbar(values, range(len(names)), xerr=errors, fmt="o", capsize=3)
        panel.set_yticks(range(len(names)), names)
        panel.set_xlabel(_title(metric))
        panel.grid(axis="x", alpha=0.3)
        panel.margins(y=0.15)
    panels[0][0].invert_yaxis()
    figure.suptitle(ablation.title, fontsize="medium")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _figure(results: Results, variant: str, metric: str) -> dict[str, float]:
    return results[variant]["figures"][metric]


def _compare(results: Results, pair: Comparison) -> Outcome:
    better, than = (_figure(results, variant, pair.metric) for variant in (pair.better, pair.than))
    return compare(pair.metric, better, than)


def _told(metric: str, outcome: Outcome) -> str:
    """Tells how a comparison ended, and on what grounds if it was made one by one."""
    if outcome.gain:
        return f"{outcome.word}, by {_interval(metric, outcome.gain)}"
    if outcome.wins:
        wins, losses = outcome.wins
        return (
            f"{outcome.word}, {wins} times right where the other is wrong, {losses} times the other way round"
        )
    return outcome.word


def _title(metric: str) -> str:
    remark = FORMATS.get(metric, SHARE)[2]
    return f"{metric} ({remark})" if remark else metric


def _cells(ablation: Ablation, result: dict[str, Any]) -> list[str]:
    """Formats the figures of a variant, and how many prompts or clips are behind them."""
    cells = [_interval(metric, result["figures"][metric]) for metric in ablation.metrics]
    counts = dict.fromkeys(str(result["figures"][metric]["n"]) for metric in ablation.metrics)
    return [*cells, ", ".join(counts)]


def _interval(metric: str, figure: dict[str, float]) -> str:
    factor, digits, _ = FORMATS.get(metric, SHARE)
    value, low, high = (f"{factor * figure[key]:.{digits}f}" for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _trained(variant: Variant, scale: str) -> str:
    """Says what was trained for a variant."""
    return ", ".join(f"{t.run.name} {t.steps[scale]} steps" for t in variant.runs) or "as shipped"
