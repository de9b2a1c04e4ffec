"""Work shared out among processes, with results in the order of what they were made of."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import torch

from ...utils.errors import UsageError

Item = TypeVar("Item")
Made = TypeVar("Made")


def map_in_order(function: Callable[[Item], Made], items: Sequence[Item], num_workers: int) -> Iterator[Made]:
    """Yields ``function(item)`` for each item, a few of them made ahead by other processes.

    Args:
        function: Function of a module, a partial of one, or an object that is called and can be pickled.
        items: What to map.
        num_workers: Processes; with 1, this one does it.

    Raises:
        UsageError: If a process dies, of lack of memory or by a fault in a codec.
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
                "a reading process died, of lack of memory or by a fault in a codec; try fewer --workers"
            ) from None
        finally:
            for future in waiting:
                future.cancel()


_function: Callable[[Any], Any]  # of this process: sent once, however much it carries


def _begin(function: Callable[[Any], Any]) -> None:
    global _function
    _function = function
    # As in DataLoader: more threads would wait for each other, and those of a forked process hang.
    torch.set_num_threads(1)


def _make(item: Any) -> Any:
    return _function(item)
