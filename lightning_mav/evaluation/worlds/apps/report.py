"""The report of an evaluation of the applications, and its tables."""

from ...report import Figure, Report, Table
from .evaluate import AppsEvaluation
from .trials import GENERATED, Bar, Interval, Outcome, TrialResult

EXACT, SAME = "exact", 100.0  # beyond so many dB pixels are the same but for rounding
WORLD_NAMES = {"apps": "micro-world", "apps_emoji": "emoji"}
NOTES = """Each application is given true clips, or their first frames, and what it makes is judged as true
clips are. The column "true" is the ceiling. The controls are the other columns: "static" and "repeated" hold
the nearest frame that is given, "blended" cross-fades, "shuffled" puts true frames in a random order,
"another's" is the true video of another thing. F is the interpolation network; "interpolate", "extend",
"loop", "morph" and "animate, by interpolation" are its work, the others are the decoder's.

Appearance is right if the video shows its thing in its colours, motion if it moves as its thing does; what
judges them is the same as in the report on that world. In trials of "extend" only what was added is judged.
PSNR is that of the frames that were made, against the true ones. A gain is the mean difference from a
baseline, video by video; its bar is reached if the whole interval lies above. A step is the mean absolute
change from one frame to the next, and the largest inner step that of the original alone: a seam is visible
if it is larger. Intervals are Wilson's for shares and Student's for means, 95%, over videos; they
do not cover the chance of training."""


def title_of(bench: str, scope: str) -> str:
    """Returns the title of the report of ``apps`` or ``apps_emoji``."""
    return f"Applications, {WORLD_NAMES[bench]}"


def to_report(bench: str, found: AppsEvaluation, scope: str) -> Report:
    """Builds the report; the caller adds samples, images, settings, weights and so on."""
    return Report(
        bench=bench,
        title=title_of(bench, scope),
        notes=NOTES,
        figures=[_figure(result, one) for result in found.results for one in result.outcomes()],
        tables=tables(found),
        seconds=dict(found.seconds),
        details={result.trial.name: result.intervals() for result in found.results},
    )


def tables(found: AppsEvaluation) -> list[Table]:
    """Returns the table of the bars, and one of each application beside its controls."""
    rows = [_bar_row(result, one) for result in found.results for one in result.outcomes()]
    header = ["application", "measure", "measured", "baseline", "bar", "reached", "n"]
    made = [Table("Applications and their bars", header, rows)]
    by_command: dict[str, list[TrialResult]] = {}
    for result in found.results:
        by_command.setdefault(result.trial.name.split(",")[0], []).append(result)
    for command, results in by_command.items():
        made.append(_controls(command, results))
    return made


def _controls(command: str, results: list[TrialResult]) -> Table:
    kinds = list(dict.fromkeys(kind for result in results for kind in result.values))
    rows = []
    for result in results:
        for name, found in result.intervals().items():
            cells = [_value(result, name, found[kind]) if kind in found else "-" for kind in kinds]
            rows.append([result.trial.name, name, *cells, str(found[GENERATED]["n"])])
    header = ["trial", "measure", *kinds, "n"]
    return Table(f"{command.capitalize()}, with controls and ceilings", header, rows)


def _figure(result: TrialResult, one: Outcome) -> Figure:
    bar = one.bar
    better = "higher" if bar.at_least else "lower"
    facts = {"bar": bar.limit, "reached": one.met, "fps": result.trial.fps}
    name = f"{result.trial.name}: {_measure(bar)}"
    found = one.found
    return Figure(name, found["value"], found["low"], found["high"], int(found["n"]), better, facts)


def _bar_row(result: TrialResult, one: Outcome) -> list[str]:
    bar, name = one.bar, one.bar.measure
    baseline = "-"
    if bar.over is not None:
        intervals = result.intervals()[name]
        own, other = (_digits(result, name, intervals[kind]["value"]) for kind in (GENERATED, bar.over))
        baseline = f"{own} against {other}"
    limit = _digits(result, name, bar.limit)
    sign = "above" if bar.over is not None else "at least" if bar.at_least else "at most"
    measured = _value(result, name, one.found)
    reached = "yes" if one.met else "NO"
    return [
        result.trial.name, _measure(bar), measured, baseline, f"{sign} {limit}", reached, str(one.found["n"])
    ]  # fmt: skip


def _measure(bar: Bar) -> str:
    return bar.measure if bar.over is None else f"{bar.measure}: gain over {bar.over}"


def _value(result: TrialResult, name: str, found: Interval) -> str:
    value, low, high = (_digits(result, name, found[key]) for key in ("value", "low", "high"))
    return value if value == EXACT else f"{value} [{low}, {high}]"


def _digits(result: TrialResult, name: str, number: float) -> str:
    """Formats a share in percent, or another number with two digits."""
    if result.values[GENERATED][name].dtype.is_floating_point:
        return EXACT if name.endswith("dB") and number > SAME else f"{number:.2f}"
    return f"{100 * number:.0f}%"
