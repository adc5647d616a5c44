"""The thread that says this store lives: it renews its leases, tells others of commits and hears of theirs."""

from __future__ import annotations

import hashlib
import selectors
import socket
import threading
from contextlib import suppress

import psycopg
from sqlalchemy.exc import SQLAlchemyError

from ..._clock import monotonic
from ...errors import LLMOrchError
from .claims import renew_all
from .leases import Leases
from .link import Link
from .revision import Revision
from .session import Session

__all__ = ["Pulse"]

_TELL_EVERY_S = 0.02
_AGAIN_S = 1.0  # after a failure, or for leases that could not be renewed just then
_JOIN_S = 15.0


class Pulse:
    """Renews and listens, from its first use until it is stopped.

    What it tells and hears only saves time: nothing relies on it.

    Args:
        schema: The store's schema; those who share it hear each other.
        revision: Told of what others committed.
    """

    def __init__(self, link: Link, *, name: str, schema: str, leases: Leases, revision: Revision) -> None:
        self._link = link
        self._name = name
        self._channel = f"llmorch_{hashlib.sha256(schema.encode()).hexdigest()[:16]}"
        self._leases = leases
        self._revision = revision
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_stopping = False
        self._has_news = False
        self._listens_on: Session | None = None
        self._told_at = self._due = 0.0
        self._bell: socket.socket | None = None

    def start(self) -> None:
        """Begin, unless that was done before."""
        with self._guard:
            if self._thread is None and not self._is_stopping:
                wakes, self._bell = socket.socketpair()
                for end in (wakes, self._bell):
                    end.setblocking(False)
                self._thread = threading.Thread(target=self._run, args=(wakes,), name=self._name, daemon=True)
                self._thread.start()

    def tell(self) -> None:
        """Something was committed here."""
        if not self._has_news:
            self._has_news = True
            self._ring()

    def stop(self) -> None:
        """End soon."""
        with self._guard:
            self._is_stopping = True
            self._ring()

    def join(self) -> None:
        """Block until it has ended."""
        if self._thread is not None:
            self._thread.join(_JOIN_S)

    def _ring(self) -> None:
        if self._bell is not None:
            with suppress(OSError):  # full is as good; closed: it has ended
                self._bell.send(b"\0")

    def _run(self, wakes: socket.socket) -> None:
        try:
            while not self._is_stopping:
                try:
                    session, pause = self._turn()
                    _wait(wakes, session, pause)
                except (SQLAlchemyError, psycopg.Error, OSError, LLMOrchError):  # the writer says what is wrong
                    self._link.drop()
                    self._revision.is_listening = False
                    _wait(wakes, None, _AGAIN_S)
        finally:
            self._revision.is_listening = False
            self._link.drop()
            wakes.close()
            if self._bell is not None:
                self._bell.close()

    def _turn(self) -> tuple[Session, float]:
        """Do what is due; gives the session to listen on, and for how many seconds there is nothing more to do."""
        session = self._link.opened()
        if session is not self._listens_on:
            self._listen(session)
        now = monotonic()
        if now >= self._due:
            is_done = renew_all(session, self._leases)
            self._due = now + (self._leases.renew_s if is_done else min(_AGAIN_S, self._leases.renew_s))
        pause = max(0.0, self._due - monotonic())
        if self._has_news:
            rest = self._told_at + _TELL_EVERY_S - monotonic()
            if rest > 0:
                return session, min(pause, rest)
            self._has_news = False
            session.row("SELECT pg_notify(%(channel)s, '')", {"channel": self._channel})
            self._told_at = monotonic()
        session.rollback()
        return session, pause

    def _listen(self, session: Session) -> None:
        session.run(f"LISTEN {self._channel}")
        mine = session.raw.info.backend_pid
        session.raw.add_notify_handler(lambda note: None if note.pid == mine else self._revision.hint())
        self._listens_on = session
        self._revision.is_listening = True
        self._due = 0.0  # a connection that was lost may have lost a renewal


def _wait(wakes: socket.socket, session: Session | None, seconds: float) -> None:
    """Until the bell rings, the server sends something, or the time is over."""
    with selectors.DefaultSelector() as waiting:
        waiting.register(wakes, selectors.EVENT_READ)
        if session is not None:
            waiting.register(session.raw.fileno(), selectors.EVENT_READ)
        heard = [key.fileobj for key, _ in waiting.select(seconds)]
    if wakes in heard:
        with suppress(BlockingIOError):
            wakes.recv(4096)
    if session is not None and any(one is not wakes for one in heard):
        session.hear()
