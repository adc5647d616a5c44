"""One connection of the store, used by one thread at a time, and how another thread breaks it off when it hangs."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, cast

import psycopg
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from ..._clock import monotonic
from .address import Address

__all__ = ["NOW", "Columns", "Session", "Work"]

Columns = Sequence[Any]  # Any: columns of a database
Work = Callable[["Session"], Any]  # Any: what the caller of the job gets

NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
"""SQL: microseconds UTC by the clock of the server."""

_LOCK_MS = 500  # what waits longer for a lock lets go of its own and is tried again
_IDLE_MS = 10_000
_SETTINGS = (
    "SELECT set_config('search_path', format('%%I, pg_temp', %(schema)s::text), false), "
    "set_config('lock_timeout', %(lock)s, false), "
    "set_config('standard_conforming_strings', 'on', false), "  # without it psycopg doubles backslashes of bytea
    "set_config('idle_in_transaction_session_timeout', %(idle)s, false), "
    "set_config('synchronous_commit', CASE WHEN %(is_async)s THEN 'off' "
    "WHEN current_setting('synchronous_commit') = 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, "
    "false)"
)


class Session:
    """A connection with the settings of the store.

    A process that is stopped inside a transaction holds the locks of it: the server ends its session after a while.

    Args:
        durability: `power` waits for the server's disk, `process` does not.
        idle_ms: After how many milliseconds the server ends a transaction in which nothing happens.

    Attributes:
        where: The database, for texts.
    """

    def __init__(
        self, engine: Engine, address: Address, *, durability: Literal["power", "process"], idle_ms: int = _IDLE_MS
    ) -> None:
        self.where = address.shown
        self._guard = threading.Lock()
        self._asked_at: float | None = None
        self._after_commit: list[Callable[[], None]] = []
        self._connection: Connection = engine.connect()
        try:
            values = {
                "schema": address.schema,
                "lock": f"{_LOCK_MS}ms",
                "idle": f"{idle_ms}ms",
                "is_async": durability == "process",
            }
            self.run(_SETTINGS, values)
            self.commit()
        except BaseException:
            self.close()
            raise

    @property
    def is_broken(self) -> bool:
        """Whether nothing more can be asked over it."""
        return self._connection.closed or self._connection.invalidated or self.raw.closed

    @property
    def raw(self) -> psycopg.Connection[Any]:  # Any: rows are tuples of anything
        """The driver's connection."""
        return cast("psycopg.Connection[Any]", self._connection.connection.driver_connection)

    def rows(self, query: str, values: Mapping[str, object] | None = None) -> Sequence[Columns]:
        """Every row that the query gives."""
        self._asked_at = monotonic()
        try:
            return self._connection.exec_driver_sql(query, values).fetchall()
        finally:
            self._asked_at = None

    def row(self, query: str, values: Mapping[str, object] | None = None) -> Columns | None:
        """The first row that the query gives."""
        found = self.rows(query, values)
        return found[0] if found else None

    def run(self, statement: str, values: Mapping[str, object] | None = None) -> int:
        """How many rows the statement changed."""
        self._asked_at = monotonic()
        try:
            return self._connection.exec_driver_sql(statement, values).rowcount
        finally:
            self._asked_at = None

    def after_commit(self, action: Callable[[], None]) -> None:
        """Do this when the transaction is committed, and not otherwise."""
        self._after_commit.append(action)

    def commit(self) -> None:
        """End the transaction; when it raises, nobody knows whether it was committed."""
        self._asked_at = monotonic()
        try:
            self._connection.commit()
        finally:
            self._asked_at = None
            actions, self._after_commit = self._after_commit, []
        for action in actions:
            action()

    def rollback(self) -> None:
        """Undo the transaction; a connection that is broken stays so."""
        self._after_commit.clear()
        self._asked_at = monotonic()
        try:
            with suppress(SQLAlchemyError, psycopg.Error):
                self._connection.rollback()
        finally:
            self._asked_at = None

    def hear(self) -> None:
        """Take in what the server sent unasked: notifications, for the handler of `raw`, or the end of the session."""
        pgconn = self.raw.pgconn
        pgconn.consume_input()
        while (note := pgconn.notifies()) is not None:
            if pgconn.notify_handler is not None:
                pgconn.notify_handler(note)

    def break_off(self, after_s: float) -> None:
        """Make a statement fail that the server has not answered for so long; called on any thread."""
        with self._guard:
            asked_at = self._asked_at
            if asked_at is None or monotonic() - asked_at < after_s:
                return
            with (
                suppress(OSError, psycopg.Error, SQLAlchemyError),
                socket.socket(fileno=os.dup(self.raw.fileno())) as it,
            ):
                it.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the connection, whatever its state."""
        with self._guard:
            self._asked_at = None
            with suppress(SQLAlchemyError, psycopg.Error):
                self._connection.invalidate()
            with suppress(SQLAlchemyError, psycopg.Error):
                self._connection.close()
