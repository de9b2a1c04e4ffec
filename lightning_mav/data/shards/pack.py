"""Packs a folder into shards. Which file goes where is planned first, so runs can be split and resumed."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from ...utils.errors import reason_of, writing
from ...utils.textfile import decode_caption
from ..codecs.animations import animation_to_video
from ..codecs.decode import MAX_VIDEO_BYTES
from ..codecs.encode import encode_png
from ..codecs.images import GROUND, MAX_IMAGE_BYTES, read_image
from ..codecs.kinds import kind_of, may_be_animated, suffix_of
from ..codecs.lossless import SUFFIX as LOSSLESS
from ..codecs.probe import probe_image, probe_video
from ..codecs.recode import recode
from .parallel import map_in_order
from .sources import KINDS, Source, read_head
from .writer import VERSION, Packed, claim_folder, digest_of, finished_shard, write_notes, write_shard

MAX_BYTES = {"image": MAX_IMAGE_BYTES, "video": MAX_VIDEO_BYTES}  # as in training
ANIMATED_SUFFIXES = {"WebP": ("webp",), "PNG": ("png", "apng"), "GIF": ("gif",)}
Progress = Callable[[Iterable[Any], int], Iterable[Any]]


@dataclass(frozen=True)
class PackSettings:
    """All settings that decide the bytes of the shards.

    Args:
        kind: ``video`` or ``image``.
        gop: Frames from key frame to key frame; videos are copied unchanged if this and ``size`` are None.
        size: Shorter side of videos in pixels.
        min_frames: Minimal number of frames of a video.
        samples_per_shard: Source files per shard, including those that turn out to be unusable.
        max_bytes_per_shard: Maximal size of the source files of a shard together; one file may be larger.
        ground: Colour under transparent pixels; if it is not white, images that have some are written anew.
    """

    kind: str
    gop: int | None = None
    size: int | None = None
    min_frames: int = 16
    samples_per_shard: int = 1000
    max_bytes_per_shard: int | None = None
    ground: tuple[int, int, int] = GROUND

    def plain(self) -> dict[str, Any]:
        """Returns all settings; without the ground if it is white, as in versions that did not know it."""
        settings = {**asdict(self), "ground": list(self.ground)}  # as JSON has it
        return {name: value for name, value in settings.items() if name != "ground" or self.ground != GROUND}


@dataclass
class Summary:
    """What a run did: number of shards written and of shards already finished, and counts over both."""

    num_written: int = 0
    num_finished: int = 0
    num_samples: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    misnamed: Counter[str] = field(default_factory=Counter)


def pack(
    sources: list[Source],
    folder: Path,
    settings: PackSettings,
    *,
    part: tuple[int, int] = (1, 1),
    num_workers: int = 1,
    progress: Progress = lambda items, total: items,
    passed_over: dict[str, str] | None = None,
) -> Summary:
    """Writes those shards of a part that are not finished yet.

    Args:
        sources: Files to pack, of all parts together.
        folder: Where to write.
        settings: How to pack.
        part: ``(i, n)`` writes every n-th shard, from the i-th on.
        num_workers: Number of processes; the result does not depend on it.
        progress: Wraps the samples, of which there are ``total``.
        passed_over: Files that are not among the sources, and why; written to ``stats.json``.

    Raises:
        UsageError: If the folder holds anything else, or cannot be written.
    """
    shards = plan(sources, settings)
    claim_folder(folder, _mark(sources, settings, len(shards)))
    write_notes(folder, passed_over or {})
    summary, todo = Summary(), []
    for number in range(part[0] - 1, len(shards), part[1]):
        digest = digest_of([settings.plain(), *map(_identity, shards[number])])
        stats = finished_shard(folder / f"{number:05d}.tar", digest)
        if stats is None:
            todo.append((number, digest))
        else:
            summary.num_finished += 1
            _count(summary, stats)
    files = [source for number, _ in todo for source in shards[number]]
    made = map_in_order(partial(prepare, settings=settings), files, num_workers)
    num_digits = max(4, len(str(settings.samples_per_shard - 1)))
    results = iter(progress(made, len(files)))
    for number, digest in todo:
        samples = islice(results, len(shards[number]))
        with writing(folder, "make room there"):
            stats = write_shard(folder / f"{number:05d}.tar", digest, samples, num_digits)
        summary.num_written += 1
        _count(summary, stats)
    return summary


def plan(sources: list[Source], settings: PackSettings) -> list[list[Source]]:
    """Divides sources into shards, in order."""
    shards: list[list[Source]] = []
    num_bytes, limit = 0, settings.max_bytes_per_shard
    for source in sources:
        num_bytes += source.num_bytes
        full = shards and len(shards[-1]) == settings.samples_per_shard
        if not shards or full or (limit is not None and num_bytes > limit):
            shards.append([])
            num_bytes = source.num_bytes
        shards[-1].append(source)
    return shards


def prepare(source: Source, *, settings: PackSettings) -> Packed:
    """Makes the members of a sample; an unusable source gives no members but a reason."""
    try:
        if source.num_bytes > (most := MAX_BYTES[settings.kind]):
            raise ValueError(f"too large: {source.num_bytes} bytes of at most {most}")
        read_head(source.path)  # refuses pipes and devices, which may have no end
        data = source.path.read_bytes()
        meta = {"name": source.name, "sha256": hashlib.sha256(data).hexdigest()}
        animated = settings.kind == "video" and may_be_animated(data)
        if animated:
            what = kind_of(data)
            note = "" if source.suffix in ANIMATED_SUFFIXES[what] else _misnamed(what, source)
            data, suffix = animation_to_video(data, settings.ground), LOSSLESS
        else:
            suffix, note = _suffix(data, source, settings.kind)
        if settings.kind == "image":
            caption = _caption(source)
            if settings.ground != GROUND:
                pixels = read_image(data, suffix, settings.ground).copy()  # torch wants to write
                data, suffix = encode_png(torch.from_numpy(pixels)), "png"
            meta |= probe_image(data, suffix)
            return Packed(source.name, {suffix: data, "txt": caption.encode()}, meta, note=note)
        facts = probe_video(data, suffix)
        if facts["num_frames"] < settings.min_frames:
            raise ValueError(f"too few frames: {facts['num_frames']} of {settings.min_frames}")
        if animated or settings.gop or settings.size:
            data, suffix = recode(data, suffix, gop=settings.gop, size=settings.size), "mp4"
            facts = probe_video(data, suffix)
        return Packed(source.name, {suffix: data}, meta | facts, note=note)
    except FileNotFoundError:
        return Packed(source.name, {}, {}, "no such file", "there is no such file")
    except OSError as error:
        return Packed(source.name, {}, {}, "cannot be read", f"cannot be read: {error.strerror or error}")
    except Exception as error:  # codecs raise errors of any type
        return Packed(source.name, {}, {}, reason_of(error), str(error) or type(error).__name__)


def _suffix(data: bytes, source: Source, kind: str) -> tuple[str, str]:
    """Returns the suffix for a file by its first bytes, and a note if its name has another suffix.

    Raises:
        ValueError: If the file is of another kind than those that are packed.
    """
    what, suffix = kind_of(data), suffix_of(data, source.suffix)
    if what and suffix not in KINDS[kind]:
        raise ValueError(f"{what} file, no {kind} of a kind that is read: its name ends in .{source.suffix}")
    if not suffix or suffix == source.suffix:
        return source.suffix, ""
    return suffix, _misnamed(what, source)


def _misnamed(what: str, source: Source) -> str:
    return f"{what} in .{source.suffix}" if source.suffix else f"{what} without a suffix"


def _caption(source: Source) -> str:
    path = source.path.with_suffix(".txt")
    return decode_caption(path.read_bytes() if path.is_file() else (source.caption or "").encode())


def _count(summary: Summary, stats: dict[str, Any]) -> None:
    summary.num_samples += stats["num_samples"]
    summary.left_out.update(stats["left_out"])
    summary.misnamed.update(stats.get("misnamed", {}))  # missing in stats of earlier versions


def _mark(sources: list[Source], settings: PackSettings, num_shards: int) -> dict[str, Any]:
    return {
        "version": VERSION,
        **settings.plain(),
        "num_files": len(sources),
        "num_shards": num_shards,
        "files": digest_of(map(_identity, sources)),
    }


def _identity(source: Source) -> list[Any]:
    return [source.name, *source.state, source.caption]
