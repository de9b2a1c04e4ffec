"""Makes the page of a study, with videos under neutral names in random order, and its key."""

import hashlib
import json
import random
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import jinja2

from ...data.codecs.animations import animation_to_video
from ...data.codecs.kinds import may_be_animated, suffix_of
from ...data.codecs.lossless import SUFFIX as LOSSLESS
from ...data.codecs.recode import recode
from ...utils.errors import UsageError, first_line
from ...utils.paths import visible
from ...utils.textfile import decode_caption, parse_json, shortened, slug, write_text
from .key import QUESTIONS, Pair, Study

PAGE = Path(__file__).parent / "page"
SUFFIXES = (
    ".mp4",
    ".webm",
    ".mkv",
    ".mov",
    ".avi",
    ".webp",
    ".apng",
    ".gif",
)  # if there are several, the first of these counts
PLAIN = re.compile(r"(-\d+)*")  # what ``mav generate`` adds to a prompt: the seed, and a number

Found = tuple[str, str, Path, Path]  # name, prompt, video of A, video of B


def find_pairs(a: Path, b: Path, prompts: Sequence[str] | None) -> list[Found]:
    """Finds videos of the same name in two folders, and their prompts.

    The prompt of NAME.mp4 is read from NAME.json, which ``mav generate`` writes, or from NAME.txt, in one of
    the folders. If there is neither, it is the one of ``prompts`` that the name was made from.

    Args:
        a: Folder of system A.
        b: Folder of system B.
        prompts: Only pairs with these prompts are taken; None takes all pairs.

    Returns:
        Name, prompt, and the videos of A and of B, sorted by name.

    Raises:
        UsageError: If there are no pairs, a prompt is not known, the folders give different ones, or one of
            ``prompts`` has no pair.
    """
    videos = {folder: _videos(folder) for folder in (a, b)}
    names = sorted(videos[a].keys() & videos[b].keys())
    if not names:
        raise UsageError(f"{a} and {b}: have no videos of the same name, such as NAME.mp4 in both")
    for folder, other in ((a, b), (b, a)):
        if alone := sorted(videos[folder].keys() - videos[other].keys()):
            text = f"{len(alone)} videos that {other} has not, such as {alone[0]}"
            warnings.warn(f"{folder}: left out {text}", stacklevel=2)
    found = []
    for name in names:
        prompt = _prompt_of(name, a, b, prompts or ())
        if prompts is None and prompt is None:
            raise UsageError(
                f"{name}: no {name}.json or .txt tells its prompt; list the prompts in --prompts FILE"
            )
        if prompt is not None and (prompts is None or prompt in prompts):
            found.append((name, prompt, videos[a][name], videos[b][name]))
    shown = {prompt for _, prompt, _, _ in found}
    if missing := [prompt for prompt in prompts or () if prompt not in shown]:
        raise UsageError(
            f"--prompts: {len(missing)} of {len(prompts or ())} prompts have no video in both folders, "
            f"such as {shortened(missing[0])!r}; generate it, or take it out"
        )
    return found


def _videos(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise UsageError(f"{folder}: is no folder of videos; name one that 'mav generate' has written")
    files = {path.name: path for path in visible(folder) if path.is_file()}
    found: dict[str, Path] = {}
    for suffix in SUFFIXES:
        for name, path in files.items():
            if path.suffix.lower() == suffix:
                found.setdefault(name[: -len(suffix)], path)
    return found


def _prompt_of(name: str, a: Path, b: Path, prompts: Sequence[str]) -> str | None:
    said = {folder: prompt for folder in (a, b) if (prompt := _said(folder / name)) is not None}
    if len({*said.values()}) > 1:
        one, other = (shortened(prompt) for prompt in said.values())
        raise UsageError(f"{name}: its prompt is {one!r} in {a}, and {other!r} in {b}; keep one of the two")
    if said:
        return next(iter(said.values()))
    fitting = [prompt for prompt in prompts if (base := slug(prompt)) and name.lower().startswith(base)]
    fitting = [prompt for prompt in fitting if PLAIN.fullmatch(name[len(slug(prompt)) :])]
    return max(fitting, key=len, default=None)


def _said(stem: Path) -> str | None:
    """Returns the prompt that a file beside a video holds; None if there is no such file."""
    settings, caption = stem.with_name(f"{stem.name}.json"), stem.with_name(f"{stem.name}.txt")
    try:
        if settings.exists():
            return " ".join(str(parse_json(settings.read_bytes())["prompt"]).split())
        if caption.exists():
            return " ".join(decode_caption(caption.read_bytes()).split())
    except (OSError, ValueError, TypeError, KeyError) as error:
        path = settings if settings.exists() else caption
        raise UsageError(
            f"{path}: holds no prompt ({first_line(error)}); mend it, or move it away"
        ) from error
    return None


def make_study(
    found: Sequence[Found],
    folders: tuple[Path, Path],
    seed: int,
    out: Path,
    title: str,
    progress: Callable[[Iterable[Any], int], Iterable[Any]] = lambda items, _: items,
) -> Study:
    """Writes ``index.html`` and ``videos/`` into a folder.

    All videos are encoded again in the same way, without sound. So container, codec and metadata are the
    same for both systems.

    Args:
        found: As ``find_pairs`` returns it.
        folders: Folders of A and B, for the key.
        seed: Seed of the order, the sides and the identifiers.
        out: Where to write.
        title: Title of the page.
        progress: Called with the pairs and their number; returns them, and shows how many are done.

    Raises:
        UsageError: If a video cannot be read.
    """
    rng = random.Random(seed)
    order = rng.sample(list(found), len(found))
    ids = [f"{number:08x}" for number in rng.sample(range(2**32), 2 * len(order))]
    (out / "videos").mkdir(parents=True)
    pairs, shown, digest = [], [], hashlib.sha256()
    for i, (name, prompt, *paths) in enumerate(progress(order, len(order))):
        sides = ids[2 * i : 2 * i + 2]  # identifiers of A's video and of B's
        for path, identifier in zip(paths, sides, strict=True):
            data = _encode(path)
            digest.update(hashlib.sha256(data).digest())
            (out / "videos" / f"{identifier}.mp4").write_bytes(data)
        pairs.append(Pair(name, prompt, *sides))
        shown.append({"prompt": prompt, "videos": rng.sample(sides, 2)})
    digest.update(json.dumps(shown).encode())
    study = Study(digest.hexdigest()[:16], str(folders[0]), str(folders[1]), seed, pairs)
    content = {"study": study.id, "questions": QUESTIONS, "pairs": shown}
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(PAGE), autoescape=True)
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}
    write_text(out / "index.html", environment.get_template("index.html").render(title=title, data=content))
    return study


def _encode(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        if may_be_animated(data):
            return recode(animation_to_video(data), LOSSLESS, gop=None, size=None)
        if not (suffix := suffix_of(data, path.suffix.lower()[1:])):
            raise ValueError(f"no video of {', '.join(SUFFIXES)}")
        return recode(data, suffix, gop=None, size=None)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read ({first_line(error)}); mend it, or move it away") from error
