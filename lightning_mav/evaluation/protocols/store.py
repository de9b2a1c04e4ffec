"""A folder of generated samples: shards, and separate files for samples that are in no shard yet.

Each sample is written to files of its own as soon as it is made, and moves into a shard later. A run may be
killed at any time: the next one, on any number of devices, generates only the missing samples.
"""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from torch import Tensor

from ...data.codecs.lossless import SUFFIX, decode_lossless, encode_lossless
from ...data.shards.index import Member, ShardError, index_path, read_index, read_member, scan_shard
from ...data.shards.writer import Packed, digest_of, finished_shard, write_shard
from ...utils.errors import UsageError, writing
from ...utils.paths import claim, replacing, visible
from ...utils.textfile import parse_json, write_json
from ..report.layout import flatten
from .cache import REMEDY
from .items import KEY_DIGITS, Item

MARK, SINGLY = "samples.json", ".singly"


class SampleStore:
    """The samples of one run.

    Args:
        folder: Where they are; ``claim`` makes it.
        mark: Everything that the samples depend on: weights, prompts, seed and so on.
        shard_size: Samples in a shard.
    """

    def __init__(self, folder: Path, mark: dict[str, Any], shard_size: int) -> None:
        self.folder, self.mark, self.shard_size = folder, mark, shard_size
        self.singly = folder / SINGLY
        self.digest = digest_of([mark])
        self.own: list[str] = []  # keys of this process that are in no shard yet
        self._members: dict[int, tuple[Path, dict[str, Member]]] | None = None
        self._locked: IO[str] | None = None

    def claim(self) -> None:
        """Marks the folder as this run's, or checks that an earlier run with the same mark did.

        Raises:
            UsageError: If it holds samples of another mark (the message says what differs), or other shards.
        """
        path = self.folder / MARK
        try:
            self.singly.mkdir(parents=True, exist_ok=True)
            if not path.exists() and not visible(self.folder, "*.tar"):
                write_json(path, self.mark)
            found = parse_json(path.read_bytes())
        except OSError as error:
            raise UsageError(
                f"{path}: cannot be used ({error.strerror or error}); choose another --out"
            ) from error
        except ValueError:
            raise UsageError(f"{path}: is damaged; choose another --out, or remove this folder") from None
        here, there = flatten(self.mark), flatten(found)
        for name in [*here, *there]:
            if here.get(name) != there.get(name):
                values = f"{_short(there.get(name))} there, {_short(here.get(name))} now"
                raise UsageError(
                    f"{self.folder} holds samples of other settings: {name} is {values}; choose another --out"
                )

    def lock(self) -> None:
        """Locks the folder against other runs, until ``unlock`` or the end of this process.

        Raises:
            UsageError: If another run holds the lock.
        """
        self._locked = claim(self.folder / ".lock", "wait for it, or choose another --out")

    def unlock(self) -> None:
        """Releases the lock."""
        if self._locked is not None:
            self._locked.close()
            self._locked = None

    def recover(self) -> set[int]:
        """Cleans up after a killed run; one process calls it, before any process generates.

        Returns:
            The numbers of all existing samples, which are now all in shards.
        """
        in_shards = set[str]()
        for path in visible(self.folder, "*.tar"):
            in_shards.update(self._keys(path))
        left = []
        for path in visible(self.singly):
            key = path.name.partition(".")[0]
            if path.name == f"{key}.json" and key not in in_shards:
                left.append(key)
        self.own = left
        self.flush()
        for path in (*self.singly.iterdir(), *self.folder.glob(".*.part")):
            path.unlink()  # unfinished samples and shards, and samples that are in a shard
        self._members = None
        return {int(key) for key in in_shards.union(left)}

    def _keys(self, path: Path) -> Sequence[str]:
        """Returns the keys in a shard; completes an unfinished shard, and puts a damaged one aside."""
        if finished_shard(path, self.digest) is not None:
            return read_index(index_path(path), path).keys
        if _digest(path) not in (None, self.digest):
            raise UsageError(f"{path}: is a shard of another run; move it away, or choose another --out")
        try:
            index = scan_shard(path, checksums=True)
        except ShardError as error:
            aside = path.with_suffix(".damaged")
            os.replace(path, aside)
            warnings.warn(f"{error}; put aside as {aside.name}, to be generated again", stacklevel=2)
            return []
        packed = (
            _packed(key, *(read_member(path, members[suffix]) for suffix in (SUFFIX, "json")))
            for key, members in zip(index.keys, index.members, strict=True)
        )
        write_shard(path, self.digest, packed, KEY_DIGITS)
        return index.keys

    def add(self, item: Item, video: Tensor, fps: float) -> None:
        """Writes a sample to disk.

        Args:
            item: The item that it was generated for.
            video: Bytes ``(3, F, H, W)``.
            fps: Its frame rate.
        """
        meta = {"prompt": item.prompt, "label": item.label, "seed": item.seed, "fps": fps}
        path = self.singly / f"{item.key}.{SUFFIX}"
        with writing(path, REMEDY):
            with replacing(path) as part:
                part.write_bytes(encode_lossless(video, fps))
            write_json(path.with_suffix(".json"), meta)  # written last: it marks the sample as complete
        self.own.append(item.key)
        if len(self.own) >= self.shard_size:
            self.flush()

    def flush(self) -> None:
        """Moves the samples of this process that are in no shard yet into shards."""
        for start in range(0, len(self.own), self.shard_size):
            keys = self.own[start : start + self.shard_size]
            samples = (
                _packed(key, *((self.singly / f"{key}.{suffix}").read_bytes() for suffix in (SUFFIX, "json")))
                for key in keys
            )
            # The name is unique, since each sample is in one shard only.
            path = self.folder / f"{keys[0]}.tar"
            with writing(path, REMEDY):
                write_shard(path, self.digest, samples, KEY_DIGITS)
                for key in keys:
                    (self.singly / f"{key}.json").unlink()
                    (self.singly / f"{key}.{SUFFIX}").unlink()
        self.own, self._members = [], None

    def read(self, number: int) -> Tensor:
        """Returns a sample, bytes ``(3, F, H, W)``.

        Raises:
            UsageError: If it is damaged.
        """
        path, members = self._find()[number]
        try:
            return decode_lossless(read_member(path, members[SUFFIX]))
        except ValueError as error:
            raise UsageError(
                f"{path}: sample {number} is damaged ({error}); remove the shard and run the same command"
            ) from error

    def numbers(self) -> list[int]:
        """Returns the numbers of all samples in shards."""
        return sorted(self._find())

    def _find(self) -> dict[int, tuple[Path, dict[str, Member]]]:
        if self._members is None:
            self._members = {}
            for path in visible(self.folder, "*.tar"):
                index = read_index(index_path(path), path)
                for key, members in zip(index.keys, index.members, strict=True):
                    self._members[int(key)] = path, members
        return self._members


def _packed(key: str, video: bytes, meta: bytes) -> Packed:
    facts = {name: value for name, value in parse_json(meta).items() if name != "key"}
    return Packed(name=key, members={SUFFIX: video}, meta=facts, key=key)


def _digest(path: Path) -> str | None:
    """Returns the digest that a shard was written with; None if it is not known."""
    try:
        return parse_json(path.with_suffix(".stats.json").read_bytes())["digest"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 16 else f"{text[:12]}..."
