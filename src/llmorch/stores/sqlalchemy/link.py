"""The way to the database of one thread: connected when it is needed, checked, and connected again when it broke."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .address import Address
from .schema import is_behind, migrate, version_of
from .session import Session

__all__ = ["Contact", "Link", "Watch"]

_TICK_S = 1.0


@dataclass(slots=True)
class Contact:
    """What the links of a store know together.

    Attributes:
        made: The server answered once, so that a lost connection is something that passes.
    """

    made: bool = False


class Link:
    """At most one session.

    Args:
        role: `write` brings the tables up to date; `read` and `pulse` make each statement a transaction of its own.
        idle_ms: After how many milliseconds the server ends a transaction in which nothing happens.
    """

    def __init__(
        self,
        address: Address,
        contact: Contact,
        *,
        role: Literal["write", "read", "pulse"],
        durability: Literal["power", "process"],
        idle_ms: int,
    ) -> None:
        self.contact = contact
        self._address = address
        self._role = role
        self._durability: Literal["power", "process"] = durability
        self._idle_ms = idle_ms
        self._engine = address.engine(is_reader=role != "write")
        self._session: Session | None = None

    @property
    def session(self) -> Session | None:
        """The session as it is; None when there is none."""
        return self._session

    def opened(self) -> Session:
        """A session that can be used.

        Raises:
            StoreError: The database is none for this llmorch.
        """
        if self._session is not None and self._session.is_broken:
            self.drop()
        if self._session is None:
            self._session = session = Session(
                self._engine, self._address, durability=self._durability, idle_ms=self._idle_ms
            )
            self.contact.made = True
            try:
                self._check(session)
            except BaseException:
                self.drop()
                raise
        return self._session

    def _check(self, session: Session) -> None:
        schema = self._address.schema
        if self._role == "write" and is_behind(session, schema):
            migrate(session, schema)
        elif self._role != "write":
            version_of(session, schema)
        session.rollback()

    def drop(self) -> None:
        """Let go of the session."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def break_off(self, after_s: float) -> None:
        """Make what was asked so long ago fail; called on any thread."""
        session = self._session
        if session is not None:
            session.break_off(after_s)


class Watch:
    """A thread that breaks off what a server does not answer: a driver waits for ever.

    Args:
        after_s: After how many seconds.
    """

    def __init__(self, links: Sequence[Link], *, name: str, after_s: float) -> None:
        self._links = links
        self._name = name
        self._after_s = after_s
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, unless that was done before."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End soon."""
        self._stopping.set()

    def join(self) -> None:
        """Block until it has ended."""
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(_TICK_S):
            for link in self._links:
                link.break_off(self._after_s)
