"""Work that several processes share, with results in the order of the items."""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, parent_process
from threading import Thread
from typing import Any, TypeVar

import torch

from ...utils.errors import UsageError

Item = TypeVar("Item")
Made = TypeVar("Made")


def map_in_order(function: Callable[[Item], Made], items: Sequence[Item], num_workers: int) -> Iterator[Made]:
    """Yields ``function(item)`` for each item; other processes compute a few results ahead.

    Args:
        function: A function of a module, a partial of one, or another callable that can be pickled.
        items: What to map.
        num_workers: Number of processes; with 1, this process does the work.

    Raises:
        UsageError: If a process dies, for lack of memory or by a fault in a codec.
    """
    if min(num_workers, len(items)) <= 1:
        yield from map(function, items)
        return
    waiting: deque[Future[Made]] = deque()
    with ProcessPoolExecutor(min(num_workers, len(items)), initializer=_begin, initargs=(function,)) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(_make, item))
                if len(waiting) > 2 * num_workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise UsageError(
                "a reading process died, for lack of memory or by a fault in a codec; try fewer --workers"
            ) from None
        except (SystemExit, KeyboardInterrupt):  # else the pool would wait for what they have begun
            for process in active_children():
                process.terminate()
            raise
        finally:
            for future in waiting:
                future.cancel()


_function: Callable[[Any], Any]  # set once in each process, since pickling it may be expensive


def _begin(function: Callable[[Any], Any]) -> None:
    global _function
    _function = function
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process ends the others
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    Thread(target=_end_with_parent, daemon=True).start()
    # As in DataLoader: more threads would wait for each other, and after a fork they would hang.
    torch.set_num_threads(1)


def _end_with_parent() -> None:
    if (parent := parent_process()) is not None:
        parent.join()  # it may be killed at any time
        os._exit(1)


def _make(item: Any) -> Any:
    return _function(item)
