"""Writes the judged videos beside the truth, and contact sheets of each kind of prompt."""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from ....data.video import contact_sheet, stack_sheets, write_mp4
from ....models import resize_frames
from ...report import Report, ShownVideo
from .results import EmojiEvaluation

SHOWN_SIZE = 96  # height and width of each half of a video on the page
NUM_STRIPS = 12  # videos on the sheet of a kind


def write_pictures(found: EmojiEvaluation, report: Report, folder: Path) -> None:
    """Draws a sheet of each kind of prompt into a folder, and lists it in the report."""
    for number, kind in enumerate(found.prompts.kinds()):
        rows = found.prompts.rows(kind)[:NUM_STRIPS]
        name = f"sheet_{number}.png"
        stack_sheets([_strip(found, row) for row in rows]).save(folder / name)
        report.images.append((f"Asked for: {_label(kind)}", name))


def write_videos(found: EmojiEvaluation, report: Report, folder: Path) -> None:
    """Writes videos with the truth on the left, and lists them: hidden things first, in turn with others."""
    if found.video.shape[2] == 1:
        return
    (folder / "videos").mkdir()
    for row in sorted(found.prompts.mixed()[: found.settings.num_shown]):
        entry, name = found.prompts.entries[row], f"videos/{row:03d}.mp4"
        write_mp4(folder / name, _beside_truth(found, row), found.settings.fps)
        read = found.truth.entries[int(found.nearest[row])].name
        key = f"{row:03d}: {read}"
        scores = {"right": float(read == entry.name)}
        if row in found.ranks:
            key += f"; own animation is number {found.ranks[row] + 1}"
        report.samples.append(ShownVideo(key, entry.name, name, scores, _label(entry.animation)))


def _beside_truth(found: EmojiEvaluation, row: int) -> Tensor:
    """Returns the true clip, or the still of what has none, and the video beside it."""
    video = found.video[row]
    code, num_frames = found.prompts.entries[row].code, video.shape[1]
    if animation := found.truth.animations.get(code):
        truth = animation.clip(0.0, found.settings.fps, num_frames)
    else:
        still = found.truth.stills[[e.code for e in found.truth.entries].index(code)]
        truth = still[:, None].expand(-1, num_frames, -1, -1)
    both = [resize_frames(x[None].float(), SHOWN_SIZE, mode="nearest")[0] for x in (truth, video)]
    return torch.cat(both, dim=3)


def _strip(found: EmojiEvaluation, row: int) -> Image.Image:
    entry = found.prompts.entries[row]
    read = found.truth.entries[int(found.nearest[row])].name
    rank = f"; own animation is number {found.ranks[row] + 1}" if row in found.ranks else ""
    title = f"{entry.name}{'' if read == entry.name else f'  ->  {read}'}{rank}"
    return contact_sheet(found.video[row], title=title, columns=16)


def _label(kind: str) -> str:
    return "never animated" if kind == "none" else kind
