"""How a figure is taken: several times, in turn with its floor, and the best of each is kept.

CPU time is the process's own, so other work on the machine adds to it only through shared caches and clocks. Taking
turns lets a busy second hit the figure and its floor alike. Where a ratio is what counts, both figures are of one turn,
that whose ratio is in the middle: the best of each may come from seconds in which the machine was not equally fast.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Awaitable, Callable

__all__ = ["Turns", "best_cpu", "best_wall", "cpu_turns"]

Work = Callable[[], Awaitable[object]]


async def best_cpu(repeats: int, *works: Work) -> list[float]:
    """Least CPU seconds of this process for each piece of work."""
    return await _best(time.process_time, repeats, works)


async def best_wall(repeats: int, *works: Work) -> list[float]:
    """Least seconds for each piece of work."""
    return await _best(time.perf_counter, repeats, works)


class Turns:
    """Seconds of several pieces of work, turn by turn."""

    def __init__(self, turns: list[list[float]]) -> None:
        self._turns = turns

    def middle(self, work: int, *, floor: int) -> tuple[float, float]:
        """A work's seconds and its floor's, of the turn whose ratio is in the middle; both by their places."""
        pairs = sorted(((turn[work], turn[floor]) for turn in self._turns), key=lambda pair: pair[0] / pair[1])
        return pairs[len(pairs) // 2]


async def cpu_turns(repeats: int, *works: Work) -> Turns:
    """CPU seconds of this process for each piece of work, in turn."""
    return Turns(await _turns(time.process_time, repeats, works))


async def _best(clock: Callable[[], float], repeats: int, works: tuple[Work, ...]) -> list[float]:
    return [min(seconds) for seconds in zip(*await _turns(clock, repeats, works), strict=True)]


async def _turns(clock: Callable[[], float], repeats: int, works: tuple[Work, ...]) -> list[list[float]]:
    turns: list[list[float]] = []
    for _ in range(repeats):
        turns.append([])
        for work in works:
            gc.collect()
            began = clock()
            await work()
            turns[-1].append(clock() - began)
    return turns
