"""Videos or captioned images as they lie in a folder, before they are packed into shards."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..codecs.decode import IMAGE_FORMATS, VIDEO_FORMATS
from ..errors import UsageError
from ..textfile import read_lines

KINDS = {"video": VIDEO_FORMATS, "image": IMAGE_FORMATS}
CAPTIONS = "captions.tsv"


@dataclass(frozen=True)
class Source:
    """A file to pack.

    Args:
        name: Its path below the folder that is packed, with ``/``; the order of packing.
        path: Where it is.
        state: What tells whether it, or the text file of its caption, has changed: sizes and times.
        caption: What ``captions.tsv`` says of an image; a text file of its name comes first.
    """

    name: str
    path: Path
    state: tuple[int, ...]
    caption: str | None = None

    @property
    def suffix(self) -> str:
        """The kind of file."""
        return self.path.suffix[1:].lower()

    @property
    def num_bytes(self) -> int:
        """Its size; 0 if it is missing."""
        return max(0, self.state[0])


def find_sources(source: Path, kind: str | None) -> tuple[str, list[Source]]:
    """Lists what there is to pack, sorted by name, and of which kind it is.

    Hidden files and folders are left out, and links to folders are not followed.

    Args:
        source: Folder, read with all below it; or a text file of paths, a line each, relative to its place.
        kind: ``video`` or ``image``; whichever there is if None.

    Raises:
        UsageError: If there is nothing, or both kinds and none was asked for.
    """
    names = _walk(source) if source.is_dir() else _read_list(source)
    root = source if source.is_dir() else source.parent
    suffixes = {name: name.rpartition(".")[2].lower() for name in names}
    found = {kind: [n for n in names if suffixes[n] in formats] for kind, formats in KINDS.items()}
    if kind is None:
        if found["video"] and found["image"]:
            counts = f"{len(found['video'])} videos and {len(found['image'])} images"
            raise UsageError(f"{source} holds {counts}: add --kind video or --kind image")
        kind = "video" if found["video"] else "image"
    if not found[kind]:
        wanted = ", ".join(KINDS[kind] if found["video"] or found["image"] else VIDEO_FORMATS | IMAGE_FORMATS)
        raise UsageError(f"there is nothing to pack in {source}: name a folder of files that end in {wanted}")
    captions = _captions(root, found[kind]) if kind == "image" else {}
    sources = []
    for name in sorted(found[kind]):
        path = root / name
        state = _state(path) + (_state(path.with_suffix(".txt")) if kind == "image" else ())
        sources.append(Source(name, path, state, captions.get(path)))
    return kind, sources


def _walk(folder: Path) -> list[str]:
    names = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = Path(place).relative_to(folder)
        names += [(below / name).as_posix() for name in files if not name.startswith(".")]
    return names


def _read_list(path: Path) -> list[str]:
    lines = read_lines(path, "name a folder, or a text file of paths")
    known = VIDEO_FORMATS | IMAGE_FORMATS
    names = dict[str, None]()
    for number, line in enumerate(lines, 1):
        name = line.strip()
        if name and name.rpartition(".")[2].lower() not in known:
            raise UsageError(f"{path}, line {number}: {name!r} ends in none of {', '.join(known)}")
        if name:
            names[Path(name).as_posix()] = None
    return list(names)


def _captions(root: Path, names: Iterable[str]) -> dict[Path, str]:
    """Reads the ``captions.tsv`` in the root and in each folder that holds images."""
    captions = {}
    for folder in sorted({root, *((root / name).parent for name in names)}):
        path = folder / CAPTIONS
        if not path.is_file():
            continue
        for number, line in enumerate(read_lines(path, "it is a text file, FILE<TAB>CAPTION"), 1):
            name, tab, caption = line.partition("\t")
            if line.strip() and not tab:
                raise UsageError(f"{path}, line {number}: there is no tab; write FILE<TAB>CAPTION")
            captions[folder / name.strip()] = caption.strip()
    return captions


def _state(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:
        return -1, -1
    return stat.st_size, stat.st_mtime_ns
