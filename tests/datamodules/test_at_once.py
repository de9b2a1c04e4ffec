"""The first processes of several machines prepare the data of a shared folder at the same time."""

import multiprocessing
import threading
import time
from functools import partial

import pytest

from lightning_mav.datamodules import ImageTextShards, base
from lightning_mav.worlds import folders
from lightning_mav.worlds.micro import shards

NUM = 3


def in_step(check, barrier, rank, *args):
    """Answers when all processes have asked, and each some time after the one before."""
    answer = check(*args)
    try:
        barrier.wait(timeout=1)
    except threading.BrokenBarrierError:  # not all of them ask
        return answer
    time.sleep(0.3 * rank)
    return answer


def at_once(work, modules, name):
    """Calls ``work()`` in several processes, which ask ``name`` in step; returns what all of them return.

    So each has been told that nothing is there yet when the first one puts its own there.
    """
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(NUM), context.Queue()

    def run(rank):
        for module in modules:
            setattr(module, name, partial(in_step, getattr(module, name), barrier, rank))
        try:
            results.put(work())
        except BaseException as error:
            results.put(repr(error))

    processes = [context.Process(target=run, args=(rank,)) for rank in range(NUM)]
    for process in processes:
        process.start()
    found = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    return found


@pytest.mark.parametrize("before", [None, 2], ids=["nothing", "other settings"])
def test_a_world_stays_that_another_process_may_be_reading(tmp_path, before, monkeypatch):
    monkeypatch.setattr(folders, "num_cores", lambda: 1)
    folder, settings = tmp_path / "images", {"image_size": 16, "progress": False}
    if before:
        shards.write_images(folder, num_images=before, **settings)

    def write():
        shards.write_images(folder, num_images=3, **settings)
        return folder.stat().st_ino

    assert at_once(write, [folders, shards], "holds") == [folder.stat().st_ino] * NUM
    assert list(tmp_path.iterdir()) == [folder]


def test_decoded_pixels_stay_that_another_process_may_be_reading(tmp_path, micro_world):
    settings = {"image_size": 16, "cache": True, "cache_dir": str(tmp_path)}
    data = ImageTextShards(str(micro_world / "images"), **settings)

    def prepare():
        data.prepare_data()
        return sorted(path.stat().st_ino for path in tmp_path.glob("[!.]*"))

    found = at_once(prepare, [base], "has_store")
    assert found == [sorted(path.stat().st_ino for path in tmp_path.iterdir())] * NUM
    assert len(found[0]) == 2
