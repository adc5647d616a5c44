"""The stores of the kill tests in a PostgreSQL server: a schema for each case, leases of a fraction of a second."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tests.durability.kill_left import Left, Row

__all__ = ["PostgresPlace"]

_SETTLED_S = 30.0
_PAUSE_S = 0.02


class PostgresPlace:
    """A schema of a database that nobody else uses.

    Args:
        url: The database's.
        folder: The case's; the schema is named after it.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self._url = url
        self._schema = folder.name

    @property
    def url(self) -> str:
        """The database and, behind `#`, the schema: what `kill_child` makes a store of."""
        return f"{self._url}#{self._schema}"

    def settle(self) -> None:
        """Return when the server has noticed that a killed client is gone, and its lease is over."""
        due = time.monotonic() + _SETTLED_S
        with psycopg.connect(self._url, autocommit=True) as connection:
            while time.monotonic() < due and self._is_busy(connection):
                time.sleep(_PAUSE_S)

    def _is_busy(self, connection: psycopg.Connection[Any]) -> bool:
        others = connection.execute(
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND backend_type = 'client backend'"
        ).fetchone()
        if others is not None:
            return True
        if not self._has_tables(connection):
            return False
        leased = sql.SQL(
            "SELECT 1 FROM {}.runs WHERE lease_until > (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
        ).format(sql.Identifier(self._schema))
        return connection.execute(leased).fetchone() is not None

    def left(self) -> Left:
        """What the tables hold."""
        with psycopg.connect(self._url) as connection:
            if not self._has_tables(connection):
                return Left()
            schema = sql.Identifier(self._schema)
            runs = connection.execute(
                sql.SQL("SELECT n, id, last_seq FROM {}.runs ORDER BY n").format(schema)
            ).fetchall()
            logs: dict[str, list[Row]] = {}
            for n, run_id, _ in runs:
                query = sql.SQL(
                    "SELECT seq, kind, step, call, at, data, sum FROM {}.events WHERE run = %s ORDER BY seq"
                ).format(schema)
                logs[run_id] = connection.execute(query, (n,)).fetchall()
            return Left(logs, {run_id: last_seq for _, run_id, last_seq in runs})

    def _has_tables(self, connection: psycopg.Connection[Any]) -> bool:
        found = connection.execute("SELECT to_regclass(%s)", (f'"{self._schema}".events',)).fetchone()
        return found is not None and found[0] is not None

    def litter(self) -> list[str]:
        """Leases of runs that have ended."""
        with psycopg.connect(self._url) as connection:
            query = sql.SQL("SELECT id FROM {}.runs WHERE owner IS NOT NULL").format(sql.Identifier(self._schema))
            return [f"an owner of run {run_id}" for (run_id,) in connection.execute(query).fetchall()]
