"""What other programs make of our files: ffprobe, Pillow, and parsers of sprite sheets."""

import json
import shutil
import subprocess
from fractions import Fraction
from math import ceil

import numpy as np
from PIL import Image

FFPROBE = shutil.which("ffprobe")
WITHOUT_FFPROBE = "no ffprobe on this machine (apt-get install ffmpeg)"


def probe(path):
    """What ffprobe says of the video, with all frames decoded: size, frames, rate, length; no complaint."""
    wanted = "stream=codec_name,width,height,pix_fmt,r_frame_rate,nb_read_frames,color_space,color_range"
    command = [FFPROBE, "-v", "error", "-count_frames", "-select_streams", "v:0"]
    command += ["-show_entries", f"{wanted}:format=format_name,duration", "-of", "json", str(path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    assert not result.stderr, result.stderr
    found = json.loads(result.stdout)
    (stream,) = found["streams"]
    return {
        **{name: stream.get(name) for name in ("codec_name", "width", "height", "pix_fmt", "color_space")},
        "frames": int(stream["nb_read_frames"]),
        "rate": Fraction(stream["r_frame_rate"]),
        "seconds": float(found["format"]["duration"]),
        "format": found["format"]["format_name"],
    }


def animation(path):
    """What Pillow shows of an animation: frames ``(F, H, W, 4)``, their times in ms, and its loops."""
    with Image.open(path) as image:
        frames, times = [], []
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            frames.append(np.asarray(image.convert("RGBA")))
            times.append(image.info.get("duration"))
        return np.stack(frames), times, image.info.get("loop")


def read_settings(folder):
    """Returns how the one result in a folder was made; a sprite sheet has a JSON file of its own."""
    (path,) = (path for path in folder.glob("*.json") if not path.stem.endswith("-sprites"))
    return json.loads(path.read_text())


def check_files(folder):
    """Opens all files that a command has written; returns what each is."""
    found = {}
    for path in sorted(folder.iterdir()):
        if path.suffix == ".mp4" and FFPROBE:
            found[path.name] = probe(path)
            assert found[path.name]["frames"] > 0
        elif path.suffix in (".gif", ".webp", ".apng"):
            frames, times, loop = animation(path)
            found[path.name] = f"{len(frames)} frames of {frames.shape[2]}x{frames.shape[1]}"
            if len(frames) > 1:
                assert loop == 0, path
                assert min(times) > 0, path
        elif path.name.endswith("-sprites.json"):
            found[path.name] = f"{len(phaser(path))} sprites"
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".png":
            Image.open(path).load()
    return found


def phaser(path, layout=None):
    """Plays a sprite sheet by the rules of Phaser 3, from both of its layouts.

    ``JSONArray.js`` and ``JSONHash.js`` cut the frames and name them; ``AnimationManager.createFromAseprite``
    finds the frames of a tag by their number, in the JSON as in the texture.

    Args:
        path: The JSON file.
        layout: What it holds, if it is not to be read.

    Returns:
        Frames ``(H, W, 4)`` and their times in ms, in the order of the animation.
    """
    layout = layout or json.loads(path.read_text())
    frames, textures = layout["frames"], {}
    is_hash = isinstance(frames, dict)
    sheet = np.asarray(Image.open(path.parent / layout["meta"]["image"]).convert("RGBA"))
    assert sheet.shape[:2] == (layout["meta"]["size"]["h"], layout["meta"]["size"]["w"])
    for key, entry in frames.items() if is_hash else [(entry["filename"], entry) for entry in frames]:
        assert key not in textures  # Texture.add refuses a second one
        assert not entry["trimmed"]
        assert not entry["rotated"]
        box = entry["frame"]
        assert (entry["sourceSize"]["w"], entry["sourceSize"]["h"]) == (box["w"], box["h"])
        textures[key] = sheet[box["y"] : box["y"] + box["h"], box["x"] : box["x"] + box["w"]]
        assert textures[key].shape[:2] == (box["h"], box["w"])
    played = []
    for tag in layout["meta"]["frameTags"]:
        assert tag["name"]  # tags without a name are skipped
        keys = [str(index) for index in range(tag["from"], tag["to"] + 1)]
        entries = [frames[key if is_hash else int(key)] for key in keys]
        shown = [(textures[key], entry["duration"]) for key, entry in zip(keys, entries, strict=True)]
        played += shown[::-1] if tag["direction"] == "reverse" else shown
    return played


def godot(path, layout=None):
    """Plays a sprite sheet by the rules of Godot's Aseprite Wizard, which reads JSON arrays and hashes.

    The animation has a rate of whole frames a second, 1000 / the shortest time rounded up, and each frame
    lasts its time / the shortest.

    Returns:
        The rate, the regions ``(x, y, w, h)``, and how many frames each lasts.
    """
    layout = layout or json.loads(path.read_text())
    assert layout["meta"]["image"]
    frames = layout["frames"]
    frames = [*frames.values()] if isinstance(frames, dict) else frames
    (tag,) = layout["meta"]["frameTags"]
    assert tag["direction"] in ("forward", "reverse", "pingpong", "pingpong_reverse")
    assert "repeat" not in tag  # it would not loop
    frames = frames[tag["from"] : tag["to"] + 1]
    shortest = min(frame["duration"] for frame in frames)
    regions = [tuple(frame["frame"][key] for key in "xywh") for frame in frames]
    return ceil(1000 / shortest), regions, [frame["duration"] / shortest for frame in frames]
