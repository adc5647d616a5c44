"""How many steps may be executed at once, over all runs of an orchestrator."""

from __future__ import annotations

from collections import deque

import anyio

__all__ = ["Places"]


class Places:
    """A counted number of places; cheap when one is free, first come first served when none is.

    Attributes:
        count: Of all places.
        free: Places nobody holds.
        turns: Counts what is begun in any place; whoever finds it changed after an `await` knows that others ran.
    """

    __slots__ = ("_waiting", "count", "free", "turns")

    def __init__(self, count: int) -> None:
        self.count = self.free = count
        self.turns = 0
        self._waiting: deque[anyio.Event] = deque()

    @property
    def contended(self) -> bool:
        """Whether somebody waits for a place."""
        return bool(self._waiting)

    @property
    def is_one_held(self) -> bool:
        """Whether whoever holds a place is the only one."""
        return self.count - self.free == 1

    def try_take(self) -> bool:
        """Take a place if one is free and nobody waits for it."""
        if self.free > 0 and not self._waiting:
            self.free -= 1
            return True
        return False

    async def take(self) -> None:
        """Take a place, waiting for one."""
        if self.try_take():
            return
        turn = anyio.Event()
        self._waiting.append(turn)
        try:
            await turn.wait()
        except BaseException:
            if turn.is_set():
                self.give()  # the place came together with the cancellation
            else:
                self._waiting.remove(turn)
            raise

    def take_back(self) -> None:
        """Take a place at once even if none is free: for a holder that is being cancelled and will give it soon."""
        self.free -= 1

    def give(self) -> None:
        """Give a place back; the longest waiting gets it."""
        self.free += 1
        if self._waiting and self.free > 0:
            self.free -= 1
            self._waiting.popleft().set()
