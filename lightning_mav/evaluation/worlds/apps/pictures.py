"""Writes what the applications made beside the truth or a control, and contact sheets."""

from pathlib import Path

import torch
from torch import Tensor

from ....data.video import contact_sheet, stack_sheets, write_mp4
from ....models import resize_frames
from ...report import Report, ShownVideo
from .evaluate import AppsEvaluation
from .trials import GENERATED, TrialResult

SHOWN_SIZE = 96  # height and width of each half of a video on the page, or more
NUM_FRAMES = 16  # of a strip


def write_pictures(found: AppsEvaluation, report: Report, folder: Path) -> None:
    """Draws a sheet of each trial into a folder, and lists it in the report."""
    for number, result in enumerate(found.results):
        name = f"sheet_{number:02d}.png"
        strips = []
        for row in range(_num_shown(found)):
            for kind, video in _compared(result, row).items():
                title = f"{found.labels[row]}, {kind}"
                strips.append(contact_sheet(video, title=title, num_frames=NUM_FRAMES, columns=NUM_FRAMES))
        stack_sheets(strips).save(folder / name)
        report.images.append((result.trial.name, name))


def write_videos(found: AppsEvaluation, report: Report, folder: Path) -> None:
    """Writes some videos of each trial, on the left what they are compared with, and lists them."""
    (folder / "videos").mkdir()
    for number, result in enumerate(found.results):
        for row in range(_num_shown(found)):
            made, other = _compared(result, row).values()
            name = f"videos/{number:02d}-{row:03d}.mp4"
            write_mp4(folder / name, _side_by_side(other, made), result.trial.fps)
            scores = {
                key: float(values[row])
                for key, values in result.values[GENERATED].items()
                if values.dtype == torch.bool
            }
            key = f"{number:02d}-{row:03d}"
            report.samples.append(ShownVideo(key, found.labels[row], name, scores, result.trial.name))


def _num_shown(found: AppsEvaluation) -> int:
    return min(found.settings.num_shown, len(found.labels))


def _compared(result: TrialResult, row: int) -> dict[str, Tensor]:
    """Returns what was made of a row, ``(3, F, S, S)``, and the first of the others."""
    kind, other = next(iter(result.trial.others.items()))
    return {GENERATED: result.video[row], kind: other[row].float()}


def _side_by_side(left: Tensor, right: Tensor) -> Tensor:
    """Puts two videos beside each other; the shorter one begins again."""
    size, length = max(SHOWN_SIZE, right.shape[-1]), right.shape[1]
    left = left[:, torch.arange(length) % left.shape[1]]
    return torch.cat([resize_frames(x[None], size, mode="nearest")[0] for x in (left, right)], dim=3)
