"""Shows what was found: tables, and a contact sheet."""

from typing import Any, NamedTuple

from PIL import Image

from ..micro.detectors import MOTIONS
from ..micro.world import COLOURS, SHAPES
from ..video import contact_sheet, stack_sheets
from .micro import Evaluation
from .prompts import NUM_CLASSES

FIGURES = ("appearance", "shape", "colour", "motion", "everything")
BLOCKS = ("image", "decoder", "interpolation", "sr_lt", "sr_h")
NOTES = """Appearance is shape and colour together; motion is the one that belongs to the shape asked for. All
are read off the pixels, averaged down to 32 px, and given as percent with Wilson's 95% interval. Held-out
prompts combine shapes and colours that no video shows. Detectors are tried on true renders of the same size,
length and frame rate. The untrained decoder has its temporal layers at their start: its frames are unrelated
images."""


class Table(NamedTuple):
    """A table to print."""

    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]


def tables(report: dict[str, Any]) -> list[Table]:
    """Returns the tables of a report."""
    found = [_scores(report)]
    if report["controls"]:
        shares: list[tuple[str, ...]]
        shares = [(name, _share(share), str(share["n"])) for name, share in report["controls"].items()]
        found.append(Table("Controls without motion", ("control", "given any motion", "n"), shares))
    rows: list[tuple[str, ...]] = [
        (
            name,
            row["metric"],
            f"{row['value']:.3f}",
            f"{row['baseline_value']:.3f} ({row['baseline']})",
            "yes" if row["better"] else "NO",
            str(row["n"]),
        )
        for name, entry in report["stages"].items()
        for row in entry["comparisons"]
    ]
    header = ("stage", "metric", "value", "baseline", "better", "n")
    found.append(Table("Stages beside their baselines", header, rows))
    if report["flicker"]:
        rows = [
            (stage, name, f"{value:.4f}")
            for stage, entry in report["flicker"].items()
            for name, value in entry.items()
        ]
        title = "Flicker: change from frame to frame where the truth is at rest"
        found.append(Table(title, ("stage", "video", "flicker"), rows))
    return found


def to_markdown(report: dict[str, Any]) -> str:
    """Returns the report as Markdown."""
    parts = ["# Micro-world evaluation", NOTES]
    for table in tables(report):
        rule = tuple("---" for _ in table.header)
        lines = ["| " + " | ".join(row) + " |" for row in (table.header, rule, *table.rows)]
        parts += [f"## {table.title}", "\n".join(lines)]
    confusion = report["confusion"].get("motion") or report["confusion"]["shape"]
    lines = [
        f"{shape}: " + ", ".join(f"{k} {n}" for k, n in row.items() if n) for shape, row in confusion.items()
    ]
    parts += [f"## What {'moves' if 'motion' in report['confusion'] else 'was seen'} ({report['judged']})"]
    parts += ["\n".join(f"- {line}" for line in lines)]
    return "\n\n".join(parts) + "\n"


def draw_sheet(evaluation: Evaluation) -> Image.Image:
    """Draws frames of one video of each class, with what was asked for and what was read."""
    video, prompts, reading = evaluation.video, evaluation.prompts, evaluation.reading
    sheets = []
    for i, text in enumerate(prompts.texts[: min(NUM_CLASSES, len(video))]):
        split = "held out" if prompts.held_out[i] else "seen"
        if video.shape[2] == 1:  # as many stills of the class as fit
            frames, fps = video[i::NUM_CLASSES, :, 0].transpose(0, 1), None
            colours = [COLOURS[int(colour)] for colour in prompts.appearances[i::NUM_CLASSES, 1]]
            title = f"{split}, {SHAPES[int(prompts.appearances[i, 0])]}: {', '.join(colours)}"
        else:
            frames, fps = video[i], evaluation.fps
            motion = MOTIONS[int(reading.motion[i])] if reading.motion is not None else ""
            shape = (*SHAPES, "no shape")[int(reading.shape[i])]
            title = f"{split}: {text}  ->  {COLOURS[int(reading.colour[i])]} {shape}, {motion}"
        sheets.append(contact_sheet(frames, fps=fps, title=title, columns=16))
    return stack_sheets(sheets)


def _scores(report: dict[str, Any]) -> Table:
    rows = []
    for name in BLOCKS:
        block = report.get(name)
        if block is None:
            continue
        whole = {"seen": block["seen"], "held out": block["held_out"], "detectors": block["detectors"]}
        for split, shares in whole.items():
            cells = (_share(shares[key]) if key in shares else "-" for key in FIGURES)
            rows.append((name, split, *cells, str(shares["appearance"]["n"])))
    return Table("Right, percent", ("stage", "prompts", *FIGURES, "n"), rows)


def _share(share: dict[str, float]) -> str:
    return f"{100 * share['value']:.0f} [{100 * share['low']:.0f}, {100 * share['high']:.0f}]"
