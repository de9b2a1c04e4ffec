"""The report of an evaluation on the micro-world, and its tables."""

from typing import Any

from ...stage_table import video_stages
from ...worlds.micro.world import SHAPES
from ..report import Figure, Report, Table
from .micro import Evaluation
from .speeds import SOURCES

FIGURES = ("appearance", "shape", "colour", "motion", "everything")
NOTES = """Appearance is shape and colour together. Motion is right if it belongs to the shape asked for. All
are read off the pixels, averaged down to 32 px, and have Wilson's 95% intervals. Held-out prompts combine
shapes and colours that no video shows. The rows "detectors" show how often the detectors are right on true
renders of the same size, length and frame rate. The untrained decoder has its temporal layers at their start,
so its frames are unrelated images. In the tables of what was read, rows are what was asked for, seen and held
out together, and add up to n; "other" is none of the six shapes, or none of the six motions.

The frame-rate response is the slope of log(speed per frame) against log(1 / fps) of the same prompts at
several frame rates, with a bootstrapped 95% interval if there are at least 5 clips. It is 1 if motion takes
the same time at every frame rate, and 0 if the frame rate changes nothing. The speed of a star is the angle
it turns by, that of a ring the change of the root of its area, that of the others the distance their centroid
moves; the frame is 2 wide. "-" stands where things are at rest or nothing clear is seen.

FVD, IS and CLIPSIM are those of the 16 key frames, by networks that this project trained on the micro-world:
they can be compared with each other, but not with published numbers. FVD compares with true clips of the
prompts and more clips like them; `report.json` says how many. The FVD of each control is that of as many of
its videos as were generated, which may be fewer than n; that of true videos is what chance gives. PSNR is the
mean of the PSNR of each video or image."""


def tables(report: dict[str, Any]) -> list[Table]:
    """Returns the tables of a report."""
    found = [_scores(report), *_confusions(report)]
    if report["controls"]:
        found += [_controls(report), _responses(report["fps_response"])]
    found.append(_baselines(report["stages"]))
    if report["flicker"]:
        found.append(_flickers(report["flicker"]))
    return found


def title_of(scope: str) -> str:
    """Returns the title of the report on ``cascade``, ``decoder`` or ``image``."""
    return f"The micro-world, {scope}"


def to_report(evaluation: Evaluation, scope: str) -> Report:
    """Builds the report; the caller adds samples, images, settings, weights and so on."""
    found = evaluation.report
    # Key frames have the most samples; videos of the last stage are what a user gets.
    blocks = dict.fromkeys(name for name in ("decoder", found["judged"]) if name in found)
    shares = [
        Figure(
            f"{key}, {name} ({block})",
            **found[block][split][key],
            better="higher",
            settings=found[block]["video"],
        )
        for block in blocks
        for key in ("appearance", "motion")
        for split, name in (("seen", "seen"), ("held_out", "held out"))
        if key in found[block][split]
    ]
    return Report(
        bench="micro",
        title=title_of(scope),
        notes=NOTES,
        figures=shares + evaluation.figures,
        tables=tables(found),
        seconds=dict(found["seconds"]),
        details={"stage": scope, **found},
    )


def _scores(report: dict[str, Any]) -> Table:
    rows = []
    for name in ("image", *video_stages()):
        block = report.get(name)
        if block is None:
            continue
        whole = {"seen": block["seen"], "held out": block["held_out"], "detectors": block["detectors"]}
        for split, shares in whole.items():
            cells = (_share(shares[key]) if key in shares else "-" for key in FIGURES)
            rows.append([name, split, *cells, str(shares["appearance"]["n"])])
    return Table("Right, percent", ["stage", "prompts", *FIGURES, "n"], rows)


def _confusions(report: dict[str, Any]) -> list[Table]:
    found = []
    for name in ("image", *video_stages()):
        for attribute, confusion in report.get(name, {}).get("confusion", {}).items():
            header = ["asked for", *next(iter(confusion.values())), "n"]
            rows = [
                [asked, *map(str, row.values()), str(sum(row.values()))] for asked, row in confusion.items()
            ]
            found.append(Table(f"The {attribute} that was read, {name}", header, rows))
    return found


def _controls(report: dict[str, Any]) -> Table:
    rows = []
    for name, shares in report["controls"].items():
        distance = report["distances"].get(name)
        fvd = "-" if distance is None else f"{distance:.2f}"
        rows.append([name, _share(shares["right"]), _share(shares["any"]), str(shares["any"]["n"]), fvd])
    header = ["video", "given the right motion", "given any motion", "n", "FVD"]
    return Table("True videos and controls without motion, percent", header, rows)


def _responses(response: dict[str, Any]) -> Table:
    rows = []
    for shape in SHAPES:
        for source in SOURCES:
            entry = response[source][shape]
            slope = "-" if entry["slope"] is None else f"{entry['slope']:.2f}"
            if entry["low"] is not None:
                slope += f" [{entry['low']:.2f}, {entry['high']:.2f}]"
            speeds = ("-" if speed is None else f"{speed:.3f}" for speed in entry["speed"])
            rows.append([shape, source, slope, *speeds, str(entry["n"])])
    header = ["shape", "video", "slope", *(f"at {fps:g} fps" for fps in response["fps"]), "n"]
    return Table("Frame-rate response: speed per frame", header, rows)


def _baselines(stages: dict[str, Any]) -> Table:
    rows = [
        [
            name,
            row["metric"],
            f"{row['value']:.3f}",
            f"{row['baseline_value']:.3f} ({row['baseline']})",
            "yes" if row["better"] else "NO",
            str(row["n"]),
        ]
        for name, entry in stages.items()
        for row in entry["comparisons"]
    ]
    header = ["stage", "metric", "value", "baseline", "better", "n"]
    return Table("Stages beside their baselines", header, rows)


def _flickers(flickers: dict[str, Any]) -> Table:
    rows = [
        [stage, name, f"{value:.4f}"] for stage, entry in flickers.items() for name, value in entry.items()
    ]
    title = "Flicker: change from frame to frame where the truth is at rest"
    return Table(title, ["stage", "video", "flicker"], rows)


def _share(share: dict[str, float]) -> str:
    return f"{100 * share['value']:.0f} [{100 * share['low']:.0f}, {100 * share['high']:.0f}]"
