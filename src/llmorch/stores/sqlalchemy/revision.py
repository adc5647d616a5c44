"""A number that differs when anything was committed since, and what is heard of commits before anybody asks."""

from __future__ import annotations

import threading

import anyio

from ..._clock import sleep
from ..._wake import Waker
from .session import Session

__all__ = ["Revision"]

_LOOK_S = 0.05
_LEAST_S = 0.01


class Revision:
    """Counts changes of the server's snapshot, which any commit changes.

    Source: https://www.postgresql.org/docs/15/functions-info.html#FUNCTIONS-PG-SNAPSHOT (2025-08).

    Attributes:
        is_listening: Notifications come in.
    """

    def __init__(self) -> None:
        self.is_listening = False
        self._guard = threading.Lock()
        self._seen = ""
        self._number = 0
        self._hints = self._asked = 0  # how many hints came, and how many of them before the last question
        self._waiting: set[Waker] = set()

    def ask(self, session: Session) -> int:
        """The number; the work of a job."""
        hints = self._hints
        found = session.row("SELECT pg_current_snapshot()::text")
        with self._guard:
            self._asked = max(self._asked, hints)
            seen = "" if found is None else str(found[0])
            if seen != self._seen:
                self._seen = seen
                self._number += 1
                self._wake()
            return self._number

    def hint(self) -> None:
        """Another process says that it committed something; called on any thread."""
        with self._guard:
            self._hints += 1
            self._wake()

    def _wake(self) -> None:
        for waker in self._waiting:
            waker.wake()

    async def changed(self, since: int, *, timeout_s: float) -> None:
        """Return when the number is no longer that one as far as was heard, or after so many seconds.

        A notification may be lost, so whoever waits asks again afterwards. While none can come in, that is soon.
        """
        waker = Waker()
        with self._guard:
            is_new = self._number != since or self._hints > self._asked
            self._waiting.add(waker)
        try:
            if not is_new:
                with anyio.move_on_after(timeout_s if self.is_listening else min(timeout_s, _LOOK_S)):
                    await waker.wait()
        finally:
            with self._guard:
                self._waiting.discard(waker)
        await sleep(_LEAST_S)  # a process that commits all the time is not asked about each commit
