"""Writes the judged videos, and contact sheets that show prompts and what detectors read."""

from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from ...data.video import contact_sheet, stack_sheets, write_mp4
from ...worlds.micro.detectors import MOTIONS
from ...worlds.micro.world import COLOURS, SHAPES
from ..report import Report, ShownVideo
from .micro import Evaluation
from .plot import plot_response
from .prompts import NUM_CLASSES

NUM_VIDEOS = 8  # on the sheet of a shape
NUM_SHOWN = 48  # videos on the page


def write_pictures(evaluation: Evaluation, report: Report, folder: Path) -> None:
    """Draws sheets and plots into a folder, and lists them in the report."""
    (folder / "sheets").mkdir()
    images = {"contact_sheet": ("One of each kind", plot_sheet(evaluation))}
    if response := evaluation.report["fps_response"]:
        images["fps_response"] = ("Frame-rate response", plot_response(response))
    for shape, sheet in plot_sheets(evaluation).items():
        images[f"sheets/{shape}"] = (f"Asked for a {shape}", sheet)
    for name, (title, image) in images.items():
        image.save(folder / f"{name}.png")
        report.images.append((title, f"{name}.png"))


def write_videos(evaluation: Evaluation, report: Report, folder: Path) -> None:
    """Writes the first videos, seen and held out in turn, as files that browsers play, and lists them."""
    if evaluation.video.shape[2] == 1:
        return
    (folder / "videos").mkdir()
    for row, video in enumerate(evaluation.video[:NUM_SHOWN]):
        name, score = f"videos/{row:03d}.mp4", float(evaluation.clip_sim[row])
        write_mp4(folder / name, video, evaluation.fps)
        prompt, label = evaluation.prompts.texts[row], _split(evaluation, row)
        report.samples.append(
            ShownVideo(f"{row:03d}: {_read(evaluation, row)}", prompt, name, {"CLIPSIM": score}, label)
        )


def plot_sheet(evaluation: Evaluation) -> Image.Image:
    """Draws one video of each class, or a row of its stills."""
    return _plot(evaluation, range(min(NUM_CLASSES, len(evaluation.video))))


def plot_sheets(evaluation: Evaluation) -> dict[str, Image.Image]:
    """Draws a sheet of each shape: the first videos, seen and held out in turn, or all its stills."""
    is_still = evaluation.video.shape[2] == 1
    num = min(len(evaluation.video), NUM_CLASSES if is_still else NUM_VIDEOS * len(SHAPES))
    return {shape: _plot(evaluation, range(i, num, len(SHAPES))) for i, shape in enumerate(SHAPES)}


def _plot(evaluation: Evaluation, rows: Iterable[int]) -> Image.Image:
    draw = _plot_stills if evaluation.video.shape[2] == 1 else _plot_video
    return stack_sheets([draw(evaluation, row) for row in rows])


def _plot_video(evaluation: Evaluation, row: int) -> Image.Image:
    title = f"{_split(evaluation, row)}: {evaluation.prompts.texts[row]}  ->  {_read(evaluation, row)}"
    return contact_sheet(evaluation.video[row], fps=evaluation.fps, title=title, columns=16)


def _plot_stills(evaluation: Evaluation, row: int) -> Image.Image:
    """Draws as many stills of a row's class as fit; the title marks readings that are wrong."""
    asked, names = evaluation.prompts.appearances, []
    frames = evaluation.video[row::NUM_CLASSES, :, 0][:16]
    for i in range(row, row + len(frames) * NUM_CLASSES, NUM_CLASSES):
        colour, thing = COLOURS[int(asked[i, 1])], _thing(evaluation, i)
        names.append(colour if thing == f"{colour} {SHAPES[int(asked[i, 0])]}" else f"{colour} -> {thing}")
    title = f"{_split(evaluation, row)}, {SHAPES[int(asked[row, 0])]}: {', '.join(names)}"
    return contact_sheet(frames.transpose(0, 1), title=title, columns=16)


def _split(evaluation: Evaluation, row: int) -> str:
    return "held out" if evaluation.prompts.held_out[row] else "seen"


def _read(evaluation: Evaluation, row: int) -> str:
    motion = evaluation.reading.motion
    return _thing(evaluation, row) + ("" if motion is None else f", {MOTIONS[int(motion[row])]}")


def _thing(evaluation: Evaluation, row: int) -> str:
    reading = evaluation.reading
    return f"{COLOURS[int(reading.colour[row])]} {(*SHAPES, 'no shape')[int(reading.shape[row])]}"
