"""Decoded pixels on disk, mapped into memory: what small-scale training on a CPU reads instead of codecs."""

import hashlib
import json
import zipfile
import zlib
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_mav.data.shards.fetched import Shard
from lightning_mav.datamodules.batches import Tally
from lightning_mav.utils.errors import UsageError
from lightning_mav.utils.paths import replacing

MAX_BYTES = 2_500_000_000
VERSION = 5  # raise when the same shards would be decoded to other pixels, or the index changes
DAMAGED = (zipfile.BadZipFile, zlib.error, NotImplementedError)  # said of an index that is a damaged zip

Stored = dict[str, Any]


@dataclass
class FrameStore:
    """Frames of many samples, end to end.

    Args:
        frames: Pixels as uint8, ``(N, 3, size, size)``.
        starts: First frame of each sample and the end of the last one, ``(samples + 1,)``.
        times: When each frame is shown, ``(N,)`` in seconds.
        texts: One for each sample, or none at all.
        tally: What became of the samples that were decoded.
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
    """Names the store of some shards, decoded in one way; other files or settings have another name."""
    key = json.dumps([VERSION, settings, [shard.identity() for shard in shards]], sort_keys=True)
    return folder / hashlib.sha256(key.encode()).hexdigest()[:16]


def has_store(path: Path) -> bool:
    """Says whether a whole store is there; what a machine that lost its power has left is none."""
    try:
        starts, shape = (_read_index(path)[name] for name in ("starts", "shape"))
        return path.with_suffix(".u8").stat().st_size == int(starts[-1]) * int(np.prod(shape))
    except (OSError, EOFError, LookupError, ValueError, TypeError, ArithmeticError, *DAMAGED):
        return False


def _read_index(path: Path) -> dict[str, Any]:
    """Reads all that is in a store besides its pixels."""
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as index:
        content = {name: index[name] for name in ("starts", "times", "shape", "texts")}
        return {**content, "tally": json.loads(str(index["tally"]))}


def write_store(path: Path, samples: Iterable[dict[str, Any]], tally: Tally) -> None:
    """Writes samples of ``frames (F, 3, size, size)`` and, if there are any, ``times (F,)`` and ``text``.

    Frames and times are arrays or tensors. The tally is complete when the samples have been read.
    """
    lengths: list[int] = []
    # Not a list of small arrays: between the large pixels that come and go, each would keep the allocator
    # from using the freed memory again.
    times = array("d")
    texts: list[str] = []
    shape, num_bytes = (3, 0, 0), 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path.with_suffix(".npz")) as index, replacing(path.with_suffix(".u8")) as pixels:
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
    except OSError as error:
        raise UsageError(
            f"cannot write decoded pixels to {path.parent}: {error.strerror or error}; "
            "set cache_dir to another folder, or cache=false"
        ) from error


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
