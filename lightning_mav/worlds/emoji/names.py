"""What each emoji is called: names, keywords and skin tones of Unicode's CLDR, and captions made of them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from ...utils.textfile import parse_json
from .packages import find_files, usable

VARIATION = "fe0f"  # asks for a coloured picture; data sets write it or leave it out
CODE = re.compile("[0-9a-fA-F]+([-_][0-9a-fA-F]+)*")
FLAG_END = "e007f"  # ends the letters of a region in flags such as that of Wales
FLAG_A = 0x1F1E6  # the letter a of a country's flag; the others follow
TAGS = 0xE0000  # less than a tag by the number of its letter, as in "gbeng"
TONES = {
    "1f3fb": "light skin tone",
    "1f3fc": "medium-light skin tone",
    "1f3fd": "medium skin tone",
    "1f3fe": "medium-dark skin tone",
    "1f3ff": "dark skin tone",
}
ANNOTATIONS = (  # files of the two packages of names
    "annotations/en/annotations.json",
    "annotationsDerived/en/annotations.json",
)


@dataclass(frozen=True)
class Emoji:
    """One picture and what it is called.

    Args:
        code: Code points in hexadecimal, joined by hyphens, without U+FE0F: ``1f469-1f3fd-200d-1f373``.
        name: Name, without the skin tones: ``woman cook``.
        keywords: Other words for it, without the skin tones.
        tones: Its skin tones in words; two for some couples, none for most things.
    """

    code: str
    name: str
    keywords: tuple[str, ...] = ()
    tones: tuple[str, ...] = ()

    @property
    def thing(self) -> str:
        """Code without skin tones: the same for all tones of a thing."""
        return thing_of(self.code)

    @property
    def full_name(self) -> str:
        """Name with skin tones, as CLDR writes it: ``woman cook: medium skin tone``."""
        return f"{self.name}: {', '.join(self.tones)}" if self.tones else self.name

    @property
    def character(self) -> str:
        """The emoji as text."""
        return "".join(chr(int(part, 16)) for part in self.code.split("-"))


def thing_of(code: str) -> str:
    """Returns a code without its skin tones."""
    return "-".join(part for part in code.split("-") if part not in TONES)


def code_of(stem: str) -> str:
    """Returns the code of a file's name without its suffix.

    Data sets differ: some write U+FE0F, leading zeros or underscores, and leave out the last point of a flag.

    Raises:
        ValueError: If it is no code.
    """
    if not CODE.fullmatch(stem):
        raise ValueError(f"{stem} is no code of an emoji, such as 1f600")
    parts = [f"{int(part, 16):x}" for part in stem.replace("_", "-").split("-")]
    parts = [part for part in parts if part != VARIATION]
    if len(parts) > 1 and parts[-1][:3] == "e00" and parts[-1] != FLAG_END:
        parts.append(FLAG_END)
    return "-".join(parts)


def flag_letters(code: str) -> str:
    """Returns the letters of a flag's code in lower case, ``ch`` or ``gbeng``; none for anything else."""
    points = [int(part, 16) for part in code.split("-")]
    if len(points) == 2 and all(FLAG_A <= point < FLAG_A + 26 for point in points):
        return "".join(chr(point - FLAG_A + ord("a")) for point in points)
    if points[-1] == int(FLAG_END, 16):
        return "".join(chr(point - TAGS) for point in points[1:-1])
    return ""


def read_annotations(folders: Sequence[Path]) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Reads English names and keywords by code from those of the unpacked packages that are CLDR's.

    Raises:
        UsageError: If a file is not what CLDR publishes.
    """
    found = {}
    for pattern in ANNOTATIONS:
        for path in find_files(folders, "*", pattern):
            with usable(path):
                root: Any = parse_json(path.read_bytes())
                key = "annotations" if "annotations" in root else "annotationsDerived"
                for character, entry in root[key]["annotations"].items():
                    code = code_of("-".join(f"{ord(point):x}" for point in character))
                    if "tts" in entry:
                        texts = [entry["tts"][0], *entry.get("default", ())]
                        if not all(isinstance(text, str) and text for text in texts):
                            raise ValueError(f"names of {code} are not texts")
                        found[code] = (texts[0], tuple(texts[1:]))
    return found


def describe(code: str, annotations: dict[str, tuple[str, tuple[str, ...]]]) -> Emoji | None:
    """Returns an emoji with its names; None if CLDR has no name for it."""
    if code not in annotations:
        return None
    full, keywords = annotations[code]
    tones = tuple(TONES[part] for part in code.split("-") if part in TONES)
    parts = [part for part in full.replace(": ", ", ").split(", ") if part not in TONES.values()]
    # "woman: medium skin tone, red hair" has a name of its own; what is left keeps CLDR's colon.
    name = parts[0] + (": " + ", ".join(parts[1:]) if parts[1:] else "")
    others = tuple(word for word in keywords if word not in (*TONES.values(), name))
    return Emoji(code, name, others, tones)


def captions(emoji: Emoji, rng: Random) -> str:
    """Draws a caption: the name in one of several ways, or keywords."""
    name = emoji.name
    if ": " in name:
        name = rng.choice([name, name.replace(": ", " "), " ".join(reversed(name.split(": ")))])
    if emoji.keywords and rng.random() < 0.4:
        words = rng.sample(emoji.keywords, min(len(emoji.keywords), rng.randint(1, 3)))
        words += [] if len(words) > 1 and rng.random() < 0.3 else [name]
        name = rng.choice([", ", " "]).join(rng.sample(words, len(words)))
    name = rng.choice(["{}", "{}", "{}", "{} emoji", "{article} {}", "emoji of {article} {}"]).format(
        name, article="an" if name[:1] in "aeiou" else "a"
    )
    if not emoji.tones:
        return name
    tones = " and ".join(dict.fromkeys(emoji.tones))
    return rng.choice(["{name}: {tones}", "{name} with {tones}", "{tones} {name}", "{name}, {tones}"]).format(
        name=name, tones=tones
    )
