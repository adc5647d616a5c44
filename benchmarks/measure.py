"""How a figure is taken: several times, in turn with its floor, and the best of each is kept.

CPU time is the process's own, so other work on the machine adds to it only through shared caches and clocks. Taking
turns lets a busy second hit the figure and its floor alike.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Awaitable, Callable

__all__ = ["best_cpu", "best_wall"]

Work = Callable[[], Awaitable[object]]


async def best_cpu(repeats: int, *works: Work) -> list[float]:
    """Least CPU seconds of this process for each piece of work."""
    return await _best(time.process_time, repeats, works)


async def best_wall(repeats: int, *works: Work) -> list[float]:
    """Least seconds for each piece of work."""
    return await _best(time.perf_counter, repeats, works)


async def _best(clock: Callable[[], float], repeats: int, works: tuple[Work, ...]) -> list[float]:
    found = [float("inf")] * len(works)
    for _ in range(repeats):
        for index, work in enumerate(works):
            gc.collect()
            began = clock()
            await work()
            found[index] = min(found[index], clock() - began)
    return found
