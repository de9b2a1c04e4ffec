"""Decoded pixels on disk, mapped into memory, so that small-scale training on a CPU decodes nothing."""

import hashlib
import json
import zipfile
import zlib
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_mav.data.shards.fetched import Shard
from lightning_mav.datamodules.batches import Tally
from lightning_mav.utils.errors import UsageError, writing
from lightning_mav.utils.paths import replacing

MAX_BYTES = 2_500_000_000
VERSION = 5  # increase it when shards are decoded to other pixels than before, or the index changes
DAMAGED = (zipfile.BadZipFile, zlib.error, NotImplementedError)  # errors that reading a damaged zip raises

Stored = dict[str, Any]


@dataclass
class FrameStore:
    """Frames of many samples, one after another.

    Args:
        frames: Pixels as uint8, ``(N, 3, size, size)``.
        starts: Index of each sample's first frame, then the number of frames, ``(samples + 1,)``.
        times: When each frame is shown, ``(N,)`` in seconds.
        texts: Caption of each sample; empty if the samples have none.
        tally: Counts of the samples decoded and skipped.
    """

    frames: Tensor
    starts: Tensor
    times: Tensor
    texts: list[str]
    tally: Tally

    def __len__(self) -> int:
        return len(self.starts) - 1

    def read(self, number: int) -> Stored:
        """Returns a sample: ``frames (F, 3, size, size)``, ``times (F,)`` and its ``text`` if it has one."""
        start, end = self.starts[number : number + 2].tolist()
        stored = {"frames": self.frames[start:end], "times": self.times[start:end]}
        return {**stored, "text": self.texts[number]} if self.texts else stored


def store_path(shards: list[Shard], settings: dict[str, Any], folder: Path) -> Path:
    """Returns the path of a store; its name depends on the shards and on the settings of decoding."""
    key = json.dumps([VERSION, settings, [shard.identity() for shard in shards]], sort_keys=True)
    return folder / hashlib.sha256(key.encode()).hexdigest()[:16]


def has_store(path: Path) -> bool:
    """Returns whether a complete store exists; one that a power failure left incomplete does not count."""
    try:
        starts, shape = (_read_index(path)[name] for name in ("starts", "shape"))
        return path.with_suffix(".u8").stat().st_size == int(starts[-1]) * int(np.prod(shape))
    except (OSError, EOFError, LookupError, ValueError, TypeError, ArithmeticError, *DAMAGED):
        return False


def _read_index(path: Path) -> dict[str, Any]:
    """Reads everything in a store but its pixels."""
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as index:
        content = {name: index[name] for name in ("starts", "times", "shape", "texts")}
        return {**content, "tally": json.loads(str(index["tally"]))}


def write_store(path: Path, samples: Iterable[dict[str, Any]], tally: Tally) -> None:
    """Writes samples of ``frames (F, 3, size, size)`` and, if there are any, ``times (F,)`` and ``text``.

    Frames and times are arrays or tensors. The tally is complete once all samples have been read.
    """
    lengths: list[int] = []
    # Not a list of small arrays: each would lie between large blocks of pixels, and so keep the allocator
    # from reusing their memory once they are freed.
    times = array("d")
    texts: list[str] = []
    shape, num_bytes = (3, 0, 0), 0
    made = partial(has_store, path)  # by another process, which may be reading it already
    with writing(path.parent, "set cache_dir to another folder, or cache=false"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            replacing(path.with_suffix(".npz"), unless=made) as index,
            replacing(path.with_suffix(".u8"), unless=made) as pixels,
        ):
            with pixels.open("wb") as file:
                for sample in samples:
                    frames = sample["frames"]
                    num_bytes += file.write(np.asarray(frames).tobytes())
                    if num_bytes > MAX_BYTES:
                        raise UsageError(
                            f"decoded, {len(lengths)} samples take more than {MAX_BYTES / 1e9} GB: "
                            f"set max_samples={len(lengths) * 9 // 10}, a smaller image_size, or cache=false"
                        )
                    lengths.append(len(frames))
                    shape = tuple(frames.shape[1:])
                    times.extend(sample["times"].tolist() if "times" in sample else [0.0] * len(frames))
                    if "text" in sample:
                        texts.append(sample["text"])
            with index.open("wb") as file:
                starts = np.concatenate([[0], np.cumsum(lengths)])
                columns: dict[str, Any] = {"times": np.array(times), "texts": np.array(texts, str)}
                np.savez(file, starts=starts, shape=shape, **columns, tally=json.dumps(vars(tally)))


def read_store(path: Path) -> FrameStore:
    """Maps a store into memory; pages come from disk when they are first used."""
    index = _read_index(path)
    starts, times = torch.from_numpy(index["starts"]), torch.from_numpy(index["times"])
    shape, texts = [int(size) for size in index["shape"]], index["texts"].tolist()
    facts = index["tally"]
    tally = Tally(facts["num_read"], Counter(facts["broken"]), Counter(facts["filtered"]))
    num = int(starts[-1])
    pixels = torch.from_file(
        str(path.with_suffix(".u8")), shared=False, size=num * int(np.prod(shape)), dtype=torch.uint8
    )
    return FrameStore(pixels.view(num, *shape), starts, times, texts, tally)
