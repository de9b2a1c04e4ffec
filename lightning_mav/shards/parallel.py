"""Work shared out among processes, with results in the order of what they were made of."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import torch

from ..errors import UsageError

Item = TypeVar("Item")
Made = TypeVar("Made")


def map_in_order(function: Callable[[Item], Made], items: Sequence[Item], num_workers: int) -> Iterator[Made]:
    """Yields ``function(item)`` for each item, a few of them made ahead by other processes.

    Args:
        function: Function of a module, or a partial of one.
        items: What to map.
        num_workers: Processes; with 1, this one does it.

    Raises:
        UsageError: If a process dies, of lack of memory or by a fault in a codec.
    """
    if min(num_workers, len(items)) <= 1:
        yield from map(function, items)
        return
    waiting: deque[Future[Made]] = deque()
    # One thread each, as in DataLoader: more would wait for each other, and those of a forked process hang.
    with ProcessPoolExecutor(
        min(num_workers, len(items)), initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2 * num_workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise UsageError(
                "a reading process died, of lack of memory or by a fault in a codec; try fewer --workers"
            ) from None
        finally:
            for future in waiting:
                future.cancel()
