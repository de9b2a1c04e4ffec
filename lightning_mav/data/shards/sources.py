"""Finds the videos or captioned images in a folder that are to be packed into shards."""

import os
import stat
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from ...utils.errors import UsageError
from ...utils.paths import is_hidden
from ...utils.textfile import read_lines
from ..codecs.decode import IMAGE_FORMATS, VIDEO_FORMATS
from ..codecs.kinds import HEAD_BYTES, kind_of, may_be_animated, suffix_of

KINDS = {"video": VIDEO_FORMATS, "image": IMAGE_FORMATS}
ANIMATED = ("animated", "gif")  # pictures of several frames: those that may be images too, and GIFs
CAPTIONS = "captions.tsv"
TEXT = ("txt", "tsv", "json")  # captions, and what img2dataset writes beside files
NUM_THREADS = 16


@dataclass(frozen=True)
class Source:
    """A file to pack.

    Args:
        name: Its path below the folder that is packed, with ``/``; files are packed in this order.
        path: Where it is.
        state: Sizes and times of the file and its caption's text file, which show whether they have changed.
        caption: Caption of an image in ``captions.tsv``; a text file of the image's name has precedence.
    """

    name: str
    path: Path
    state: tuple[int, ...]
    caption: str | None = None

    @property
    def suffix(self) -> str:
        """The suffix of the file name, in lower case."""
        return self.path.suffix[1:].lower()

    @property
    def num_bytes(self) -> int:
        """Its size; 0 if it is missing."""
        return max(0, self.state[0])


def find_sources(
    source: Path, kind: str | None, passed_over: dict[str, str] | None = None, skip: Path | None = None
) -> tuple[str, list[Source]]:
    """Returns the kind of the files to pack, and the files sorted by name.

    The first bytes of a file tell its kind; its name counts only if they do not. Hidden files and folders are
    left out, and links to folders are not followed. Animated pictures are videos if ``kind`` says so or if
    there is nothing else; otherwise their first frame is an image, and a GIF is passed over.

    Args:
        source: Folder to search with all its subfolders; or a text file of paths relative to it, one a line.
        kind: ``video`` or ``image``; if None, the only kind that is found.
        passed_over: Receives the names of files that are neither packed nor text, and why.
        skip: A folder to leave out, such as the output folder, which may be below ``source``.

    Raises:
        UsageError: If there is nothing to pack, or both kinds are found and ``kind`` is None.
    """
    passed = {} if passed_over is None else passed_over
    names = _walk(source, skip, passed) if source.is_dir() else _read_list(source)
    root = source if source.is_dir() else source.parent
    found: dict[str, list[str]] = {which: [] for which in (*KINDS, *ANIMATED)}
    with ThreadPoolExecutor(NUM_THREADS) as pool:  # the threads may wait for network disks
        for name, (which, problem) in zip(
            names, pool.map(_look, [root / name for name in names]), strict=True
        ):
            if which:
                found[which].append(name)
            elif problem:
                passed[name] = problem
    asked, kind = kind, _choose(source, kind, found, passed)
    for other in found.keys() - {kind}:
        passed |= dict.fromkeys(found[other], f"{other}, where {kind}s are packed")
    if not found[kind]:
        wanted = [] if asked == "image" else [*VIDEO_FORMATS, "gif", "webp", "png"]
        wanted += [] if asked == "video" else IMAGE_FORMATS
        others = f" but {describe(Counter(passed.values()))}" if passed else ""
        remedy = f"name a folder of files that end in {', '.join(dict.fromkeys(wanted))}"
        raise UsageError(f"there is nothing to pack in {source}{others}: {remedy}")
    captions = _captions(root, found[kind]) if kind == "image" else {}
    sources = []
    for name in sorted(found[kind]):
        path = root / name
        state = _state(path) + (_state(path.with_suffix(".txt")) if kind == "image" else ())
        sources.append(Source(name, path, state, captions.get(path)))
    return kind, sources


def _choose(source: Path, kind: str | None, found: dict[str, list[str]], passed: dict[str, str]) -> str:
    """Returns the kind to pack, and puts animated pictures where they belong."""
    animated, gifs = found.pop("animated"), found.pop("gif")
    num_videos, num_images = len(found["video"]), len(found["image"]) + len(animated)
    if kind is None and num_videos and num_images:
        counts = f"{num_videos} videos and {num_images} images"
        raise UsageError(f"{source} holds {counts}: add --kind video or --kind image")
    chosen = kind or ("video" if num_videos or (gifs and not num_images) else "image")
    if chosen == "video" and (kind or not num_videos):
        found["video"] += animated + gifs
    else:
        found["image"] += animated
        passed |= dict.fromkeys(gifs, "GIF file")
    return chosen


def describe(reasons: Counter[str]) -> str:
    """Lists reasons, the most frequent first."""
    return ", ".join(f"{count} x {reason}" for reason, count in reasons.most_common())


def _walk(folder: Path, skip: Path | None, passed_over: dict[str, str]) -> list[str]:
    names, skipped = [], None if skip is None else os.path.realpath(skip)
    try:
        for place, folders, files in os.walk(folder, onerror=_refuse):
            below = Path(place).relative_to(folder)
            for name in [name for name in folders if not is_hidden(name)]:
                if os.path.islink(os.path.join(place, name)):
                    passed_over[(below / name).as_posix()] = "link to a folder"
            folders[:] = [
                name
                for name in folders
                if not is_hidden(name) and os.path.realpath(os.path.join(place, name)) != skipped
            ]
            names += [(below / name).as_posix() for name in files if not is_hidden(name)]
    except OSError as error:
        problem = f"cannot read the folder {error.filename}: {error.strerror}"
        raise UsageError(f"{problem}; get permission to read it, or move it away") from None
    return names


def _refuse(error: OSError) -> NoReturn:
    raise error


def _look(path: Path) -> tuple[str, str]:
    """Returns ``video`` or ``image``, or else why the file is neither; both strings are empty for text."""
    suffix = path.suffix[1:].lower()
    by_name = next((kind for kind, formats in KINDS.items() if suffix in formats), "")
    try:
        head = read_head(path)
    except OSError as error:
        return by_name, error.strerror or "cannot be read"
    except ValueError as error:
        return "", str(error)
    is_gif = kind_of(head) == "GIF"
    if may_be_animated(head) and (not is_gif or by_name == "image"):  # a GIF in .jpg is a misnamed image
        return "animated", ""
    if is_gif and not by_name:
        return "gif", ""
    right = suffix_of(head, suffix)
    kind = next((kind for kind, formats in KINDS.items() if right in formats), by_name)
    if kind or suffix in TEXT:
        return kind, ""
    what = kind_of(head)
    return "", f"{what} file" if what else f"unknown kind, {f'.{suffix}' if suffix else 'no suffix'}"


def is_animated(source: Source) -> bool:
    """Whether a file is a picture that may have several frames."""
    try:
        return may_be_animated(read_head(source.path))
    except (OSError, ValueError):
        return False


def read_head(path: Path) -> bytes:
    """Reads the first bytes of a file.

    Raises:
        ValueError: If it is a pipe, a socket, a device or a folder; reading a pipe may never end.
        OSError: If it cannot be read.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("pipe, socket, device or folder")
    with path.open("rb", buffering=0) as file:
        return file.read(HEAD_BYTES) or b""


def _read_list(path: Path) -> list[str]:
    lines = read_lines(path, "name a folder, or a text file of paths")
    known = VIDEO_FORMATS | IMAGE_FORMATS
    names = dict[str, None]()
    for number, line in enumerate(lines, 1):
        name = line if os.path.lexists(path.parent / line) else line.strip()
        if name and name.rpartition(".")[2].lower() not in known and not _look(path.parent / name)[0]:
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
