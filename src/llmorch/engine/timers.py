"""Bounds on the time of containers, which have no task of their own."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import anyio

from .. import _clock

__all__ = ["Timers"]


class Timers:
    """One timer for each container with a timeout.

    Args:
        start_soon: Runs a coroutine function beside the run.
        woke: Called after a timer has fired.
    """

    __slots__ = ("_scopes", "_start_soon", "_woke")

    def __init__(
        self, start_soon: Callable[[Callable[[], Coroutine[Any, Any, None]]], object], woke: Callable[[], None]
    ) -> None:
        self._scopes: dict[str, anyio.CancelScope] = {}
        self._start_soon = start_soon
        self._woke = woke

    def start(self, path: str, limit_s: float, fire: Callable[[], None]) -> None:
        """Call `fire` after so many seconds, unless stopped."""
        scope = self._scopes[path] = anyio.CancelScope()

        async def wait() -> None:
            with scope:
                await _clock.sleep(limit_s)
                self._scopes.pop(path, None)
                fire()
                self._woke()

        self._start_soon(wait)

    def stop(self, path: str) -> None:
        """The container of that path has ended."""
        scope = self._scopes.pop(path, None)
        if scope is not None:
            scope.cancel()

    def stop_all(self) -> None:
        """The run has ended."""
        for path in list(self._scopes):
            self.stop(path)


NO_TIMERS = Timers(lambda wait: None, lambda: None)  # of the runs that have never started one
