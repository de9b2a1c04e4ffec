"""Reads what the program wrote, for tests to look at."""

from math import inf
from pathlib import Path

import av

from lightning_mav.data.codecs.decode import decode_video
from lightning_mav.data.codecs.pixels import from_uint8
from lightning_mav.worlds.micro.world import ATTRIBUTES


def read_video(path):
    """Returns the frames of a file, ``(3, F, H, W)`` in [-1, 1], and their rate."""
    path = Path(path)
    with av.open(str(path)) as container:
        fps = float(container.streams.video[0].average_rate)
    frames, _ = decode_video(path.read_bytes(), path.suffix[1:], None, max_seconds=inf)
    return from_uint8(frames.transpose(0, 1)), fps


def parse_caption(text):
    """Returns the attributes that a caption names, each as an index: ``{"shape": 1, "colour": 0}``."""
    words = text.lower().replace(",", " ").replace(".", " ").split()
    return {
        attribute: names.index(word)
        for attribute, names in ATTRIBUTES.items()
        for word in words
        if word in names
    }
