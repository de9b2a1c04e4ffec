"""Shows the results of ablations as a page and plots."""

from pathlib import Path
from typing import Any

from .records import RECORDS, Record
from .verdicts import ALIKE_IN_ONE_RUN, IN_ONE_RUN, is_lower_better, verdict

PAGE = "claims.md"
INTRODUCTION = """\
# Claims of the paper, tested

Each section tests a claim of Make-A-Video (arXiv 2209.14792), or of unCLIP where the paper builds on it. On
the micro-world it compares variants that differ in one thing, all judged by the same instrument
(`mav evaluate`), which reads shapes, colours and motion off the pixels. `make ablations` runs all of them
again, `make ablations NAMES=noise` one of them, and `make ablations ARGS="--seeds 3"` trains each variant
three times. That command also writes this page, from the figures in the [folder of its plots](ablations).

## How verdicts are reached

A claim consists of comparisons, each of two variants by one metric. Each comparison has a gain, which says by
how much the first variant is better, with a 95% interval. What the interval covers depends on the variants:

- **Trained two or more times each**: trainings are compared. The gain is the mean difference between
  trainings of the same seed, with Student's interval. It covers the chance of training, on the same prompts
  or clips.
- **Trained once each**: prompts or clips are compared, one by one where both variants see the same ones, with
  Student's interval of the mean difference, or Newcombe's for shares. It does not cover the chance of
  training, so the verdicts are *better in this run* and *worse in this run*.
- **Not trained, but sampled in different ways**: prompts or clips are compared in the same way. The weights
  come from one training, and the verdict is for these weights alone.

The smallest effect that counts is given with each comparison.

| verdict | when |
| --- | --- |
| holds | the interval lies above 0, and the gain is at least the smallest effect that counts |
| does not hold | the interval lies below 0, and the loss is at least the smallest effect that counts |
| no difference that counts | the whole interval is nearer to 0 than the smallest effect that counts |
| unclear | anything else |

Where the claim is that two variants are *as good as* each other, it has a margin. It *holds* if the whole
interval lies within the margin, *does not hold* if the whole interval lies outside, and is *unclear*
otherwise.

The verdict on a claim is the worst verdict among its comparisons, in the order *does not hold*, *no
difference that counts*, *unclear*, *holds*. If a design turned out not to answer the question, the claim is
*not decided*.

In the tables, the figures of a single training have a 95% interval over prompts or clips (Wilson's for
shares, Student's for means). For several trainings the table gives the mean, and in parentheses each figure.

The shipped weights were chosen with seeds 0 and 1 of the instrument. Seed 2 was used only for this page. What
holds for small networks in a small world need not hold for large ones, nor the other way round. The last line
of each section has checksums of the weights that were not trained for it, over their tensors and their
configuration.
"""
# Factor, digits, remark on the metric, unit of a difference; all other metrics are shares.
FORMATS = {
    "psnr": (1, 1, "dB", " dB"),
    "flicker": (1, 4, "less is better", ""),
    "loss": (1, 4, "less is better", ""),
    "cosine": (1, 3, "", ""),
}
SHARE = (100, 0, "%", " points")


def page(records: dict[str, Record]) -> str:
    """Returns the page, its sections in alphabetical order of the ablations' names."""
    return "\n".join([INTRODUCTION, *(section(name, records[name]) for name in sorted(records))])


def section(name: str, found: Record) -> str:
    """Returns an ablation's section as Markdown: claim, verdict, table, plot."""
    header = ["variant", *(_title(metric) for metric in found["metrics"]), "n"]
    rows = [[key, *_cells(found["metrics"], variant)] for key, variant in found["variants"].items()]
    if any(variant["trained"] for variant in found["variants"].values()):
        header.append("trained")
        for row, variant in zip(rows, found["variants"].values(), strict=True):
            row.append(_history(variant))
    table = [header, ["---"] * len(header), *rows]
    parts = [
        f"## {found['title']}",
        f"Claim: {found['claim']}",
        f"**Verdict: {headline(found)}.**",
        "\n".join(f"- {_told(pair)}" for pair in found["comparisons"]),
        found["note"],
        "\n".join(f"| {' | '.join(row)} |" for row in table),
        f"![{found['title']}]({RECORDS}/{name}.png)",
        f"*{'; '.join(found['origin'])}.*",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def headline(found: Record) -> str:
    """Returns the verdict of a record and what it rests on; without comparisons it is not decided."""
    if not found["comparisons"]:
        return "not decided"
    worst = verdict([pair["word"] for pair in found["comparisons"]])
    pairs = [pair for pair in found["comparisons"] if pair["word"] == worst]
    trainings = min(pair["trainings"] for pair in found["comparisons"])
    word = _word(pairs[0], trainings)
    if trainings == 0:
        return f"{word} for {found['weights']}, which are one training"
    return f"{word}, with {'one training' if trainings == 1 else f'{trainings} trainings'} of each variant"


def _word(pair: dict[str, Any], trainings: int) -> str:
    if trainings != 1:
        return pair["word"]
    return (ALIKE_IN_ONE_RUN if "margin" in pair else IN_ONE_RUN)[pair["word"]]


def _told(pair: dict[str, Any]) -> str:
    """Describes the outcome of a comparison, with its figures."""
    metric, word = pair["metric"], _word(pair, pair["trainings"])
    relation, limit = "better than", "smallest"
    if "margin" in pair:
        relation, limit = "as good as", "margin"
    is_share = limit == "smallest" and is_lower_better(metric)
    told = f"{pair['better']} {relation} {pair['than']} by {metric}: {word}"
    told += f", by {_interval(metric, pair['gain'])}{_format(metric)[3]}"
    if pair["wins"]:
        wins, losses = pair["wins"]
        told += f"; only the first is right {_times(wins)}, only the second {_times(losses)}"
    names = {"smallest": "smallest effect that counts", "margin": "margin"}
    return f"{told} ({names[limit]}: {_limit(metric, pair[limit], is_share=is_share)})"


def _limit(metric: str, value: float, *, is_share: bool = False) -> str:
    if is_share:
        return f"{100 * value:g}%"
    factor, _, _, unit = _format(metric)
    return f"{factor * value:g}{unit}"


def _cells(metrics: list[str], variant: dict[str, Any]) -> list[str]:
    """Formats the figures of a variant, and the number of prompts or clips behind them."""
    cells = []
    for metric in metrics:
        figures = variant["figures"][metric]
        factor, digits, *_ = _format(metric)
        values = [f"{factor * figure['value']:.{digits}f}" for figure in figures]
        mean = f"{factor * _mean(figures):.{digits}f}"
        cells.append(_interval(metric, figures[0]) if len(figures) == 1 else f"{mean} ({', '.join(values)})")
    counts = dict.fromkeys(str(variant["figures"][metric][0]["n"]) for metric in metrics)
    return [*cells, ", ".join(counts)]


def _history(variant: dict[str, Any]) -> str:
    """Describes how a variant was trained."""
    if not variant["trained"]:
        return "not trained for this"
    return f"{variant['trained']}; {_times(variant['trainings'])}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _mean(figures: list[dict[str, float]]) -> float:
    return sum(figure["value"] for figure in figures) / len(figures)


def _format(metric: str) -> tuple[int, int, str, str]:
    return FORMATS.get(metric.partition("_")[0], SHARE)


def _title(metric: str) -> str:
    name, remark = metric.replace("_", " "), _format(metric)[2]
    return f"{name} ({remark})" if remark else name


def _interval(metric: str, figure: dict[str, float]) -> str:
    factor, digits, *_ = _format(metric)
    value, low, high = (f"{factor * figure[key]:.{digits}f}" for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def plot(found: Record, path: Path) -> None:
    """Draws the figures of each variant, a panel for each metric.

    One training is drawn with its interval; several are drawn as dots, with their mean.
    """
    from matplotlib.figure import Figure

    variants, metrics = found["variants"], found["metrics"]
    size = (1.5 + 3 * len(metrics), 1.2 + 0.35 * len(variants))
    picture = Figure(size, layout="constrained")
    panels = picture.subplots(1, len(metrics), sharey=True, squeeze=False)
    for metric, panel in zip(metrics, panels[0], strict=True):
        factor = _format(metric)[0]
        for row, variant in enumerate(variants.values()):
            figures = variant["figures"][metric]
            value, error = factor * _mean(figures), None
            if len(figures) == 1:
                ends = [factor * abs(figures[0][end] - figures[0]["value"]) for end in ("low", "high")]
                error = [[end] for end in ends]
            else:
                panel.plot([factor * figure["value"] for figure in figures], [row] * len(figures), "k.")
            panel.errorbar([value], [row], xerr=error, fmt="o", capsize=3, color="C0")
        panel.set_yticks(range(len(variants)), list(variants))
        panel.set_xlabel(_title(metric))
        panel.grid(axis="x", alpha=0.3)
        panel.margins(y=0.15)
    panels[0][0].invert_yaxis()
    picture.suptitle(found["title"], fontsize="medium")
    picture.savefig(path, dpi=120)
