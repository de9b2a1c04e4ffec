"""Writes the judged videos beside the truth, and contact sheets of each kind of prompt."""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from ....data.codecs.pixels import from_uint8
from ....data.video import contact_sheet, stack_sheets, write_mp4
from ....models import resize_frames
from ...report import Report, ShownVideo
from .prompts import label
from .results import EmojiEvaluation

SHOWN_SIZE = 96  # height and width of each half of a video on the page, or more
NUM_STRIPS = 12  # videos on the sheet of a kind


def write_pictures(found: EmojiEvaluation, report: Report, folder: Path) -> None:
    """Draws a sheet of each kind of prompt into a folder, and lists it in the report."""
    for number, kind in enumerate(found.prompts.kinds()):
        rows = found.prompts.rows(kind)[:NUM_STRIPS]
        name = f"sheet_{number}.png"
        stack_sheets([_strip(found, row) for row in rows]).save(folder / name)
        report.images.append((f"Asked for: {label(kind)}", name))


def write_videos(found: EmojiEvaluation, report: Report, folder: Path) -> None:
    """Writes videos with the truth on the left, and lists them; kinds of prompts take turns.

    They are final videos where there are some, else key frames.
    """
    if found.video.shape[2] == 1:
        return
    (folder / "videos").mkdir()
    for row in sorted(found.prompts.mixed()[: found.settings.num_shown]):
        entry, name = found.prompts.entries[row], f"videos/{row:03d}.mp4"
        write_mp4(folder / name, *_beside_truth(found, row))
        read = found.truth.entries[int(found.nearest[row])]
        key = f"{row:03d}: {read.name}{_rank(found, row)}"
        scores = {"right": float(read.code == entry.code)}
        report.samples.append(ShownVideo(key, entry.name, name, scores, label(entry.animation)))


def _beside_truth(found: EmojiEvaluation, row: int) -> tuple[Tensor, float]:
    """Returns the true clip, or the still of what has none, with the video beside it, and the frame rate."""
    video, fps = found.video[row].float(), found.settings.fps
    if row in found.final:
        video, fps = from_uint8(found.final[row]), found.settings.fast_fps
    code, num_frames = found.prompts.entries[row].code, video.shape[1]
    if animation := found.truth.animations.get(code):
        truth = animation.clip(0.0, fps, num_frames)
    else:
        still = found.truth.stills[[e.code for e in found.truth.entries].index(code)]
        truth = still[:, None].expand(-1, num_frames, -1, -1)
    size = max(SHOWN_SIZE, video.shape[-1])
    both = [resize_frames(x[None], size, mode="nearest")[0] for x in (truth, video)]
    return torch.cat(both, dim=3), fps


def _strip(found: EmojiEvaluation, row: int) -> Image.Image:
    entry = found.prompts.entries[row]
    read = found.truth.entries[int(found.nearest[row])]
    title = f"{entry.name}{'' if read.code == entry.code else f'  ->  {read.name}'}{_rank(found, row)}"
    return contact_sheet(found.video[row], title=title, columns=16)


def _rank(found: EmojiEvaluation, row: int) -> str:
    return f"; own animation is number {found.ranks[row] + 1}" if row in found.ranks else ""
