"""Drawn packages of the same form as those of the registry: stills, animations and names of a few emoji."""

import base64
import hashlib
import io
import json
import tarfile

import numpy as np
import yaml
from PIL import Image

TONES = ("1f3fb", "1f3ff")
THINGS = [f"1f98{digit}" for digit in range(10)]  # without tones
PEOPLE = [f"1f48{digit}" for digit in range(10)]  # with two tones each
STILL = "2764-fe0f"  # never moves
SIZE, NUM_FRAMES = 32, 20


def codes():
    """All that move."""
    return [*THINGS, *PEOPLE, *(f"{code}-{tone}" for code in PEOPLE for tone in TONES)]


def frames(code, num_frames, size=SIZE):
    """A square of the emoji's own colour that moves to the right over transparent ground."""
    colour = np.frombuffer(hashlib.sha256(code.encode()).digest()[:3], np.uint8)
    pictures = []
    for index in range(num_frames):
        pixels = np.zeros((size, size, 4), np.uint8)
        left = index % (size // 2)
        pixels[8:24, left : left + 16] = [*colour, 255]
        pictures.append(Image.fromarray(pixels))
    return pictures


def animation(code, num_frames=NUM_FRAMES, duration=42, kind="WEBP", size=SIZE):
    """A file of these frames; a still if there is one."""
    file = io.BytesIO()
    first, *others = frames(code, num_frames, size)
    options = {"lossless": True} if kind == "WEBP" else {"disposal": 2} if kind == "GIF" else {}
    if others:
        options |= {"save_all": True, "append_images": others, "duration": duration, "loop": 0}
    first.save(file, kind, **options)
    return file.getvalue()


def annotations(key, names):
    """A file of CLDR."""
    entries = {
        "".join(chr(int(part, 16)) for part in code.split("-") if part != "fe0f"): entry
        for code, entry in names.items()
    }
    return json.dumps({key: {"identity": {}, "annotations": entries}}).encode()


def name(code):
    """Name and keywords of an emoji."""
    thing, _, tone = code.partition("-")
    words = [f"word{thing}", "common"]
    tones = {"1f3fb": "light skin tone", "1f3ff": "dark skin tone"}
    if tone in tones:
        return {"tts": [f"{thing} person: {tones[tone]}"], "default": [*words, tones[tone]]}
    return {"tts": [f"{thing} person" if thing in PEOPLE else f"{thing} thing"], "default": words}


def other_names():
    """A file of emoji-datasource."""
    entries = [{"unified": "1F980", "short_names": ["fire_engine", "-1"]}]
    entries += [{"unified": "2764-FE0F", "short_names": ["red-heart"]}]
    entries += [{"unified": "1F480", "short_names": ["word1f480"]}]  # a keyword of it
    entries += [{"unified": "1F600", "short_names": ["grinning"]}]  # has no picture
    return json.dumps(entries).encode()


def write_packages(folder):
    """Writes archives as ``npm pack`` does, and returns the YAML of a world made of them."""
    moving = {f"assets/{code}.webp": animation(code) for code in codes()}
    stills = {f"assets/{code}.webp": animation(code, 1) for code in [*codes(), STILL]}
    stills["assets/1f999.webp"] = animation("1f999", 1)  # has no name
    plain = {code: name(code) for code in [*THINGS, *PEOPLE, STILL, "1f600"]}  # the last has no picture
    toned = {code: name(code) for code in codes() if code not in plain}
    files = {
        "@test/fluent-emoji-3d": stills,
        "@test/fluent-emoji-anim-1": {**moving, "assets/2764-fe0f.webp": stills["assets/2764-fe0f.webp"]},
        "cldr-annotations-full": {"annotations/en/annotations.json": annotations("annotations", plain)},
        "cldr-annotations-derived-full": {
            "annotationsDerived/en/annotations.json": annotations("annotationsDerived", toned)
        },
        "emoji-datasource": {"emoji.json": other_names()},
    }
    folder.mkdir(parents=True, exist_ok=True)
    listed = []
    for package, members in files.items():
        path = folder / f"{package.removeprefix('@').replace('/', '-')}-1.0.0.tgz"
        with tarfile.open(path, "w:gz") as tar:
            for member, data in {"package.json": b"{}", **members}.items():
                info = tarfile.TarInfo(f"package/{member}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        digest = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
        listed.append({"name": package, "version": "1.0.0", "sha512": digest})
    sizes = {"video_size": 32, "captions": 3, "min_seconds": 2.0, "validation": 0.1}
    return yaml.safe_dump({"packages": listed, **sizes})
