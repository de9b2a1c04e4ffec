"""Times the reading of batches with one and with two processes, and the start in the middle of an epoch."""

import argparse
import itertools
import os
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from lightning_mav.data.shards.check import write_missing_index
from lightning_mav.data.shards.index import index_path
from lightning_mav.data.shards.local import _local_index
from lightning_mav.datamodules.batches import Batches, Plan
from lightning_mav.datamodules.order import GROUP_SIZE
from lightning_mav.datamodules.video import VideoShards
from lightning_mav.utils.errors import UsageError
from lightning_mav.utils.threads import num_cores

from . import decode
from .report import Section, Table
from .timing import Times, progress_bar, ratios, take_turns, with_spread

TURNS = 7
WORKERS = (1, 2)
VIDEOS = 3  # different ones; each is in the shards under many names
PER_SHARD = 50
# As the micro decoder reads its clips, without the store of decoded pixels.
SETTINGS = {
    "image_size": 16,
    "batch_size": 6,
    "num_frames": 16,
    "fps_range": (4.0, 30.0),
    "beta": (3.0, 1.0),
    "even_spacing": True,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this bench."""
    parser.add_argument("--seconds", type=int, default=10, help="of a video (10)")
    parser.add_argument("--batches", type=int, default=40, help="to time in a turn (40)")


def run(args: argparse.Namespace) -> Section:
    """Times both; before that, checks that the number of processes changes no batch."""
    cores = num_cores()
    if cores < max(WORKERS):
        raise UsageError(f"this process may use {cores} core: give it {max(WORKERS)}")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        num_shards = write_shards(Path(folder), args.seconds)
        reader = VideoShards(folder, **SETTINGS)
        check(reader)
        reading = compare_workers(reader, args.turns, args.batches)
        starting = compare_starts(reader, args.turns)
    clips = args.batches * reader.batch_size
    rates = {name: [clips / seconds for seconds in times] for name, times in reading.items()}
    one, two = (f"{number} worker" + "s" * (number > 1) for number in WORKERS)
    rows = [[name, with_spread(rates[name], 0), ""] for name in (one, two)]
    rows[1][2] = with_spread(ratios(rates[two], rates[one]))
    starts = [[name, with_spread([1e3 * s for s in times], 0), ""] for name, times in starting.items()]
    starts[1][2] = with_spread(ratios(starting["at half an epoch"], starting["fresh"]))
    return Section(
        "loader",
        "Reading batches",
        [
            f"Batches of {reader.batch_size} clips of {reader.choose.num_frames} frames at "
            f"{SETTINGS['image_size']} x {SETTINGS['image_size']} pixels, at the frame rates that the micro "
            f"decoder begins with, decoded from {num_shards} shards of {PER_SHARD} videos each: a moving "
            f"texture of 320x240 pixels and {args.seconds} s, H.264 with a key frame at least every 30 "
            f"frames. The machine has {cores} cores for this, and nothing is trained meanwhile. It is "
            "checked that the number of workers changes no batch.",
            f"A turn reads {args.batches} batches after those that fill the queues; the ratio is that of "
            "the speeds. Starting is everything from the list of shards to the first batch: the samples are "
            "counted and put into order, a worker starts, and one batch is read. It is timed at the "
            "beginning of an epoch, and in the middle of it, as in a resumed run.",
        ],
        [
            Table(["reading", "clips/s", "ratio"], rows, "Throughput"),
            Table(["starting", "first batch, ms", "ratio"], starts, "Going on"),
        ],
    )


def write_shards(folder: Path, seconds: int) -> int:
    """Writes a shard, and links to it until there are two groups of samples to shuffle; returns how many."""
    videos = [decode.encode(240, 320, seconds * decode.FPS)[0] for _ in range(VIDEOS)]
    first = folder / "00000.tar"
    with tarfile.open(first, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number in range(PER_SHARD):
            info = tarfile.TarInfo(f"{number:05d}.mp4")
            info.size = len(videos[number % VIDEOS])
            tar.addfile(info, BytesIO(videos[number % VIDEOS]))
    write_missing_index(str(first))
    num = 2 * GROUP_SIZE // PER_SHARD
    for number in range(1, num):
        link = folder / f"{number:05d}.tar"
        os.link(first, link)
        os.link(index_path(first), index_path(link))
    return num


def check(reader: VideoShards) -> None:
    """Compares batches of no, one and two workers."""
    found = [list(itertools.islice(batches(reader, workers), 3)) for workers in (0, *WORKERS)]
    for others in found[1:]:
        for batch, other in zip(found[0], others, strict=True):
            assert batch.keys() == other.keys()
            assert all(torch.equal(batch[key], other[key]) for key in batch), "workers change a batch"


def compare_workers(reader: VideoShards, turns: int, num: int) -> Times:
    """Seconds that a number of batches takes with each number of workers, turn by turn."""
    times: Times = {f"{workers} worker" + "s" * (workers > 1): [] for workers in WORKERS}
    with progress_bar() as progress:
        task = progress.add_task("loader", total=turns * len(WORKERS))
        for _ in range(turns):
            for workers, name in zip(WORKERS, times, strict=True):
                progress.update(task, description=f"loader: {name}")
                stream = batches(reader, workers)
                for _ in range(4 * workers):  # twice what a loader has in its queues
                    next(stream)
                start = time.perf_counter()
                for _ in range(num):
                    next(stream)
                times[name].append(time.perf_counter() - start)
                progress.advance(task)
    return times


def compare_starts(reader: VideoShards, turns: int) -> Times:
    """Seconds to the first batch at the beginning and in the middle of an epoch, turn by turn."""

    def start(position: int) -> Callable[[], object]:
        def call() -> object:
            _local_index.cache_clear()  # as in a process that has just been started
            return next(batches(reader, 1, position))

        return call

    calls = {"fresh": start(0), "at half an epoch": start(GROUP_SIZE)}
    return take_turns(calls, turns, title="loader: starting")


def batches(reader: VideoShards, workers: int, position: int = 0) -> Iterator[dict[str, torch.Tensor]]:
    """Reads as ``train_dataloader`` does, from a position on."""
    stream: Batches = reader.batches(Plan(reader.batch_size, reader.seed, first_sample=position))
    return iter(DataLoader(stream, batch_size=None, num_workers=workers))
