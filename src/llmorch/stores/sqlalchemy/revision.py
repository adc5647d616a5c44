"""A number that differs when anything was committed since."""

from __future__ import annotations

import threading

from ..._clock import monotonic
from .session import Session

__all__ = ["Revision"]

_TRUSTED_S = 0.5


class Revision:
    """Counts changes of the server's snapshot, which any commit changes.

    The server is asked each time; while somebody listens to notifications and none came, only every half second, so
    that a lost one costs no more than that.

    Source: https://www.postgresql.org/docs/15/functions-info.html#FUNCTIONS-PG-SNAPSHOT (2025-08).

    Attributes:
        is_listening: Notifications come in.
    """

    def __init__(self) -> None:
        self.is_listening = False
        self._guard = threading.Lock()
        self._is_hinted = True
        self._asked_at = 0.0
        self._seen = ""
        self._number = 0

    def hint(self) -> None:
        """Something was committed; called on any thread."""
        self._is_hinted = True

    def known(self) -> int | None:
        """The number, when there is no need to ask."""
        if self._is_hinted or not self.is_listening or monotonic() >= self._asked_at + _TRUSTED_S:
            return None
        return self._number

    def ask(self, session: Session) -> int:
        """The number; the work of a job."""
        self._is_hinted = False  # first: a hint that comes while the server answers is about something newer
        asked_at = monotonic()
        found = session.row("SELECT pg_current_snapshot()::text")
        with self._guard:
            seen = "" if found is None else str(found[0])
            if seen != self._seen:
                self._seen = seen
                self._number += 1
            self._asked_at = asked_at
            return self._number
