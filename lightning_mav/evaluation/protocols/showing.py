"""The report of a protocol, and the videos that it shows."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ...data.codecs.pixels import from_uint8
from ...data.video import write_mp4
from ...utils.numbers import subsample
from ..report import Report, ShownVideo
from .items import Item, Protocol
from .scoring import Scores
from .store import SampleStore

NUM_ENDS = 8  # best samples, and worst samples, shown for each score
VIDEOS = "videos"


def make_report(protocol: Protocol, items: Sequence[Item], scores: Scores) -> Report:
    """Builds the report; the caller adds samples, weights and so on."""
    notes = [protocol.notes]
    if protocol.published_num is not None and len(items) < protocol.published_num:
        notes.append(
            f"**Not the whole protocol**: these numbers are of {len(items):,} samples, published ones of"
            f" {protocol.published_num:,}. FVD and FID fall, and IS rises, with the number of samples."
        )
    for name, reasons in scores.incomparable.items():
        notes.append(f"Published numbers are not shown beside {name}: it was measured {'; '.join(reasons)}.")
    if scores.left_out:
        notes.append(f"{len(scores.left_out)} real videos could not be used; `report.json` names them.")
    return Report(
        bench=protocol.name,
        title=protocol.title,
        notes="\n\n".join(notes),
        figures=scores.figures,
        settings=vars(protocol.settings),
        seconds=dict(scores.seconds),
        details={"left_out": scores.left_out, "incomparable": scores.incomparable},
    )


def choose_shown(items: Sequence[Item], scores: Mapping[int, Mapping[str, float]], num: int) -> list[Item]:
    """Chooses samples to look at: the best and the worst of each score, and the first of each label.

    Args:
        items: All samples.
        scores: Their scores by number, then by name.
        num: Largest number of samples.

    Returns:
        The samples in the order of their numbers. If there are more labels than places, or no labels, the
        other samples are evenly spaced.
    """
    by_number = {item.id: item for item in items}
    ends: dict[int, Item] = {}
    for name in dict.fromkeys(name for own in scores.values() for name in own):
        ranked = sorted((n for n in scores if name in scores[n]), key=lambda n: scores[n][name])
        count = min(NUM_ENDS, num // 4)
        ends |= {n: by_number[n] for n in [*ranked[:count], *ranked[len(ranked) - count :]]}
    firsts = list({item.label or item.key: item for item in reversed(items)}.values())[::-1]
    others = [item for item in firsts if item.id not in ends]
    chosen = ends | {item.id: item for item in subsample(others, num - len(ends))}
    return [chosen[n] for n in sorted(chosen)]


def write_shown(
    items: Sequence[Item],
    store: SampleStore,
    scores: Mapping[int, Mapping[str, float]],
    fps: float,
    folder: Path,
) -> list[ShownVideo]:
    """Writes samples as files that every browser plays, and lists them for the report.

    Args:
        items: Samples to show.
        store: Where they are.
        scores: Their scores by number.
        fps: Their frame rate.
        folder: Folder of the report.
    """
    (folder / VIDEOS).mkdir()
    shown = []
    for item in items:
        name = f"{VIDEOS}/{item.key}.mp4"
        write_mp4(folder / name, from_uint8(store.read(item.id)), fps)
        shown.append(ShownVideo(item.key, item.prompt, name, dict(scores.get(item.id, {})), item.label))
    return shown
